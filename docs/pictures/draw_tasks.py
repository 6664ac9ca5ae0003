"""Pictures and films of tasks on the leaderboard, beside the report: `python docs/pictures/draw_tasks.py [TASK...]`.

A picture is start state 0 of the task's bank for results, as the camera `agentview` sees it; a film is the first
episode that the scripted expert of `ph` solves from that bank. Needs the extra `sim` and OpenGL.
"""

from __future__ import annotations

import sys
from pathlib import Path

import imageio_ffmpeg
import numpy as np
from PIL import Image

from robo_orl.base.files import atomic_file
from robo_orl.config.presets import available, load_task
from robo_orl.envs.demonstrators.operators import Operator
from robo_orl.envs.demonstrators.regimes import plan
from robo_orl.envs.start_banks import eval_bank
from robo_orl.envs.task_env import TaskEnv
from robo_orl.rollout.video import caption, overlaid

REPORT = Path(__file__).resolve().parents[2] / "robo_orl" / "report"
SIZE, FILM, EVERY, TRIES = 256, 256, 2, 5  # EVERY: decisions between two frames of a film
ENCODING = ["-crf", "31", "-movflags", "+faststart"]


def draw(env: TaskEnv, name: str) -> Path:
    """Write the picture of one task."""
    env.reset(eval_bank(env.task)[0])
    path = REPORT / "task_pictures" / f"{name}.jpg"
    Image.fromarray(env.render("agentview", SIZE)).save(path, quality=60, optimize=True, progressive=True)
    return path


def film(env: TaskEnv, name: str) -> Path:
    """Write the film of one task."""
    path = REPORT / "task_videos" / f"{name}.mp4"
    frames = next((made for start in range(TRIES) if (made := _episode(env, start)) is not None), None)
    if frames is None:
        raise SystemExit(f"The expert solves none of the first {TRIES} starts of {name}.")
    with atomic_file(path) as temporary:
        target = temporary.with_suffix(".mp4")
        writer = imageio_ffmpeg.write_frames(
            str(target), (FILM, FILM), fps=env.task.control_hz / EVERY, codec="libx264", output_params=ENCODING
        )
        writer.send(None)
        for frame in frames:
            writer.send(np.ascontiguousarray(frame))
        writer.close()
        target.replace(temporary)
    return path


def _episode(env: TaskEnv, start: int) -> list[np.ndarray] | None:
    """The frames of the expert's episode from a start of the bank; None where it does not succeed."""
    item = plan(env.task, "ph", 1)[0]
    operator = Operator(item.styles, env.task.control_hz, np.random.default_rng(item.seed), item.due)
    env.reset(eval_bank(env.task)[start])
    reached: list[int | None] = [None] * len(env.stages)
    frames, length, step = [], 0, None
    while step is None or not (step.terminated or step.truncated):
        if length % EVERY == 0:
            frames.append(overlaid(env.render("agentview", FILM), caption(env.stages, reached, length)))
        action = operator.act(env)
        if action is None:
            return None
        step, length = env.step(action.astype(np.float32)), length + 1
        reached = [at or (length if done else None) for at, done in zip(reached, step.stages, strict=True)]
    last = overlaid(env.render("agentview", FILM), caption(env.stages, reached, length))
    return [*frames, *[last] * env.task.control_hz] if step.terminated else None


if __name__ == "__main__":
    for folder in ("task_pictures", "task_videos"):
        (REPORT / folder).mkdir(exist_ok=True)
    for task_name in sys.argv[1:] or available("tasks"):
        environment = TaskEnv(load_task(task_name))
        try:
            for make in (draw, film):
                print(make(environment, task_name), flush=True)
        finally:
            environment.close()
