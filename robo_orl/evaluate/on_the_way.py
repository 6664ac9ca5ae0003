"""The process that judges the copies of the weights that a training saves on its way (engine/on_the_way.py).

`python -m robo_orl.evaluate.on_the_way RUN` judges every waiting copy, the earliest first, and ends when none is left,
or when its standard input ends, which the training holds: it never outlives the training.
"""

from __future__ import annotations

import os
import shutil
import sys
import threading
from pathlib import Path

import numpy as np
import torch
from torch import nn

from robo_orl.base.errors import RunError, UsageError
from robo_orl.base.rng import Draws
from robo_orl.config import RunConfig, TaskData
from robo_orl.engine.checkpoint import load_agent, read_state
from robo_orl.engine.on_the_way import copies, held_out_source, step_of
from robo_orl.engine.run_folder import read_run
from robo_orl.engine.task_data import make_windows, open_data
from robo_orl.evaluate.result import EvaluationResult
from robo_orl.evaluate.success import evaluate
from robo_orl.evaluate.value_error import critic_errors
from robo_orl.results.curves import StoredPoint, add_point, read_points
from robo_orl.results.record import CurvePoint, ValueErrors


def judge_copies(run_dir: Path) -> None:
    """Judge the waiting copies of a run, and remove each when its points are kept. A copy that fails is a reason."""
    while waiting := copies(run_dir):
        run, copy = read_run(run_dir), waiting[0]
        for source in run.tasks:
            if not _is_judged(run_dir, step_of(copy), source.task.name):
                add_point(run_dir, _judged(run_dir, run, copy, source.task.name))
        shutil.rmtree(copy)


def _is_judged(run_dir: Path, step: int, task: str) -> bool:
    return any((p.step, p.task) == (step, task) and p.point is not None for p in read_points(run_dir))


def _judged(run_dir: Path, run: RunConfig, copy: Path, task: str) -> StoredPoint:
    wanted = run.evaluation
    common = {"step": step_of(copy), "task": task, "every": wanted.every or 1, "episodes": wanted.episodes}
    try:
        result = _played(run_dir, run, copy, task)
        losses, errors, sha256 = _measured(run_dir, run, copy, task)
        scores = result.scores if result is not None else None
        point = CurvePoint(
            step=step_of(copy),
            wall_s=read_state(copy).wall_s,
            success=scores.success_once if scores else None,
            discounted_return=scores.discounted_return if scores else None,
            stages_reached=scores.stages_reached if scores else None,
            losses=losses,
            value_errors=errors,
        )
        starts, loop = (scores.starts_sha256, scores.loop) if scores else (None, wanted.loop)
        return StoredPoint(**common, loop=loop, starts_sha256=starts, held_out_sha256=sha256, point=point)
    except (UsageError, RunError, ValueError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        return StoredPoint(**common, loop=wanted.loop, failed=reason)


def _played(run_dir: Path, run: RunConfig, copy: Path, task: str) -> EvaluationResult | None:
    """Episodes from the start states for tuning; an interrupted evaluation goes on from those that were played."""
    wanted = run.evaluation
    if not wanted.episodes:
        return None
    return evaluate(
        run_dir, wanted.episodes, workers=wanted.workers, loop=wanted.loop, progress=False, task=task,
        out=copy / f"eval-{task}", starts="tuning", checkpoint=copy,
    )  # fmt: skip


def _measured(
    run_dir: Path, run: RunConfig, copy: Path, task: str
) -> tuple[dict[str, float] | None, ValueErrors | None, str | None]:
    """Held-out losses, value errors of a critic, and the sha256 of the held-out file."""
    agent, _ = load_agent(run_dir, copy)
    source = held_out_source(run)
    losses = held_out_losses(agent, run, source) if source else None
    sha256 = open_data(run.model_copy(update={"tasks": [source]}))[0].sha256 if source else None
    if agent.critic is None or run.policy.selection.untrained_critic:
        return losses, None, sha256
    own = next(one for one in run.tasks if one.task.name == task)
    errors = critic_errors(agent, run, source or own.model_copy(update={"filter": None}))
    values = errors.to_json()
    if not errors.overall.n:
        return losses, None, sha256
    return losses, ValueErrors(**{name: values[name] for name in ValueErrors.model_fields}), sha256


def _end_with_the_training() -> None:
    """Wait for the end of standard input, and end the process in the midst of work: episodes played are on disk."""
    sys.stdin.buffer.read()
    os._exit(0)


def main() -> None:
    """Judge the copies of the run that is the first argument."""
    threading.Thread(target=_end_with_the_training, daemon=True).start()
    judge_copies(Path(sys.argv[1]))
    sys.stdout.flush()
    os._exit(0)  # the thread waits in a read, which Python's own end would wait for


# ------------------------------------------------------------------------------------ losses on data that were held out


FRAMES, BATCH = 4096, 512


@torch.no_grad()
def held_out_losses(agent: nn.Module, run: RunConfig, source: TaskData, frames: int = FRAMES) -> dict[str, float]:
    """The mean of every loss term of the agent over frames of `source`, and of their sum as `loss`.

    frames: at most so many, evenly spread over those that may be drawn. Frames and draws are the same for every
    agent of the run, so that two steps of a training differ by their weights alone.
    """
    own = run.model_copy(update={"tasks": [source]})
    windows = make_windows(own, open_data(own))
    at = np.unique(np.linspace(0, len(windows) - 1, min(frames, len(windows))).round().astype(np.int64))
    sums: dict[str, float] = {}
    for number, some in enumerate(np.split(at, range(BATCH, len(at), BATCH))):
        _, metrics = agent(windows.gather(windows.frames[some]), Draws(run.seed, number))
        for name, value in metrics.items():
            if name == "loss" or name.endswith("/loss"):
                sums[name] = sums.get(name, 0.0) + len(some) * value.item()
    return {name: total / len(at) for name, total in sums.items()}


if __name__ == "__main__":
    main()
