"""Compute every score of a record again from its episode rows, and every hash from what it was taken of."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from robo_orl.base.errors import UsageError
from robo_orl.base.files import file_sha256
from robo_orl.config import sha256_of
from robo_orl.results.record import EpisodeRow, Record
from robo_orl.results.store import cell_folders, read_manifest, read_record, read_rows
from robo_orl.results.summary import summarise


def verify(out: Path) -> dict[str, Any]:
    """Check every cell of a results folder.

    Returns cells (how many), faults (cell folder -> sentences) and missing (asked for, but without a record).
    """
    folders = cell_folders(out)
    if not folders:
        raise UsageError(f"{out} holds no records; `robo-orl bench --out {out}` writes some.")
    found = {folder.name: faults(folder) for folder in folders}
    keys = {folder.name.rsplit("-", 1)[-1] for folder in folders}
    manifest = read_manifest(out)
    planned = manifest.cells if manifest else []
    missing = [f"{c.task} {c.regime} {c.policy} {c.size} seed {c.seed}" for c in planned if c.cell[:10] not in keys]
    return {"cells": len(folders), "faults": {name: f for name, f in found.items() if f}, "missing": missing}


def faults(folder: Path) -> list[str]:
    """Every way in which the record in `folder` contradicts its rows or itself, one sentence each."""
    try:
        record = read_record(folder)
        rows = read_rows(folder, record)
    except UsageError as error:
        return [str(error)]
    found = []
    stated = record.evaluation.episodes_sha256
    if file_sha256(folder / record.evaluation.episodes_file) != stated:
        found.append(f"{record.evaluation.episodes_file} has changed: its sha256 is not the record's {stated[:12]}...")
    if sha256_of(record.policy.config) != record.policy.digest:
        found.append(f"policy.config is not what policy.digest {record.policy.digest[:12]}... was taken of.")
    if ("library" in record.policy.config) != (record.kind == "reference"):
        found.append(f"the record is of kind {record.kind}, its policy.config is not.")
    if not folder.name.endswith(record.cell[:10]):
        found.append(f"the folder is called {folder.name}, the record says cell {record.cell[:10]}.")
    return found + _row_faults(record, rows) + _score_faults(record, rows)


def _row_faults(record: Record, rows: list[EpisodeRow]) -> list[str]:
    found = []
    if sorted(row.episode for row in rows) != list(range(len(rows))):
        found.append("episodes are missing or counted twice.")
    if len({(row.start, row.seed) for row in rows}) != len(rows):
        found.append("a start state was used more than once with the same seed, so the episodes are not independent.")
    for row in rows:
        if row.length > record.task.horizon:
            found.append(f"episode {row.episode} is longer ({row.length}) than the horizon ({record.task.horizon}).")
        if row.success_at_end and not row.success_once:
            found.append(f"episode {row.episode} ends in success without ever having succeeded.")
        if row.stages and row.success_once != row.stages[-1]:
            found.append(f"episode {row.episode}: the last stage and success disagree.")
    return found


def _score_faults(record: Record, rows: list[EpisodeRow]) -> list[str]:
    try:
        again = summarise(rows, record.task.stages)
    except ValueError as error:
        return [f"{error}."]
    return [
        f"evaluation.{name} is {_short(stated)}, the rows give {_short(value)}."
        for name, value in again.items()
        for stated in [getattr(record.evaluation, name)]
        if not _same(stated, value)
    ]


def _same(stated: Any, value: Any) -> bool:
    """Equal; floats up to the rounding of another summation order."""
    if isinstance(stated, float) and isinstance(value, float):
        return math.isclose(stated, value, rel_tol=1e-9, abs_tol=1e-12)
    return stated == value


def _short(value: Any) -> str:
    if hasattr(value, "k"):
        return f"{value.k}/{value.n} [{value.low:.3f}, {value.high:.3f}]"
    return str(value)
