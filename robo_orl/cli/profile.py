"""The command `robo-orl profile`: options only; what it does is in profile.py."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from robo_orl.cli.options import Json, show


def profile(
    policy: Annotated[str, typer.Option(help="Name of a file in policies/, or a path.")],
    task: Annotated[str, typer.Option(help="The task whose observations are read; shapes only.")] = "chain2",
    model_size: Annotated[
        str | None, typer.Option("--size", help="A name of `robo-orl list sizes` (default: the policy's).")
    ] = None,
    batch: Annotated[
        int | None, typer.Option(help="Observations per step, over all processes (default: the policy's).")
    ] = None,
    world: Annotated[int, typer.Option(help="Processes, one device each.")] = 1,
    zero: Annotated[int, typer.Option(help="DeepSpeed's ZeRO stage; 0 is plain DDP.")] = 0,
    offload: Annotated[bool, typer.Option("--offload", help="Optimiser (ZeRO-3: weights too) in host memory.")] = False,
    checkpointing: Annotated[
        bool, typer.Option("--checkpointing", help="Keep each block's input only, compute the rest again.")
    ] = False,
    accumulation: Annotated[
        int | None, typer.Option(min=1, help="Parts of a process's batch, one after the other (default: the policy's).")
    ] = None,
    precision: Annotated[str | None, typer.Option(help="bf16 or fp32 (default: the policy's).")] = None,
    card: Annotated[str | None, typer.Option(help="Largest batch on this card (default: on all known ones).")] = None,
    host_memory: Annotated[float | None, typer.Option(help="GiB of the host, to check --offload against.")] = None,
    predict: Annotated[bool, typer.Option("--predict", help="Predict without running: any size, no GPU.")] = False,
    steps: Annotated[int, typer.Option(min=20, help="Timed steps of a measurement, warm-up excluded.")] = 20,
    snapshot: Annotated[Path | None, typer.Option(help="Write the GPU allocator's history to this file.")] = None,
    as_json: Json = False,
) -> None:
    """Memory, FLOPs, traffic and time of a training step: predicted for any machine, or measured on this one."""
    from robo_orl.cost.profile import Request, measured, predicted
    from robo_orl.cost.text import show_measurement, show_prediction

    asked = Request(
        policy, task, model_size, batch, world, zero, offload, checkpointing, accumulation, precision, card, host_memory
    )
    result = predicted(asked) if predict else measured(asked, steps, snapshot)
    show(result, as_json, show_prediction if predict else show_measurement)
