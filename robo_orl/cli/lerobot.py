"""LeRobot data sets on the command line: `data convert` of a folder, and `data export`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from robo_orl.base.errors import UsageError
from robo_orl.cli.options import Json, show, shows_progress

if TYPE_CHECKING:
    from robo_orl.data.info import WrittenFile
    from robo_orl.data.lerobot.selection import Choice


def export(
    file: Annotated[Path, typer.Argument(help="A robomimic HDF5 file.")],
    out: Annotated[Path, typer.Option(help="The folder to write; a killed call continues where it was.")],
    instruction: Annotated[str, typer.Option(help="Task text of episodes without one (default: the task's).")] = "",
    fps: Annotated[int, typer.Option(min=0, help="Frames a second, where the file does not say its rate.")] = 0,
    as_json: Json = False,
) -> None:
    """Write a LeRobot v3 data set: vectors, actions, rewards, success, stages, task texts, and cameras as videos."""
    from robo_orl.data.lerobot.from_hdf5 import export_lerobot

    show(export_lerobot(file, out, instruction, fps, shows_progress(as_json)).to_json(), as_json)


def convert(folder: Path, out: Path, choice: Choice, progress: bool) -> WrittenFile:
    """The HDF5 file of a LeRobot folder."""
    from robo_orl.data.lerobot.to_hdf5 import convert_lerobot

    return convert_lerobot(folder, out, choice, progress)


def choice(cameras: str, size: int, episodes: str, scale_actions: bool, assume_success: bool) -> Choice:
    """The options of `data convert` that a LeRobot folder takes."""
    from robo_orl.data.lerobot.selection import Choice

    kept = None if cameras == "all" else () if cameras == "none" else tuple(_parts(cameras))
    return Choice(kept, _numbers(episodes), size, scale_actions, assume_success)


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def refuse(file: Path, given: dict[str, Any]) -> None:
    """UsageError for an option that would do nothing with this kind of data."""
    for option in (option for option, value in given.items() if value):
        kind = "is a LeRobot folder" if file.is_dir() else "is no LeRobot folder"
        raise UsageError(f"{file} {kind}: {option} would do nothing; leave it out.")


def _numbers(text: str) -> tuple[int, ...] | None:
    """Numbers and ranges, e.g. 0:20 or 3,5; None where there are none."""
    numbers: list[int] = []
    try:
        for part in _parts(text):
            first, colon, last = part.partition(":")
            numbers += range(int(first or 0), int(last)) if colon else [int(first)]
    except ValueError:
        raise UsageError("--episodes takes numbers and ranges, e.g. 0:20 or 3,5.") from None
    return tuple(dict.fromkeys(numbers)) or None
