"""The commands `robo-orl train` and `robo-orl reference`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from robo_orl.base.errors import UsageError
from robo_orl.base.text import print_line
from robo_orl.cli.options import (
    AcceptMismatch,
    AfterSuccess,
    ClipActions,
    Data,
    Json,
    ReferenceSets,
    Rewards,
    RunFolder,
    Seed,
    Sets,
    Task,
    reading_values,
    show,
    shows_progress,
)
from robo_orl.engine.launch import process_rank

if TYPE_CHECKING:
    from robo_orl.cost.dry_run import DryRun


def train(
    policy: Annotated[str, typer.Option(help="A policy, e.g. qc or qc+separate, or the path of a file.")],
    task: Task,
    data: Data,
    out: RunFolder,
    seed: Seed = 0,
    settings: Sets = [],
    steps: Annotated[
        int | None, typer.Option(min=1, help="Steps; a run of fewer steps in --out goes on, with a new schedule.")
    ] = None,
    init: Annotated[
        str | None, typer.Option(help="Start from the weights of another run, a checkpoint or a safetensors file.")
    ] = None,
    mask: Annotated[
        str | None, typer.Option("--filter", help="Train on the episodes of this mask only, e.g. success.")
    ] = None,
    tracker: Annotated[str, typer.Option(help="tensorboard, wandb, trackio or none.")] = "tensorboard",
    more: Annotated[
        list[str], typer.Option("--also", metavar="TASK=FILE[@WEIGHT]", help="One more task to learn. Repeatable.")
    ] = [],
    clip_actions: ClipActions = False,
    after_success: AfterSuccess = "cut",
    rewards: Rewards = "auto",
    accept_mismatch: AcceptMismatch = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say the memory and the time of the run on this machine; write nothing.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Train one policy. Under `accelerate launch -m robo_orl train ...` the same command runs on many processes."""
    from robo_orl.api import train_policy

    reading = reading_values(clip_actions, after_success, rewards, accept_mismatch)
    values = {"seed": seed, "filter": mask, "tracker": tracker, "reading": reading, "init": init}
    if steps is not None:
        settings = [*settings, f"policy.optim.steps={steps}"]
    if more:
        values["more"] = [_task_data(item) | {"reading": reading} for item in more]
    if dry_run:
        expected = _expected_cost(policy, task, data, settings, values)
        show(expected.to_json(), as_json, lambda _: print_line("\n".join(expected.lines())))
        return
    summary = train_policy(
        policy, task, data, out, settings, progress=shows_progress(as_json), extend=steps is not None, **values
    )
    if process_rank() == 0:
        show(summary, as_json)


def _expected_cost(policy: str, task: str, data: Path, settings: list[str], values: dict[str, Any]) -> DryRun:
    """The cost of the run that the same options would train."""
    from robo_orl.api import resolve_run
    from robo_orl.cost.dry_run import dry_run

    return dry_run(resolve_run(policy, task, data, settings, **values))


def _task_data(item: str) -> dict[str, Any]:
    """TASK=FILE[@WEIGHT] as the values of a TaskData; an existing file of the whole name has no weight in it."""
    from robo_orl.config.presets import preset_values

    name, equals, file = item.partition("=")
    weight = ""
    if "@" in file and not Path(file).exists():
        file, _, weight = file.rpartition("@")
    if not (name and equals and file):
        raise UsageError(f"--also takes TASK=FILE or TASK=FILE@WEIGHT, got '{item}'.")
    return {"task": preset_values("tasks", name), "data": file, "weight": weight or 1.0}


def reference(
    algo: Annotated[str, typer.Option(help="bc_rnn_gmm, bc_transformer, iql, cql, bcq, td3_bc, hbc, iris, or a path.")],
    task: Task,
    data: Annotated[Path, typer.Option(help="robomimic HDF5 file of that task; all but bc_* need next_obs in it.")],
    out: RunFolder,
    seed: Seed = 0,
    settings: ReferenceSets = [],
    accept_mismatch: AcceptMismatch = False,
    as_json: Json = False,
) -> None:
    """Train an algorithm of robomimic, with its own classes and defaults, as a reference; `eval` takes its folder."""
    from robo_orl.config.presets import load_task
    from robo_orl.robomimic.algorithms import load_reference

    algorithm, task_config = load_reference(algo, settings), load_task(task)
    from robo_orl.robomimic.train import train_reference

    summary = train_reference(
        algorithm, task_config, data, out, seed, accept_mismatch=accept_mismatch, progress=shows_progress(as_json)
    )
    show(summary.to_json(), as_json)
