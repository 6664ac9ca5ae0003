"""The records of several results folders, sorted into divisions: what may stand in one ranking, and what may not.

A division is one suite of one version, one physics loop and one renderer; inside it a ranking is one task by its digest
and one regime. Rows are never mixed across any of these.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from robo_orl.base.errors import RunError
from robo_orl.report.contents import Cells, load, names
from robo_orl.results.cost_record import CostRecord
from robo_orl.results.record import EpisodeRow, Manifest, Record
from robo_orl.results.reruns import confirmed
from robo_orl.results.verify import verify

DEFAULT_MINIMUM = 1  # episodes a row needs where no suite says how many


@dataclass(frozen=True)
class Division:
    """The cells that are compared with each other.

    origins: key of a cell -> name of the folder that it is from. folders: those that hold some of the cells. minimum:
    the episodes of a training that the suite asks for; rows with fewer are not ranked. reruns: keys of cells that
    somebody else evaluated again.
    """

    suite: str
    version: int
    description: str
    loop: str
    renderer: str
    cells: Cells
    origins: dict[str, str]
    minimum: int
    reruns: frozenset[str] = frozenset()
    folders: tuple[Path, ...] = ()

    @property
    def name(self) -> str:
        """The suite, with what else sets the division apart from others of that suite."""
        apart = [f"version {self.version}"]
        if self.loop != "exact":
            apart.append(f"loop {self.loop}")
        if self.renderer:
            apart.append(f"renderer {self.renderer[:8]}")
        return f"{self.suite}, {', '.join(apart)}"


@dataclass
class _Suite:
    """The records of one suite and version while folders are read."""

    manifest: Manifest | None = None
    records: dict[str, Record] = field(default_factory=dict)
    rows: dict[str, list[EpisodeRow]] = field(default_factory=dict)
    costs: dict[str, CostRecord] = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=dict)
    reruns: set[str] = field(default_factory=set)
    folders: dict[Path, None] = field(default_factory=dict)
    beyond: set[str] = field(default_factory=set)


def check(folders: Sequence[Path]) -> None:
    """RunError where a folder contradicts itself: no page is written of such results."""
    for folder in folders:
        faults = verify(folder).faults
        if faults:
            name, sentences = next(iter(faults.items()))
            raise RunError(
                f"{folder} contradicts itself, so no leaderboard is built: {name}: {sentences[0]} `robo-orl results "
                f"verify {folder}` names everything."
            )


def divisions(folders: Sequence[Path]) -> list[Division]:
    """The divisions of all folders, the one with the most methods first. Cells that several folders hold count once."""
    suites: dict[tuple[str, int], _Suite] = {}
    costs: dict[str, CostRecord] = {}
    for folder in folders:
        cells = load(folder)
        for record in cells.records:
            ref = cells.manifest.suite if cells.manifest else record.suite
            suite = suites.setdefault((ref.name, ref.version), _Suite())
            if record.cell not in suite.records:
                suite.records[record.cell], suite.rows[record.cell] = record, cells.rows[record.cell]
                suite.origins[record.cell] = folder.resolve().name
                suite.folders[folder] = None
                suite.beyond |= {record.cell} & cells.beyond  # of its own folder's suite, not of another's
        again = confirmed(folder, [(record, cells.rows[record.cell]) for record in cells.records])
        for suite in suites.values():
            suite.reruns |= again & suite.records.keys()
        if cells.manifest is not None and cells.records:
            ref = cells.manifest.suite
            suites[ref.name, ref.version].manifest = suites[ref.name, ref.version].manifest or cells.manifest
        for cost in cells.costs:
            costs.setdefault(cost.key, cost)
            if (cost.suite.name, cost.suite.version) in suites:
                suites[cost.suite.name, cost.suite.version].costs[cost.key] = cost
    made = [part for key, suite in suites.items() for part in _divided(key, suite, costs)]
    return sorted(made, key=lambda d: (-len({(r.policy.name, r.size) for r in d.cells.records}), d.suite, -d.version))


def _divided(key: tuple[str, int], suite: _Suite, costs: dict[str, CostRecord]) -> list[Division]:
    """A suite by physics loop and renderer."""
    parts: dict[tuple[str, str], list[Record]] = {}
    for record in suite.records.values():
        renderer = (record.evaluation.render or {}).get("reference_sha256") or ""
        parts.setdefault((record.evaluation.loop, str(renderer)), []).append(record)
    config = suite.manifest.config if suite.manifest else {}
    minimum = (config.get("evaluation") or {}).get("episodes") or DEFAULT_MINIMUM
    own = list(suite.costs.values()) or list(costs.values())
    result = []
    for (loop, renderer), records in parts.items():
        named = _distinct(records, suite)
        rows = {record.cell: suite.rows[record.cell] for record in named}
        cells = Cells(named, rows, own, suite.manifest, beyond=frozenset(suite.beyond))
        description = suite.manifest.description if suite.manifest else ""
        result.append(Division(*key, description, loop, renderer, cells, suite.origins, minimum,
                               frozenset(suite.reruns), tuple(suite.folders)))  # fmt: skip
    return result


def _distinct(records: Sequence[Record], suite: _Suite) -> list[Record]:
    """The records, those of another settings under a name that is taken renamed after their folder.

    A planned cell of the suite keeps its name; of the others the one that was read first.
    """
    planned = {cell.cell for cell in suite.manifest.cells} if suite.manifest else set()
    taken: dict[tuple, str] = {}
    result = []
    for record in sorted(records, key=lambda record: record.cell not in planned):
        while taken.setdefault(names(record), record.cell) != record.cell:
            name = f"{record.policy.name} ({suite.origins[record.cell]})"
            if name.count("(") > 1:  # one folder holds both: the digest tells them apart
                name = f"{record.policy.name} {record.cell[:6]}"
            record = record.model_copy(update={"policy": record.policy.model_copy(update={"name": name})})
        result.append(record)
    return result
