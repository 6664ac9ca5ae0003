"""A results folder on disk: one folder per cell with its record and episode rows, cost measurements, a manifest.

    suite.json                      what was asked for (Manifest)
    cells/<name>/record.json        one Record
    cells/<name>/episodes.jsonl     its episodes, one row each
    cost/<name>.json                one CostRecord

Everything else in the folder (data, runs, logs) may be deleted: scores and reports need only these.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from robo_orl.base.errors import UsageError
from robo_orl.base.files import write_text
from robo_orl.results.record import CostRecord, EpisodeRow, Manifest, Record

CELLS, COST, MANIFEST = "cells", "cost", "suite.json"
RECORD, EPISODES = "record.json", "episodes.jsonl"

M = TypeVar("M", bound=BaseModel)


def rows_text(rows: Sequence[EpisodeRow]) -> str:
    """The content of episodes.jsonl."""
    return "".join(row.model_dump_json() + "\n" for row in rows)


def write_cell(folder: Path, record: Record, rows: Sequence[EpisodeRow]) -> None:
    """Write a cell's rows and then its record: a record that exists is complete."""
    write_text(folder / record.evaluation.episodes_file, rows_text(rows))
    write_record(folder, record)


def write_record(folder: Path, record: Record) -> None:
    """Write a cell's record alone."""
    write_text(folder / RECORD, record.model_dump_json(indent=1) + "\n")


def read_record(folder: Path) -> Record:
    """The record of one cell folder."""
    return _read(Record, folder / RECORD)


def read_rows(folder: Path, record: Record) -> list[EpisodeRow]:
    """The episode rows of one cell folder."""
    return parse_rows(folder / record.evaluation.episodes_file)


def parse_rows(path: Path) -> list[EpisodeRow]:
    """The rows of an episodes.jsonl."""
    try:
        return [EpisodeRow.model_validate_json(line) for line in path.read_text().splitlines() if line]
    except OSError as error:
        raise UsageError(f"Cannot read {path}: {error.strerror}.") from None
    except ValidationError as error:
        raise UsageError(f"{path} holds a row that is no episode: {_first(error)}.") from None


def cell_folders(out: Path) -> list[Path]:
    """The folders of a results folder that hold a record, sorted by name."""
    return sorted(path.parent for path in (out / CELLS).glob(f"*/{RECORD}"))


def read_cells(out: Path) -> list[tuple[Record, list[EpisodeRow]]]:
    """Every record of a results folder with its episode rows."""
    records = [(folder, read_record(folder)) for folder in cell_folders(out)]
    return [(record, read_rows(folder, record)) for folder, record in records]


def write_cost(out: Path, name: str, record: CostRecord) -> None:
    """Store one cost measurement."""
    write_text(out / COST / f"{name}.json", record.model_dump_json(indent=1) + "\n")


def read_costs(out: Path) -> list[CostRecord]:
    """Every cost measurement of a results folder."""
    return [_read(CostRecord, path) for path in sorted((out / COST).glob("*.json"))]


def write_manifest(out: Path, manifest: Manifest) -> None:
    """Store what was asked for and what became of it."""
    write_text(out / MANIFEST, manifest.model_dump_json(indent=1) + "\n")


def read_manifest(out: Path) -> Manifest | None:
    """What was asked for, or None in a folder of loose records."""
    return _read(Manifest, out / MANIFEST) if (out / MANIFEST).exists() else None


def _read(schema: type[M], path: Path) -> M:
    try:
        values = json.loads(path.read_text())
        return schema.model_validate(values)
    except OSError as error:
        raise UsageError(f"Cannot read {path}: {error.strerror}.") from None
    except json.JSONDecodeError:
        raise UsageError(f"{path} is not JSON; delete it and run the benchmark again.") from None
    except ValidationError as error:
        found = values.get("schema_version") if isinstance(values, dict) else None
        if found is not None and found != schema.model_fields["schema_version"].default:
            raise UsageError(f"{path} has schema version {found}, which this robo-orl cannot read.") from None
        raise UsageError(f"{path} is no {schema.__name__}: {_first(error)}.") from None


def _first(error: ValidationError) -> str:
    fault = error.errors()[0]
    return f"{'.'.join(map(str, fault['loc'])) or 'value'}: {fault['msg']}"
