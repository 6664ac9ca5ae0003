"""The pictures of tasks on the leaderboard: `python docs/pictures/draw_tasks.py` writes robo_orl/report/task_pictures/.

Start state 0 of every task's bank for results, as the camera `agentview` sees it. Needs the extra `sim` and OpenGL.
"""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from robo_orl.config.presets import available, load_task
from robo_orl.envs.start_banks import eval_bank
from robo_orl.envs.task_env import TaskEnv

OUT = Path(__file__).resolve().parents[2] / "robo_orl" / "report" / "task_pictures"
SIZE = 320


def draw(name: str) -> Path:
    """Write the picture of one task."""
    task = load_task(name)
    env = TaskEnv(task)
    try:
        env.reset(eval_bank(task)[0])
        pixels = env.render("agentview", SIZE)
    finally:
        env.close()
    path = OUT / f"{name}.jpg"
    Image.fromarray(pixels).save(path, quality=82, optimize=True)
    return path


if __name__ == "__main__":
    OUT.mkdir(exist_ok=True)
    for task_name in available("tasks"):
        print(draw(task_name), flush=True)
