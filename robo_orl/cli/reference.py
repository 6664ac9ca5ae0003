"""The command `robo-orl reference`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from robo_orl.cli.options import AcceptMismatch, Json, ReferenceSets, RunFolder, Seed, Task, show, shows_progress


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
