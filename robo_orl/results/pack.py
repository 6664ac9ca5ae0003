"""Pack a working folder of `bench` into a container, and unpack a container into a working folder."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic_core import to_json

from robo_orl.base.errors import RunError, UsageError
from robo_orl.base.files import flush, write_text
from robo_orl.base.os_errors import describe_os_errors
from robo_orl.results.container import FILES, Line, PackedTexts, is_container, read_container, write_container
from robo_orl.results.reruns import RERUNS, add_reruns, read_reruns
from robo_orl.results.store import (
    CELLS,
    COST,
    EPISODES,
    MANIFEST,
    RECORD,
    Results,
    open_results,
)
from robo_orl.results.verify import Verification, verify


@dataclass(frozen=True, slots=True)
class Packed:
    """The folder that was written, and its content."""

    folder: str
    cells: int
    episodes: int
    costs: int
    files: int
    bytes: int

    def to_json(self) -> dict[str, Any]:
        """For --json."""
        return asdict(self)


def default_out(folder: Path) -> Path:
    """results/SUITE; a folder of loose records, which names no suite, gives its own name."""
    results = open_results(folder)
    manifest = results.manifest
    return Path("results") / (manifest.suite.name if manifest else Path(folder).resolve().name)


def pack(folder: Path, out: Path) -> Packed:
    """Write the container of a working folder, complete or not at all; a container that is there is replaced.

    Raises:
        UsageError: no results in the folder, or it is a container, or `out` holds something that is no container.
        RunError: a record contradicts its rows, a text names a path or address of this machine, or would not come back
            as it is.
    """
    folder, out = Path(folder), Path(out)
    if is_container(folder):
        raise UsageError(f"{folder} is packed already.")
    verification = _without_faults(folder)
    if out.exists() and (not out.is_dir() or {path.name for path in out.iterdir()} - {*FILES, RERUNS}):
        raise UsageError(f"{out} is no container of results; choose another --out.")
    texts, reruns = _texts(open_results(folder)), read_reruns(out)
    with _replaced(out) as new:
        write_container(new, texts)
        if kept := [rerun for rerun in reruns if texts.holds(rerun.cell, rerun.episodes_sha256)]:
            add_reruns(new, kept)
        _check_same(texts, read_container(new), folder)
        sizes = [path.stat().st_size for path in new.iterdir()]
    return Packed(
        str(out), verification.cells, verification.episodes, verification.costs, files=len(sizes), bytes=sum(sizes)
    )


def pack_again(container: Path, out: Path) -> Packed:
    """Write a container anew from another one, after verifying it. Raises as `pack` does."""
    container, out = Path(container), Path(out)
    if out.exists() and out.resolve() == container.resolve():
        raise UsageError(f"{out} is the container itself; choose another --out.")
    verification = _without_faults(container)
    if out.exists() and (not out.is_dir() or {path.name for path in out.iterdir()} - set(FILES)):
        raise UsageError(f"{out} is no container of results; choose another --out.")
    with _replaced(out) as new:
        write_container(new, _texts(open_results(container)))
        sizes = [path.stat().st_size for path in new.iterdir()]
    return Packed(
        str(out), verification.cells, verification.episodes, verification.costs, files=len(sizes), bytes=sum(sizes)
    )


def _without_faults(folder: Path) -> Verification:
    verification = verify(folder)
    if verification.faults:
        name, sentences = next(iter(verification.faults.items()))
        more = f" ({len(verification.faults)} have faults)" if len(verification.faults) > 1 else ""
        raise RunError(f"{folder} is not packed: {name}: {sentences[0]}{more} `robo-orl results verify {folder}`")
    if verification.personal:
        raise RunError(
            f"{folder} is not packed: {verification.personal[0]} Write a name in its place, or run `robo-orl bench` "
            "once more where it is suite.json, which is then written anew."
        )
    return verification


def _texts(results: Results) -> PackedTexts:
    records, episodes = [], {}
    for cell in results.cells:
        record = cell.record()
        records.append(Line(json.loads(cell.record_text()), cell.place))
        episodes[record.cell] = cell.episodes(record)
    costs = [Line(results.costs[key], key) for key in sorted(results.costs)]
    return PackedTexts(results.suite, records, episodes, costs)


def _check_same(texts: PackedTexts, packed: PackedTexts, folder: Path) -> None:
    """RunError where the container does not give back what it was made of."""
    same = (
        texts.suite == packed.suite
        and texts.episodes == packed.episodes
        and [line.value for line in texts.records] == [line.value for line in packed.records]
        and [line.value for line in texts.costs] == [line.value for line in packed.costs]
    )
    if not same:
        raise RunError(f"{folder} is not packed: a text in it would not come back from the container as it is.")


@contextmanager
def _replaced(out: Path) -> Iterator[Path]:
    """Yield an empty folder that takes the place of `out` when the block ends well and vanishes when it does not."""
    out = Path(os.path.realpath(out))  # a symbolic link stays one, and its target is replaced
    new, old = (out.with_name(f".{out.name}.{os.getpid()}.{state}") for state in ("partial", "replaced"))
    try:
        with describe_os_errors(out):
            new.mkdir(parents=True)
            yield new
            for path in (*new.iterdir(), new):
                flush(path)
            if out.exists():
                os.rename(out, old)
            os.rename(new, out)
    finally:
        if old.exists() and not out.exists():  # the second rename failed
            os.rename(old, out)
        shutil.rmtree(new, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def unpack(container: Path, out: Path) -> Packed:
    """Write a container as a working folder, in which `bench` goes on; UsageError where `out` is not empty."""
    container, out = Path(container), Path(out)
    results = open_results(container)
    if not results.packed:
        raise UsageError(f"{container} is no container of results; `robo-orl results pack` writes one.")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out} is not empty; choose another --out.")
    episodes = 0
    with _replaced(out) as new:
        for cell in results.cells:
            text = cell.episodes_text(EPISODES)
            episodes += text.count("\n")
            write_text(new / CELLS / cell.name / EPISODES, text)
            write_text(new / CELLS / cell.name / RECORD, _pretty(json.loads(cell.record_text())))
        for key, value in results.costs.items():
            write_text(new / COST / f"{key}.json", _pretty(value))
        if results.suite is not None:
            write_text(new / MANIFEST, results.suite)
        sizes = [path.stat().st_size for path in new.rglob("*") if path.is_file()]
    return Packed(str(out), len(results.cells), episodes, len(results.costs), files=len(sizes), bytes=sum(sizes))


def _pretty(value: dict[str, Any]) -> str:
    """A JSON object as `bench` writes it."""
    return to_json(value, indent=1).decode() + "\n"
