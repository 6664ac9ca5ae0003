"""The records of a working folder that were verified, so that no later call reads and verifies them again.

verified.jsonl holds a line a record: what a bench needs of it, beside size and times of its two files. A file that has
another size or time than its line says is read and verified as if there were no line. Lines made by other rules of
verification count for nothing.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import robo_orl.results
from robo_orl.base.files import write_text
from robo_orl.base.os_errors import describe_os_errors
from robo_orl.results.record import Record
from robo_orl.results.store import EPISODES, RECORD

FILE = "verified.jsonl"
Stamp = list[list[int]] | None


@dataclass(frozen=True)
class VerifiedRecord:
    """What a bench needs of a record: its key, its suite and tuning as JSON, k and n of its successes."""

    cell: str
    suite: dict[str, Any]
    tuning: dict[str, Any] | None
    k: int
    n: int

    @classmethod
    def of(cls, record: Record) -> VerifiedRecord:
        """That of a record."""
        score, tuning = record.evaluation.success_once, record.tuning
        return cls(
            cell=record.cell,
            suite=record.suite.model_dump(mode="json"),
            tuning=None if tuning is None else tuning.model_dump(mode="json"),
            k=score.k,
            n=score.n,
        )


class VerifiedRecords:
    """The lines of a folder's verified.jsonl, by the name of the cell's folder."""

    def __init__(self, out: Path):
        self.path = out / FILE
        self._lines: dict[str, dict[str, Any]] = {}
        self._new: list[str] = []
        with suppress(OSError):  # there is none yet
            for line in self.path.read_text(encoding="utf-8", errors="replace").splitlines():
                with suppress(ValueError, KeyError, TypeError):  # the last line of a killed call
                    value = json.loads(line)
                    self._lines[value["name"]] = value

    def get(self, folder: Path) -> VerifiedRecord | None:
        """The record of a cell's folder, None where it has to be read and verified."""
        line = self._lines.get(folder.name)
        if line is None or line.get("rules") != rules() or line.get("files") != stamp(folder):
            return None
        with suppress(KeyError, TypeError):
            return VerifiedRecord(**line["record"])
        return None

    def add(self, folder: Path, record: Record, files: Stamp) -> VerifiedRecord:
        """Note a record that was verified; `save` writes the notes. files: their stamp before they were read."""
        verified = VerifiedRecord.of(record)
        line = {"name": folder.name, "rules": rules(), "files": files, "record": asdict(verified)}
        self._lines[folder.name] = line
        self._new.append(json.dumps(line))
        return verified

    def save(self) -> None:
        """Append the new lines to the file."""
        if not self._new:
            return
        text, self._new = "".join(f"{line}\n" for line in self._new), []
        with describe_os_errors(self.path), self.path.open("a", encoding="utf-8") as file:
            file.write(text)

    def compact(self, names: Iterable[str]) -> None:
        """Write the file anew where it holds more lines of the past than of these cells."""
        kept = [json.dumps(self._lines[name]) for name in names if name in self._lines]
        with suppress(OSError):
            if self.path.stat().st_size > 2 * sum(map(len, kept)) + 4096:
                write_text(self.path, "".join(f"{line}\n" for line in kept))


def stamp(folder: Path) -> Stamp:
    """Size, time of change and time of writing of a cell's two files, ns; None where one is missing."""
    try:
        states = [os.stat(folder / name) for name in (RECORD, EPISODES)]
    except OSError:
        return None
    return [[state.st_size, state.st_ctime_ns, state.st_mtime_ns] for state in states]


@cache
def rules() -> str:
    """A hash of the code that verifies: other rules verify every record once more."""
    folder = Path(robo_orl.results.__file__).parent
    found = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        found.update(path.read_bytes())
    return found.hexdigest()[:16]
