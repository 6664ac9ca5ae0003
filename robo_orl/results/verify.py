"""Check stored results: compute again all that can be computed, and name each contradiction in one sentence.

Hashes, digests and addresses are taken again of what they were taken of; scores are computed from the rows; each
episode is checked against the task, each record against its configuration and its suite, and cells against each other.
What no check can see is named as claimed.
"""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from robo_orl.base.errors import UsageError
from robo_orl.results.container import RECORDS, split_lines
from robo_orl.results.reading import parse_json
from robo_orl.results.record import EpisodeRow, Manifest, Record, StageScore
from robo_orl.results.reruns import RERUNS, read_reruns, rerun_faults
from robo_orl.results.store import EPISODES, MANIFEST, Results, StoredCell, open_results
from robo_orl.results.summary import summarise
from robo_orl.results.verification.addresses import Requests, address_faults, request_faults
from robo_orl.results.verification.costs import cost_faults
from robo_orl.results.verification.episodes import row_faults
from robo_orl.results.verification.folder import ReadCell, manifest_faults, shared_faults, suite_of
from robo_orl.results.verification.online import online_row_faults
from robo_orl.results.verification.personal import personal_faults
from robo_orl.results.verification.records import policy_of, read_policy, record_faults
from robo_orl.results.verification.tasks import task_of

__all__ = ["CLAIMED", "Verification", "faults", "policy_of", "verify"]

CLAIMED = (
    "times, speeds and measured memory",
    "ratios of step times, and ratios under a launcher",
    "versions, hardware, code and dates",
    "the content of the data and of the checkpoint behind their hashes",
    "that the episodes were played as the rows say",
)


