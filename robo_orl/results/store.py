"""Results on disk, in two forms behind one interface: the working folder of `bench`, and a container (container.py).

    working folder                  container             content
    suite.json                      suite.json            the cells of the suite (Manifest)
    cells/NAME/record.json          records.jsonl         one Record a cell
    cells/NAME/episodes.jsonl       episodes.jsonl.gz     its episodes, one row each (EpisodeRow)
    cost/KEY.json                   cost.jsonl            one CostRecord a cost cell

Everything else in a working folder (data, runs, logs) may be deleted: scores and reports need only these. A container
is read only: `bench` writes into a working folder, `robo-orl results pack` and `unpack` go from one to the other.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from robo_orl.base.errors import UsageError
from robo_orl.base.files import write_text
from robo_orl.results.container import PackedTexts, is_container, read_container, split_lines
from robo_orl.results.cost_record import CostRecord
from robo_orl.results.reading import parse_json, read_text
from robo_orl.results.record import EpisodeRow, Manifest, Record

CELLS, COST, MANIFEST = "cells", "cost", "suite.json"
RECORD, EPISODES = "record.json", "episodes.jsonl"

M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True)
class StoredCell:
    """A cell of a working folder or of a container; its texts are read when they are used."""

    name: str
    place: str  # of the record, for messages
    record_text: Callable[[], str]
    episodes_text: Callable[[str], str]  # of the record's episodes_file

    def record(self) -> Record:
        """The record; UsageError, one sentence, where it is none."""
        return _parse(Record, self.record_text(), self.place)

    def episodes(self, record: Record) -> str:
        """The text that record.evaluation.episodes_sha256 was taken of."""
        return self.episodes_text(record.evaluation.episodes_file)

    def rows(self, record: Record) -> list[EpisodeRow]:
        """The episode rows."""
        return _rows(self.episodes(record), f"{record.evaluation.episodes_file} of {self.name}")


@dataclass(frozen=True)
class Results:
    """The results of a suite, from either form, as they are stored.

    costs: key -> the JSON object of a cost record.
    """

    folder: Path
    packed: bool
    suite: str | None
    cells: list[StoredCell]
    costs: dict[str, dict[str, Any]]

    @property
    def manifest(self) -> Manifest | None:
        """The cells of the suite, or None in a folder of loose records."""
        return _parse(Manifest, self.suite, str(self.folder / MANIFEST)) if self.suite is not None else None

    @property
    def cost_records(self) -> list[CostRecord]:
        """Every cost record, by key."""
        return [_validated(CostRecord, self.costs[key], f"{self.folder}: cost {key}") for key in sorted(self.costs)]


def open_results(folder: Path) -> Results:
    """The results in a working folder or a container; UsageError where there is no such folder or it is damaged."""
    folder = Path(folder)
    if not folder.is_dir():
        raise UsageError(f"There is no results folder {folder}; `robo-orl bench` writes one.")
    return _of_container(folder, read_container(folder)) if is_container(folder) else _of_working_folder(folder)


def _of_container(folder: Path, texts: PackedTexts) -> Results:
    cells = []
    for line in texts.records:
        text = json.dumps(line.value)
        rows = texts.episodes.get(line.value["cell"], "")
        cells.append(StoredCell(_cell_name(line.value), line.place, lambda t=text: t, lambda _, r=rows: r))
    costs = {line.value["key"]: line.value for line in texts.costs}
    return Results(folder, True, texts.suite, sorted(cells, key=lambda cell: cell.name), costs)


def _cell_name(record: dict[str, Any]) -> str:
    """The name that the folder of a cell has, from its record; its key where the record is none."""
    try:
        task, policy = record["task"]["name"], record["policy"]["name"]
        return f"{task}-{record['regime']}-{policy}-{record['size']}-s{record['seed']}-{record['cell'][:10]}"
    except (KeyError, TypeError):
        return record["cell"][:10]


def _of_working_folder(folder: Path) -> Results:
    suite = read_text(folder / MANIFEST) if (folder / MANIFEST).exists() else None
    costs = {path.stem: _read_json(path) for path in sorted((folder / COST).glob("*.json"))}
    cells = [folder_cell(path) for path in cell_folders(folder)]
    return Results(folder, False, suite, cells, costs)


def folder_cell(folder: Path) -> StoredCell:
    """The cell in one folder of a working folder."""
    place = folder / RECORD
    return StoredCell(folder.name, str(place), partial(read_text, place), lambda name: read_text(folder / name))


def cell_folders(out: Path) -> list[Path]:
    """The folders of a working folder that hold a record, sorted by name."""
    return sorted(path.parent for path in (out / CELLS).glob(f"*/{RECORD}"))


# -------------------------------------------------------------------------------------------------------------- reading


def read_cells(out: Path) -> list[tuple[Record, list[EpisodeRow]]]:
    """Every record of a results folder with its episode rows."""
    pairs = [(cell, cell.record()) for cell in open_results(out).cells]
    return [(record, cell.rows(record)) for cell, record in pairs]


def read_costs(out: Path) -> list[CostRecord]:
    """Every cost measurement of a results folder."""
    return open_results(out).cost_records


def read_folder_costs(out: Path) -> list[CostRecord]:
    """Every cost measurement of a working folder, whose cells are not looked at."""
    paths = sorted((Path(out) / COST).glob("*.json"))
    return [_validated(CostRecord, _read_json(path), f"{out}: cost {path.stem}") for path in paths]


def read_manifest(out: Path) -> Manifest | None:
    """The cells of the suite, or None in a folder of loose records."""
    return _parse(Manifest, read_text(out / MANIFEST), str(out / MANIFEST)) if (out / MANIFEST).exists() else None


def read_record(folder: Path) -> Record:
    """The record of one cell folder of a working folder."""
    return folder_cell(folder).record()


def parse_rows(path: Path) -> list[EpisodeRow]:
    """The rows of an episodes.jsonl."""
    return _rows(read_text(path), str(path))


def _rows(text: str, place: str) -> list[EpisodeRow]:
    try:
        return [EpisodeRow.model_validate_json(line) for line in split_lines(text) if line]
    except ValidationError as error:
        raise UsageError(f"{place} holds a row that is no episode: {_first(error)}.") from None


def _read_json(path: Path) -> dict[str, Any]:
    return _object(read_text(path), str(path))


def _object(text: str, place: str) -> dict[str, Any]:
    try:
        value = parse_json(text)
    except ValueError as error:
        raise UsageError(f"{place} is not JSON ({error}); delete it and run the benchmark again.") from None
    if not isinstance(value, dict):
        raise UsageError(f"{place} is no JSON object; delete it and run the benchmark again.")
    return value


def _parse(schema: type[M], text: str, place: str) -> M:
    return _validated(schema, _object(text, place), place)


def _validated(schema: type[M], values: Any, place: str) -> M:
    try:
        return schema.model_validate(values)
    except ValidationError as error:
        version = values.get("schema_version") if isinstance(values, dict) else None
        if version is not None and version != schema.model_fields["schema_version"].default:
            raise UsageError(
                f"{place} has schema version {version}, which this robo-orl cannot read: read it with the version that "
                "wrote it, or take it away."
            ) from None
        raise UsageError(f"{place} is no {schema.__name__}: {_first(error)}.") from None


def _first(error: ValidationError) -> str:
    fault = error.errors()[0]
    return f"{'.'.join(map(str, fault['loc'])) or 'value'}: {fault['msg']}"


# -------------------------------------------------------------------------------------------------------------- writing


def rows_text(rows: Sequence[EpisodeRow]) -> str:
    """The content of episodes.jsonl. A row that was written without a field that is newer keeps its text."""
    return "".join(row.model_dump_json(exclude=_absent(row)) + "\n" for row in rows)


def _absent(row: EpisodeRow) -> set[str]:
    return {name for name in ("horizon", "look_ahead_decisions") if getattr(row, name) is None}


def write_cell(folder: Path, record: Record, rows: Sequence[EpisodeRow]) -> None:
    """Write a cell's rows and then its record: a record that exists is complete."""
    write_text(folder / record.evaluation.episodes_file, rows_text(rows))
    write_record(folder, record)


