"""Records that contradict their rows or themselves: they count for no cell, and are kept beside the others.

They come from a version that asked for other episodes, from an edit by hand, from a disk. The cell is evaluated anew,
and what was there lies in set_aside/NAME: record, rows, the folder of the evaluation and what its job answered.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from robo_orl.base.os_errors import describe_os_errors
from robo_orl.results.store import CELLS

FOLDER = "set_aside"


def contradiction(folder: Path, fault: str) -> str:
    """The first half of a sentence about a record that verification refuses."""
    return f"{folder} is not what its rows and configuration say: {fault.removesuffix('.')}"


def set_aside(out: Path, name: str) -> Path:
    """Move the record of a cell and its evaluation out of the way, and return the folder where they lie now.

    The evaluation goes first and the record last: a call that is killed between them finds the record again.
    """
    place = next(path for path in _places(out, name) if not path.exists() or not (path / CELLS).exists())
    moves = {
        out / "evaluations" / name: place / "evaluation",
        out / "steps" / f"eval-{name}.json": place / "evaluation.json",
        out / CELLS / name: place / CELLS,
    }
    with describe_os_errors(place):
        place.mkdir(parents=True, exist_ok=True)
        for source, target in moves.items():
            if source.exists():
                source.rename(target)
    return place


def _places(out: Path, name: str) -> Iterator[Path]:
    yield out / FOLDER / name
    number = 2
    while True:
        yield out / FOLDER / f"{name}-{number}"
        number += 1
