"""Compute every score of a record from its episode rows, and every hash from what it was taken of."""

from __future__ import annotations

import hashlib
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from robo_orl.base.errors import UsageError
from robo_orl.config import PolicyConfig, ReferenceConfig
from robo_orl.results.container import RECORDS
from robo_orl.results.record import CostRecord, EpisodeRow, Record
from robo_orl.results.store import Results, StoredCell, open_results
from robo_orl.results.summary import summarise


@dataclass(frozen=True, slots=True)
class Verification:
    """Counts of the results that were checked, and their faults: cell, cost measurement or file -> sentences."""

    cells: int
    episodes: int
    costs: int
    faults: dict[str, list[str]]
    missing: list[str]  # cells that the suite asks for and that have no record

    def to_json(self) -> dict[str, Any]:
        """For --json."""
        return asdict(self)


def verify(folder: Path) -> Verification:
    """Check every cell and cost measurement of a working folder or a container.

    Raises UsageError where there is no such folder, or no result in it; damage is a fault.
    """
    folder = Path(folder)
    try:
        results = open_results(folder)
        manifest = results.manifest
    except UsageError as error:
        if not folder.is_dir():
            raise
        return Verification(0, 0, 0, {folder.name: [str(error)]}, [])
    if not results.cells and not results.costs:
        raise UsageError(f"{folder} holds no records; `robo-orl bench --out {folder}` writes some.")
    checked = {cell.name: _check(cell, results.packed) for cell in results.cells}
    faults = {name: sentences for name, (_, _, sentences) in checked.items()} | _cost_faults(results)
    present = {key for key, _, _ in checked.values()}
    absent = [cell for cell in (manifest.cells if manifest else []) if cell.cell[:10] not in present]
    if results.packed and (lost := sum(cell.state == "done" for cell in absent)):
        faults[RECORDS] = [f"the suite has {lost} cell(s) done that have no record here: the file is cut."]
    return Verification(
        cells=len(results.cells),
        episodes=sum(episodes for _, episodes, _ in checked.values()),
        costs=len(results.costs),
        faults={name: sentences for name, sentences in faults.items() if sentences},
        missing=[f"{c.task} {c.regime} {c.policy} {c.size} seed {c.seed}" for c in absent],
    )


def faults(cell: StoredCell, packed: bool = False) -> list[str]:
    """Every way in which a stored record contradicts its rows or itself, one sentence each."""
    return _check(cell, packed)[2]


def _check(cell: StoredCell, packed: bool) -> tuple[str, int, list[str]]:
    """The short key of a cell, the number of its episodes, and its faults."""
    try:
        record = cell.record()
        text, rows = cell.episodes(record), cell.rows(record)
    except UsageError as error:
        return cell.name.rsplit("-", 1)[-1], 0, [str(error)]
    issues = _hash_faults(record, text)
    if not packed and not cell.name.endswith(record.cell[:10]):
        issues.append(f"the folder is called {cell.name}, the record says cell {record.cell[:10]}.")
    return record.cell[:10], len(rows), issues + _row_faults(record, rows) + _score_faults(record, rows)


def _hash_faults(record: Record, episodes: str) -> list[str]:
    issues = []
    stated = record.evaluation.episodes_sha256
    if hashlib.sha256(episodes.encode()).hexdigest() != stated:
        issues.append(f"{record.evaluation.episodes_file} has changed: its sha256 is not the record's {stated[:12]}...")
    if ("library" in record.policy.config) != (record.kind == "reference"):
        return [*issues, f"the record is of kind {record.kind}, its policy.config is not."]
    try:
        digest = policy_of(record).digest()
    except ValidationError as error:
        return [*issues, f"policy.config is no configuration: {' '.join(str(error.errors()[0]['msg']).split())}."]
    if digest != record.policy.digest:
        issues.append(f"policy.config is not what policy.digest {record.policy.digest[:12]}... was taken of.")
    return issues


def policy_of(record: Record) -> PolicyConfig | ReferenceConfig:
    """The policy of a record; pydantic's ValidationError where its configuration is none."""
    schema = ReferenceConfig if record.kind == "reference" else PolicyConfig
    return schema.model_validate(record.policy.config)


def _row_faults(record: Record, rows: list[EpisodeRow]) -> list[str]:
    issues = []
    if sorted(row.episode for row in rows) != list(range(len(rows))):
        issues.append("episodes are missing or counted twice.")
    if len({(row.start, row.seed) for row in rows}) != len(rows):
        issues.append("a start state was used more than once with the same seed, so the episodes are not independent.")
    for row in rows:
        if row.length > record.task.horizon:
            issues.append(f"episode {row.episode} is longer ({row.length}) than the horizon ({record.task.horizon}).")
        if row.success_at_end and not row.success_once:
            issues.append(f"episode {row.episode} ends in success without ever having succeeded.")
        if row.stages and row.success_once != row.stages[-1]:
            issues.append(f"episode {row.episode}: the last stage and success disagree.")
    return issues


def _score_faults(record: Record, rows: list[EpisodeRow]) -> list[str]:
    try:
        scores = summarise(rows, record.task.stages)
    except ValueError as error:
        return [f"{error}."]
    return [
        f"evaluation.{name} is {_short(stated)}, the rows give {_short(value)}."
        for name, value in scores.items()
        for stated in [getattr(record.evaluation, name)]
        if not _same(stated, value)
    ]


def _cost_faults(results: Results) -> dict[str, list[str]]:
    """Of the interleaved measurements. Their ratios are medians within a round, which no stored number gives back."""
    try:
        return {f"cost {record.key}": _part_faults(record) for record in results.cost_records}
    except UsageError as error:
        return {"cost": [str(error)]}


def _part_faults(record: CostRecord) -> list[str]:
    issues = []
    for row in record.rows:
        if row.parameters is None:
            continue
        total, parts = row.parameters.get("total"), {k: v for k, v in row.parameters.items() if k != "total"}
        if total is not None and total != sum(parts.values()):
            issues.append(f"{row.policy}: the components sum to {sum(parts.values())} parameters, total says {total}.")
    return issues


def _same(stated: Any, value: Any) -> bool:
    """Equal; floats up to the rounding of another summation order."""
    if isinstance(stated, float) and isinstance(value, float):
        return math.isclose(stated, value, rel_tol=1e-9, abs_tol=1e-12)
    return stated == value


def _short(value: Any) -> str:
    if hasattr(value, "k"):
        return f"{value.k}/{value.n} [{value.low:.3f}, {value.high:.3f}]"
    return str(value)