def write_record(folder: Path, record: Record) -> None:
    """Write a cell's record alone."""
    write_text(folder / RECORD, record.model_dump_json(indent=1) + "\n")


def write_cost(out: Path, name: str, record: CostRecord) -> None:
    """Store one cost measurement."""
    write_text(out / COST / f"{name}.json", record.model_dump_json(indent=1) + "\n")


def write_manifest(out: Path, manifest: Manifest) -> None:
    """Store the cells of the suite and their states."""
    write_text(out / MANIFEST, manifest.model_dump_json(indent=1) + "\n")


def results_inside(path: Path) -> list[Path]:
    """The path where it is a results folder, else the results folders directly inside of it."""
    if is_results(path):
        return [path]
    return sorted(filter(is_results, path.iterdir())) if path.is_dir() else []


def results_folders(paths: Iterable[Path]) -> list[Path]:
    """Every results folder among these and directly inside of those that are none; UsageError for one without any."""
    found: list[Path] = []
    for path in map(Path, paths):
        if not path.is_dir():
            raise UsageError(f"There is no results folder {path}; `robo-orl bench` writes one.")
        inside = results_inside(path)
        if not inside:
            raise UsageError(f"{path} holds no results, nor do the folders in it; `robo-orl bench` writes some.")
        found += [one for one in inside if one not in found]
    return found


def is_results(folder: Path) -> bool:
    """True for a working folder or a container, empty ones included."""
    if not folder.is_dir():
        return False
    return is_container(folder) or (folder / MANIFEST).exists() or (folder / CELLS).is_dir()