@dataclass(frozen=True, slots=True)
class Verification:
    """Counts of the results that were checked, and their faults: cell, cost measurement or file -> sentences.

    missing: cells that the suite asks for and that have no record. superseded: records of settings that the suite has
    no more, which no page shows. personal: traces of a machine in a working folder; in a container they are faults.
    claimed: what no check can see. horizons: rows that hold their horizon; of the others it is that of the record.
    """

    cells: int
    episodes: int
    costs: int
    faults: dict[str, list[str]]
    missing: list[str]
    superseded: list[str]
    personal: list[str]
    claimed: list[str]
    horizons: int

    def to_json(self) -> dict[str, Any]:
        """For --json."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class CheckedCell:
    """A stored cell after its own checks. cell: None where it could not be read."""

    key: str
    faults: list[str]
    cell: ReadCell | None = None
    episodes: int = 0


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
        return Verification(0, 0, 0, {folder.name: [str(error)]}, [], [], [], list(CLAIMED), 0)
    if not results.cells and not results.costs:
        raise UsageError(f"{folder} holds no records; `robo-orl bench --out {folder}` writes some.")
    return _Folder(results, manifest).verification()


def faults(cell: StoredCell, packed: bool = False) -> list[str]:
    """Every way in which a stored record contradicts its rows or itself, one sentence each."""
    return _check(cell, packed, None, frozenset()).faults


class _Folder:
    """The checks of one folder."""

    def __init__(self, results: Results, manifest: Manifest | None):
        self.results, self.manifest = results, manifest
        self.suite = suite_of(manifest) if manifest else None
        requests = Requests(self.suite) if self.suite else None
        self.planned = frozenset(cell.cell for cell in manifest.cells) if manifest else frozenset()
        self.checked = {c.name: _check(c, results.packed, requests, self.planned) for c in results.cells}
        self.read = [checked.cell for checked in self.checked.values() if checked.cell is not None]

    def verification(self) -> Verification:
        """All of them."""
        found: dict[str, list[str]] = defaultdict(list)
        for name, checked in self.checked.items():
            found[name] += checked.faults
        for own in (shared_faults(self.read), self._suite_faults(), self._cost_faults(), self._rerun_faults()):
            for name, sentences in own.items():
                found[name] += sentences
        personal = list(self._personal())
        if self.results.packed:
            for name, sentence in personal:
                found[name].append(sentence)
        return Verification(
            cells=len(self.results.cells),
            episodes=sum(checked.episodes for checked in self.checked.values()),
            costs=len(self.results.costs),
            faults={name: sentences for name, sentences in found.items() if sentences},
            missing=self._missing(),
            superseded=self._superseded(),
            personal=[] if self.results.packed else [f"{name}: {sentence}" for name, sentence in personal],
            claimed=[*CLAIMED, *self._undefined()],
            horizons=sum(row.horizon is not None for cell in self.read for row in cell.rows),
        )

    def _suite_faults(self) -> dict[str, list[str]]:
        if self.manifest is None:
            return {}
        keys = {checked.key[:10] for checked in self.checked.values()}
        known = {cell.cell for cell in self.manifest.cells if cell.cell[:10] in keys}
        found = manifest_faults(self.manifest, self.suite, self.read, known)
        lost = [sentence for sentence in found if "no record here" in sentence]
        return {MANIFEST: [s for s in found if s not in lost], (RECORDS if self.results.packed else "cells"): lost}

    def _cost_faults(self) -> dict[str, list[str]]:
        try:
            records = self.results.cost_records
        except UsageError as error:
            return {"cost": [str(error)]}
        found = cost_faults(records, self.manifest, self.suite)
        for key, record in zip(sorted(self.results.costs), records, strict=True):
            if key != record.key:
                found.setdefault(f"cost {key}", []).append(f"the file is called {key}, its key is {record.key}.")
        return found

    def _rerun_faults(self) -> dict[str, list[str]]:
        try:
            reruns = read_reruns(self.results.folder)
        except UsageError as error:
            return {RERUNS: [str(error)]}
        here = {cell.record.cell: (cell.record, cell.rows) for cell in self.read}
        found = [rerun_faults(rerun, *here.get(rerun.cell, (None, []))) for rerun in reruns]
        return {RERUNS: [sentence for sentences in found for sentence in sentences]}

    def _personal(self) -> Iterable[tuple[str, str]]:
        values = [(cell.name, cell.record.model_dump(mode="json")) for cell in self.read]
        values += [(f"cost {key}", value) for key, value in self.results.costs.items()]
        with suppress(UsageError):  # a line that is no rerun is a fault of its own
            values += [(RERUNS, rerun.model_dump(mode="json")) for rerun in read_reruns(self.results.folder)]
        if self.manifest is not None:
            values.append((MANIFEST, self.manifest.model_dump(mode="json")))
        return ((name, sentence) for name, value in values for sentence in personal_faults(value))

    def _missing(self) -> list[str]:
        present = {checked.key[:10] for checked in self.checked.values()}
        absent = [c for c in (self.manifest.cells if self.manifest else []) if c.cell[:10] not in present]
        return [f"{c.task} {c.regime} {c.policy} {c.size} seed {c.seed}" for c in absent]

    def _superseded(self) -> list[str]:
        if self.manifest is None:
            return []
        costs = self.results.costs if self.manifest.costs is not None else {}
        strange = [cell.name for cell in self.read if cell.record.cell not in self.planned]
        return strange + [f"cost {key}" for key in sorted(costs) if key not in self.manifest.costs]

    def _undefined(self) -> list[str]:
        """The tasks that nothing here defines: their horizon and reward cannot be looked up."""
        unknown = sorted({cell.record.task.name for cell in self.read if task_of(cell.record.task) is None})
        return [f"the horizon and the reward of the task {name}, which is not defined here" for name in unknown]


def _check(cell: StoredCell, packed: bool, requests: Requests | None, planned: frozenset[str]) -> CheckedCell:
    """The checks of one cell by itself. planned: the cells that the suite has now, whose requests are known."""
    key = cell.name.rsplit("-", 1)[-1]
    try:
        record = cell.record()
        if record.evaluation.episodes_file != EPISODES:
            return CheckedCell(key, [f"evaluation.episodes_file is not {EPISODES}."])
        text, rows = cell.episodes(record), cell.rows(record)
        _check_json(text, cell.name)
    except UsageError as error:
        return CheckedCell(key, [str(error)])
    own = requests if record.cell in planned else None
    policy, issues = read_policy(record)
    if hashlib.sha256(text.encode()).hexdigest() != record.evaluation.episodes_sha256:
        stated = record.evaluation.episodes_sha256
        issues.insert(0, f"{EPISODES} has changed: its sha256 is not the record's {stated[:12]}...")
    if not packed and cell.name != _name(record):
        issues.append(f"the folder is called {cell.name}, the record is that of {_name(record)}.")
    issues += [*row_faults(record, rows), *_score_faults(record, rows), *online_row_faults(record, rows)]
    if policy is None:
        return CheckedCell(record.cell, issues, None, len(rows))
    issues += [*request_faults(record, policy, rows), *record_faults(record, policy, own)]
    issues += address_faults(record, policy, own)
    return CheckedCell(record.cell, issues, ReadCell(cell.name, record, policy, rows), len(rows))


def _name(record: Record) -> str:
    where = f"{record.task.name}-{record.regime}-{record.policy.name}-{record.size}"
    return f"{where}-s{record.seed}-{record.cell[:10]}"


def _check_json(rows: str, name: str) -> None:
    """UsageError where a row repeats a key: readers would take different values of it."""
    for number, line in enumerate(split_lines(rows), 1):
        try:
            parse_json(line)
        except ValueError as error:
            raise UsageError(f"line {number} of {EPISODES} of {name} is no episode row: {error}.") from None


def _score_faults(record: Record, rows: list[EpisodeRow]) -> list[str]:
    try:
        scores = summarise(rows, record.task.stages)
    except ValueError as error:
        return [f"{error}."]
    return [
        f"evaluation.{name} is {_short(stated, value)}, the rows give {_short(value, stated)}."
        for name, value in scores.items()
        for stated in [getattr(record.evaluation, name)]
        if not _same(stated, value)
    ]


def _same(stated: Any, value: Any) -> bool:
    """Equal; floats up to the rounding of another summation order."""
    if isinstance(stated, float) and isinstance(value, float):
        return math.isclose(stated, value, rel_tol=1e-9, abs_tol=1e-12)
    return stated == value


def _short(value: Any, other: Any) -> str:
    """A score in words; of stages the first one that differs from that of the other side."""
    if isinstance(value, list):
        differing = [stage for index, stage in enumerate(value) if other[index : index + 1] != [stage]]
        return f"{len(value)} stages" if not differing else _stage_words(differing[0])
    if hasattr(value, "k"):
        return f"{value.k}/{value.n} [{value.low:.3f}, {value.high:.3f}]"
    return str(value)


def _stage_words(stage: StageScore) -> str:
    reached, given = stage.reached, stage.conditional
    return f"{stage.name} {_short(reached, None)} ({_short(given, None)} of those that reached the stage before)"
