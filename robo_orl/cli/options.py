"""Options that mean the same in every command, and how a result is printed."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from robo_orl.base.errors import unknown
from robo_orl.config import LOOPS, START_BANKS

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout instead of a table.")]


def _sets(example: str) -> Any:
    """--set with an example that the command takes."""
    text = f"Change one setting, e.g. {example}. Repeatable."
    return Annotated[list[str], typer.Option("--set", metavar="KEY=VALUE", help=text)]


Sets = _sets("policy.optim.steps=500")
ReferenceSets = _sets("train.num_epochs=200")
EvalSets = _sets("selection.num_samples=1")
Task = Annotated[str, typer.Option(help="A task, e.g. chain2 or chain2+40hz, or the path of a file.")]
Data = Annotated[Path, typer.Option(help="robomimic HDF5 file of that task.")]
RunFolder = Annotated[Path, typer.Option(help="The run's folder; an unfinished run of the same settings is resumed.")]
Workers = Annotated[int | None, typer.Option(min=1, help="Simulator processes (default: one per core).")]
Loop = Annotated[str, typer.Option(help="Stepping of the simulator: exact (bit-equal to stock), fast, or stock.")]
Seed = Annotated[int, typer.Option(help="Seed of every random draw.")]
ClipActions = Annotated[
    bool, typer.Option("--clip-actions", help="Clip actions of the data to [-1, 1], as the controllers do; counted.")
]
AfterSuccess = Annotated[
    str, typer.Option(help="cut: an episode of the data ends at its first success; keep: as it is stored.")
]
Rewards = Annotated[
    str,
    typer.Option(help="auto: recognise the scale of the data's rewards; as_is: as stored; success: 1 at the success."),
]
AcceptMismatch = Annotated[
    bool,
    typer.Option("--accept-mismatch", help="Take data that name another environment, robot or rate than the task."),
]


def check_finite(value: float | None) -> float | None:
    """A number of an option; the parser's error for one that is infinite or no number."""
    if value is not None and not math.isfinite(value):
        raise typer.BadParameter(f"{value} is no finite number.")
    return value


def reading_values(clip_actions: bool, after_success: str, rewards: str, accept_mismatch: bool) -> dict[str, Any]:
    """The options of reading data as values of a DataReading."""
    values = {"clip_actions": clip_actions, "after_success": after_success, "rewards": rewards}
    return values | {"accept_mismatch": accept_mismatch}


def show(result: dict[str, Any], as_json: bool, render: Callable[[dict], None] | None = None) -> None:
    """Print a command's result: JSON for programs, a table for people."""
    if as_json:
        print(json.dumps(result))
    elif render is not None:
        render(result)
    else:
        from robo_orl.cli.tables import key_values

        key_values(result)


def shows_progress(as_json: bool) -> bool:
    """True if progress is shown: to a person at a terminal, not to a program that reads JSON."""
    return not as_json


def check_loop(loop: str) -> str:
    """The name of a physics loop; UsageError for another one."""
    if loop not in LOOPS:
        raise unknown("loop", loop, LOOPS)
    return loop


def check_starts(starts: str) -> str:
    """The name of a bank of start states; UsageError for another one."""
    if starts not in START_BANKS:
        raise unknown("bank of start states", starts, START_BANKS)
    return starts
