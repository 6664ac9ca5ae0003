"""The container of packed results: the cells of a suite in four files instead of two files a cell.

    suite.json          the manifest, as `bench` wrote it
    records.jsonl       one record a line, sorted by the name of its cell
    episodes.jsonl.gz   the episode rows, gzip; each begins with the key of its cell
    cost.jsonl          one cost record a line, sorted by key

A file without content is absent. Without `"cell":KEY,` an episode row is the text that the evaluation wrote, byte for
byte: `episodes_sha256` of a record is the hash of that text and can be computed again from the container.

Why gzip: the shipped suites (24,250 rows, 11.9 MB of text) are 0.91 MB and read in 0.03 s, with xz 0.73 MB and 0.07 s,
as Parquet 0.64 MB and 0.11 s; parsing the rows takes longer than any of them. gzip is in Python itself, and pandas,
polars and DuckDB read JSON lines with gzip. Parquet needs pyarrow, which refuses the numpy that the simulators pin, and
does not keep the text of a row.
"""

from __future__ import annotations

import gzip
import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic_core import to_json

from robo_orl.base.errors import UsageError
from robo_orl.results.reading import parse_json, read_text

SUITE, RECORDS, EPISODES, COSTS = "suite.json", "records.jsonl", "episodes.jsonl.gz", "cost.jsonl"
FILES = (SUITE, RECORDS, EPISODES, COSTS)
ROW = re.compile(r'\{"cell":"([0-9a-f]+)",(.+\})')


@dataclass(frozen=True, slots=True)
class Line:
    """A JSON object of a container, and the place where it stands, for messages."""

    value: dict[str, Any]
    place: str


@dataclass(frozen=True, slots=True)
class PackedTexts:
    """The content of a container. episodes: key of a cell -> the text of its episodes.jsonl."""

    suite: str | None
    records: list[Line]
    episodes: dict[str, str]
    costs: list[Line]

    def holds(self, cell: str, episodes_sha256: str) -> bool:
        """Whether a cell is here with the rows of that hash."""
        text = self.episodes.get(cell)
        return text is not None and hashlib.sha256(text.encode()).hexdigest() == episodes_sha256


def is_container(folder: Path) -> bool:
    """True where a folder holds packed results."""
    return any((folder / name).is_file() for name in (RECORDS, EPISODES, COSTS))


def read_container(folder: Path) -> PackedTexts:
    """Read a container; UsageError, one sentence, where a file of it is damaged or belongs to no container."""
    suite = _text(folder / SUITE) if (folder / SUITE).exists() else None
    records = list(_lines(folder / RECORDS))
    episodes = _episodes(folder / EPISODES)
    costs = list(_lines(folder / COSTS))
    keys = Counter(_key(line) for line in records)
    if repeated := [key for key, count in keys.items() if count > 1]:
        raise UsageError(f"{folder / RECORDS} holds the record of cell {repeated[0][:10]} more than once.")
    if strays := episodes.keys() - keys:
        raise UsageError(f"{folder / EPISODES} holds rows of cell {min(strays)[:10]}, which has no record beside it.")
    for line in costs:
        if not isinstance(line.value.get("key"), str):
            raise UsageError(f"{line.place} is no cost record: it has no key.")
    return PackedTexts(suite, records, episodes, costs)


def write_container(folder: Path, texts: PackedTexts) -> None:
    """Write the files of a container into an empty folder. Equal content gives equal bytes."""
    if texts.suite is not None:
        (folder / SUITE).write_bytes(texts.suite.encode())
    if texts.records:
        (folder / RECORDS).write_bytes(_json_lines(texts.records))
    if texts.episodes:
        rows = "".join(_with_key(key, text) for key, text in texts.episodes.items())
        (folder / EPISODES).write_bytes(gzip.compress(rows.encode(), compresslevel=9, mtime=0))
    if texts.costs:
        (folder / COSTS).write_bytes(_json_lines(texts.costs))


def split_lines(text: str) -> list[str]:
    """The lines of a text, cut at newlines only: str.splitlines also cuts at other separators, which JSON allows."""
    return text.removesuffix("\n").split("\n") if text else []


def _json_lines(lines: Iterable[Line]) -> bytes:
    return b"".join(to_json(line.value) + b"\n" for line in lines)


def _with_key(key: str, text: str) -> str:
    """The rows of one cell with its key as their first entry."""
    return "".join(f'{{"cell":"{key}",{row[1:]}\n' for row in split_lines(text))


def _key(line: Line) -> str:
    key = line.value.get("cell")
    if not isinstance(key, str):
        raise UsageError(f"{line.place} is no record: it names no cell.")
    return key


def _episodes(path: Path) -> dict[str, str]:
    """Key of a cell -> its rows as text; empty where there is no file."""
    rows: dict[str, list[str]] = {}
    for number, text in enumerate(split_lines(_text(path)) if path.exists() else (), 1):
        match = ROW.fullmatch(text)
        if match is None:
            raise UsageError(f"{path} line {number} is no episode row with the key of its cell.")
        rows.setdefault(match[1], []).append("{" + match[2])
    return {key: "".join(f"{row}\n" for row in texts) for key, texts in rows.items()}


def _lines(path: Path) -> Iterator[Line]:
    for number, text in enumerate(split_lines(_text(path)) if path.exists() else (), 1):
        place = f"{path} line {number}"
        try:
            value = parse_json(text)
        except ValueError as error:
            raise UsageError(
                f"{place} is not JSON ({error}); the file is damaged: take it from its source again."
            ) from None
        if not isinstance(value, dict):
            raise UsageError(f"{place} is no JSON object.")
        yield Line(value, place)


def _text(path: Path) -> str:
    return read_text(path, "take it from its source again")
