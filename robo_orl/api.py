"""The commands `data generate`, `train`, `eval` and the tables of results as functions, for scripts and notebooks.

They are reached from the package: `import robo_orl`, then `robo_orl.train_policy(...)`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from robo_orl.base.errors import UsageError
from robo_orl.config import RunConfig, TaskConfig, apply_overrides, deep_merge, parse
from robo_orl.config.presets import load_task, preset_values

if TYPE_CHECKING:
    import numpy as np

    from robo_orl.config import View
    from robo_orl.results.tables import Tables

Preset = str | dict[str, Any] | BaseModel  # a name or path, values that may say `extends`, or a configuration


def generate_data(
    task: str, regime: str, episodes: int, out: Path | str, seed: int = 0, progress: bool = True, **options: Any
) -> dict[str, Any]:
    """Record demonstrations of scripted operators as a robomimic HDF5 file; returns its description.

    regime: ph, mh, mg, stitch, paired, half_fast or never_whole. options: those of `robo_orl.data.generate.generate`
    (workers, next_obs, loop, view). A file of the same request is completed and not recorded anew.
    """
    from robo_orl.data.generate import generate

    return generate(load_task(task), regime, episodes, Path(out), seed=seed, progress=progress, **options).to_json()


def record_data(
    task: Preset,
    demonstrator: Callable[[dict[str, np.ndarray], Any], np.ndarray | None],
    episodes: int,
    out: Path | str,
    seed: int = 0,
    view: View | None = None,
) -> dict[str, Any]:
    """Record a demonstrator of your own on any task as a robomimic HDF5 file; returns its description.

    demonstrator: (observation, environment) -> action (A,) within [-1, 1], or None where it has left; environment: the
    object behind the task, gymnasium's or robosuite's. view: with pictures of these cameras.
    """
    from robo_orl.data.record_own import record_own

    return record_own(_task(task), demonstrator, episodes, Path(out), seed, view).to_json()


def held_out_errors(run: Path | str, data: Path | str | None = None, **options: Any) -> dict[str, Any]:
    """Compare the newest checkpoint of a run with demonstrations that it did not learn from: errors of its actions,
    losses, and value errors of a critic.

    data: a file, default the run's own with the mask that was held out. options: those of
    `robo_orl.evaluate.held_out.held_out` (mask, task, seed, frames, out).
    """
    from robo_orl.evaluate.held_out import held_out

    return held_out(run, data, **options).to_json()


def resolve_run(
    policy: Preset, task: Preset, data: Path | str, settings: Sequence[str] = (), **values: Any
) -> RunConfig:
    """The configuration of one training, from names and overrides.

    settings: as `--set`, for example ["policy.critic.topology=separate"]. values: other keys of RunConfig (seed,
    filter, tracker, ...). Raises UsageError where a name or a key is unknown, or a value does not fit.
    """
    from robo_orl.objectives import normalised

    run = {"policy": _values("policies", policy), "task": _values("tasks", task), "data": str(data), **values}
    resolved = _with_view(parse(RunConfig, apply_overrides(run, list(settings)), "train"))
    return resolved.model_copy(update={"policy": normalised(resolved.policy)})


def _with_view(run: RunConfig) -> RunConfig:
    """The run with the cameras of its task's view, where its policy asks for those of the task."""
    seen, view = run.policy.observation, run.task.view
    if "task" not in seen.cameras:
        return run
    if view is None or seen.cameras != ["task"]:
        raise UsageError(
            f"Policy '{run.policy.name}' reads the pictures of its task, and {run.task.name} has no `view`: name them "
            "in the task's file, or their cameras alone with --set policy.observation.cameras=[agentview]."
        )
    seen = seen.model_copy(update={"cameras": list(view.cameras), "image_size": view.size})
    return run.model_copy(update={"policy": run.policy.model_copy(update={"observation": seen})})


def train_policy(
    policy: Preset,
    task: Preset,
    data: Path | str,
    out: Path | str,
    settings: Sequence[str] = (),
    progress: bool = True,
    extend: bool = False,
    **values: Any,
) -> dict[str, Any]:
    """Train a policy in the folder `out`, from its newest checkpoint if there is one; returns the run's summary.

    policy, task: a preset by name or path, a dictionary of values (`extends` names a preset to lay them on), or a
    configuration. settings, values: as in `resolve_run`. extend: a shorter run in `out` goes on.

    Raises UsageError where `out` holds another run or the data do not fit, RunError where training fails.
    """
    from robo_orl.cost.memory_check import PredictedMemory
    from robo_orl.engine.train import train

    run = resolve_run(policy, task, data, settings, **values)
    return train(run, Path(out), progress=progress, memory_check=PredictedMemory, extend=extend).to_json()


def evaluate_policy(run: Path | str, episodes: int = 200, progress: bool = True, **options: Any) -> dict[str, Any]:
    """Roll out the newest checkpoint of a run from stored start states; returns the scores of `eval.json`.

    options: those of `robo_orl.evaluate.success.evaluate` (workers, seed, loop, video, out, task, starts, ...).
    """
    from robo_orl.evaluate.success import evaluate

    return evaluate(Path(run), episodes, progress=progress, **options).to_json()


def tables(*folders: Path | str) -> Tables:
    """The tables `records`, `episodes`, `cost` and `points` of results folders, packed or not, or of folders of them.

    Each has `.rows`, a list of dictionaries, and `.frame()`, a pandas data frame where pandas is installed; their
    columns are those of `robo-orl results query --columns`.
    """
    from robo_orl.results.tables import read_tables

    return read_tables([Path(folder) for folder in folders])


def _task(preset: Preset) -> TaskConfig:
    return parse(TaskConfig, _values("tasks", preset), "task")


def _values(kind: str, preset: Preset) -> dict[str, Any]:
    if isinstance(preset, BaseModel):
        return preset.model_dump(mode="json")
    if isinstance(preset, str):
        return preset_values(kind, preset)
    values = dict(preset)
    parent = values.pop("extends", None)
    return values if parent is None else deep_merge(preset_values(kind, parent), values)
