"""The command `robo-orl profile`: options only; what it does is in cost/profile.py."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from robo_orl.base.errors import UsageError
from robo_orl.cli.options import Json, check_finite, show, shows_progress

if TYPE_CHECKING:
    from robo_orl.cost.profile import Request


def profile(
    policy: Annotated[str, typer.Option(help="Name of a file in policies/, or a path.")],
    beside: Annotated[
        list[str], typer.Option(help="Another policy, measured in turns with it; ratios are to --policy. Repeatable.")
    ] = [],  # noqa: B006
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
    launch: Annotated[
        bool, typer.Option("--launch", help="Measure under accelerate's launcher even a single process.")
    ] = False,
    checkpointing: Annotated[
        bool, typer.Option("--checkpointing", help="Keep each block's input only, recompute the rest.")
    ] = False,
    accumulation: Annotated[
        int | None, typer.Option(min=1, help="Parts of a process's batch, one after the other (default: the policy's).")
    ] = None,
    precision: Annotated[str | None, typer.Option(help="bf16 or fp32 (default: the policy's).")] = None,
    card: Annotated[
        list[str], typer.Option(help="Predict for this card (default: for all known ones). Repeatable.")
    ] = [],  # noqa: B006
    host_memory: Annotated[
        float | None, typer.Option(min=0, callback=check_finite, help="GiB of the host, to check --offload against.")
    ] = None,
    online: Annotated[
        str | None, typer.Option(help="The step of this method of `robo-orl list online`, laid on the policies.")
    ] = None,
    predict: Annotated[bool, typer.Option("--predict", help="Predict without running it: any size, no GPU.")] = False,
    largest: Annotated[
        bool, typer.Option("--largest", help="Predict the largest model that trains on each --card.")
    ] = False,
    steps: Annotated[int, typer.Option(min=5, help="Timed steps of a measurement, warm-up excluded.")] = 20,
    snapshot: Annotated[Path | None, typer.Option(help="Write the GPU allocator's history to this file.")] = None,
    as_json: Json = False,
) -> None:
    """Memory, FLOPs, traffic and time of a training step: predicted for any machine, or measured on this one."""
    from robo_orl.cost.profile import Request

    if predict and largest:
        raise UsageError("--largest is a prediction already: leave out --predict.")
    request = Request(
        policies=(policy, *beside),
        task=task,
        size=model_size,
        batch=batch,
        world=world,
        zero=zero,
        offload=offload,
        launch=launch,
        checkpointing=checkpointing,
        accumulation=accumulation,
        precision=precision,
        cards=tuple(card),
        host_memory_gb=host_memory,
        online=online,
    )
    if largest:
        _largest(request, as_json)
    elif predict:
        _predict(request, as_json)
    else:
        _measure(request, steps, snapshot, as_json)


def _largest(request: Request, as_json: bool) -> None:
    from robo_orl.cost import terminal
    from robo_orl.cost.profile import largest_on_cards

    models = largest_on_cards(request)
    show({"largest": [asdict(model) for model in models]}, as_json, lambda _: terminal.show_largest(models))


def _predict(request: Request, as_json: bool) -> None:
    from robo_orl.cost import terminal
    from robo_orl.cost.profile import predicted, step_here

    prediction = predicted(request)
    here = step_here(request, prediction)
    values = prediction.to_json() | {"this_machine": here.to_json()}
    show(values, as_json, lambda _: terminal.show_prediction(prediction, here))


def _measure(request: Request, steps: int, snapshot: Path | None, as_json: bool) -> None:
    from robo_orl.cost import terminal
    from robo_orl.cost.profile import measured

    measurement = measured(request, steps, snapshot, shows_progress(as_json))
    show(measurement.to_json(), as_json, lambda _: terminal.show_measurement(measurement))
