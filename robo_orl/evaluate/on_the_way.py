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

from robo_orl.base.errors import RunError, UsageError
from robo_orl.config import RunConfig
from robo_orl.engine.checkpoint import load_agent, read_state
from robo_orl.engine.on_the_way import copies, held_out_source, step_of
from robo_orl.engine.run_folder import read_run, read_spec
from robo_orl.engine.task_data import open_data
from robo_orl.evaluate.held_out import held_out_actions, held_out_losses
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
        losses, error, errors, sha256 = _measured(run_dir, run, copy, task)
        scores = result.scores if result is not None else None
        point = CurvePoint(
            step=step_of(copy),
            wall_s=read_state(copy).wall_s,
            success=scores.success_once if scores else None,
            discounted_return=scores.discounted_return if scores else None,
            stages_reached=scores.stages_reached if scores else None,
            losses=losses,
            action_error=error,
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
) -> tuple[dict[str, float] | None, float | None, ValueErrors | None, str | None]:
    """Held-out losses and action error, value errors of a critic, and the sha256 of the held-out file."""
    agent, _ = load_agent(run_dir, copy)
    source, losses, error, sha256 = held_out_source(run), None, None, None
    if source:
        losses = held_out_losses(agent, run, source)
        arrays = open_data(run.model_copy(update={"tasks": [source]}))[0]
        error, sha256 = held_out_actions(agent, run, source, arrays, read_spec(run_dir)).mean_absolute, arrays.sha256
    if agent.critic is None or run.policy.selection.untrained_critic:
        return losses, error, None, sha256
    own = next(one for one in run.tasks if one.task.name == task)
    errors = critic_errors(agent, run, source or own.model_copy(update={"filter": None}))
    values = errors.to_json()
    if not errors.overall.n:
        return losses, error, None, sha256
    return losses, error, ValueErrors(**{name: values[name] for name in ValueErrors.model_fields}), sha256


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


if __name__ == "__main__":
    main()
