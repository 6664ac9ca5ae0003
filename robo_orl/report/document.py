"""report.json: every number of the report, computed from records and episode rows; the page only shows it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any

from robo_orl import __version__
from robo_orl.report.boards import Board, board, group
from robo_orl.report.compare import Comparison, comparisons
from robo_orl.report.contents import Cells
from robo_orl.report.costs import CostTable, cost_cells, cost_tables, largest_models
from robo_orl.report.headline import Headline, headline
from robo_orl.report.learning import LearningPanel, learning_panels
from robo_orl.report.online import OnlineBoard, online_boards
from robo_orl.report.published import published
from robo_orl.report.trends import (
    CostTrend,
    Trend,
    ValueErrorRow,
    horizon_trends,
    size_costs,
    size_trends,
    value_errors,
)
from robo_orl.report.verdicts import BoardVerdict, uninformative, verdicts
from robo_orl.results.cost_record import CostRecord
from robo_orl.results.endpoints import Endpoint
from robo_orl.results.record import Record

REPORT_VERSION = 2  # 2: comparisons by every endpoint, verdicts, curves


@dataclass(frozen=True)
class EndpointRow:
    """An endpoint with its definition."""

    name: str
    title: str
    definition: str


@dataclass(frozen=True)
class SuiteRow:
    """A suite of the report: its cells, those of them with a record, the records of cells that it does not ask for, and
    the seconds of all work on it."""

    name: str
    version: int
    cells_asked: int
    cells_done: int
    cells_beyond: int
    wall_s: float | None


@dataclass(frozen=True)
class CellSpeed:
    """The clock and the memory of one cell: observed there, no comparison."""

    cell: str
    task: str
    regime: str
    policy: str
    size: str
    seed: int
    steps: int
    batch_size: int
    steps_per_s: float
    samples_per_s: float
    peak_memory_bytes: int | None
    peak_memory_kind: str
    episodes: int
    restarts: int
    loop: str


@dataclass(frozen=True)
class Origin:
    """Machines, versions, code and data: distinct values over all records, so that a mixture of them shows."""

    report_made_with: str
    versions: dict[str, list[str]]
    hardware: list[dict[str, Any]]
    code: list[dict[str, Any]]
    loops: list[str]
    starts: dict[str, str]
    tasks: dict[str, str]
    data: list[dict[str, Any]]
    first: str | None
    last: str | None


@dataclass(frozen=True)
class Report:
    """The content of report.json, in its order."""

    report_version: int
    headline: Headline
    endpoints: list[EndpointRow]
    endpoints_declared: bool
    verdicts: list[BoardVerdict]
    suites: list[SuiteRow]
    boards: list[Board]
    comparisons: list[Comparison]
    horizon: list[Trend]
    size: list[Trend | CostTrend]
    cost: list[CostTable]
    cost_cells: list[dict[str, Any]]
    cost_largest: list[dict[str, Any]]
    value_errors: list[ValueErrorRow]
    learning: list[LearningPanel]
    online: list[OnlineBoard]
    absent: list[dict[str, Any]]
    superseded: int
    cells: list[CellSpeed]
    origin: Origin
    published: dict[str, Any]


def document(cells: Cells) -> dict[str, Any]:
    """The whole report as a JSON value; floats carry six significant digits, exactly as the page prints them."""
    return rounded(asdict(report_of(cells)))


def report_of(cells: Cells) -> Report:
    """The whole report."""
    grouped = group(cells)
    boards = [board(cells, index, key, policies) for index, (key, policies) in enumerate(grouped.items())]
    compared = comparisons(cells, boards, list(grouped.values()))
    judged = verdicts(boards, compared, cells.endpoints)
    errors, costs = value_errors(cells), cost_tables(cells.costs)
    return Report(
        report_version=REPORT_VERSION,
        headline=headline(boards, compared, judged, cells.endpoints, costs),
        endpoints=[EndpointRow(e.name, e.title, e.definition) for e in cells.endpoints],
        endpoints_declared=cells.endpoints_declared,
        verdicts=judged,
        suites=_suites(cells),
        boards=[replace(board, uninformative=uninformative(board, Endpoint("success"))) for board in boards],
        comparisons=compared,
        horizon=horizon_trends(boards, errors),
        size=[*size_trends(boards, errors), *size_costs(cells.costs)],
        cost=costs,
        cost_cells=cost_cells(cells.costs),
        cost_largest=largest_models(cells.costs),
        value_errors=errors,
        learning=learning_panels(cells.records),
        online=online_boards(cells.records),
        absent=[cell.model_dump() for cell in cells.absent],
        superseded=cells.superseded,
        cells=cell_speeds(cells.records),
        origin=origin(cells),
        published=published(),
    )


def _suites(cells: Cells) -> list[SuiteRow]:
    parts: list[Any] = [*cells.records, *cells.costs] + ([cells.manifest] if cells.manifest else [])
    names = sorted({(part.suite.name, part.suite.version) for part in parts})
    planned = len(cells.manifest.cells) if cells.manifest else len(cells.records)
    beyond = len(cells.beyond)
    wall = cells.manifest.wall_s if cells.manifest else None
    return [SuiteRow(name, version, planned, len(cells.records) - beyond, beyond, wall) for name, version in names]


def cell_speeds(records: Iterable[Record]) -> list[CellSpeed]:
    """Every cell's own clock and memory."""
    ordered = sorted(records, key=lambda r: (r.task.horizon, r.task.name, r.regime, r.size, r.policy.name, r.seed))
    return [
        CellSpeed(
            cell=r.cell, task=r.task.name, regime=r.regime, policy=r.policy.name, size=r.size, seed=r.seed,
            steps=r.train.steps, batch_size=r.train.batch_size, steps_per_s=r.train.steps_per_s,
            samples_per_s=r.train.samples_per_s, peak_memory_bytes=r.train.peak_memory_bytes,
            peak_memory_kind=r.train.peak_memory_kind, episodes=r.evaluation.episodes,
            restarts=r.evaluation.restarts, loop=r.evaluation.loop,
        )
        for r in ordered
    ]  # fmt: skip


def origin(cells: Cells) -> Origin:
    """Machines, versions, code and data of the records and cost measurements."""
    measured = [cost for cost in cells.costs if cost.rows]  # a prediction has no machine
    parts: list[Record | CostRecord] = [*cells.records, *measured]
    versions: dict[str, set[str]] = {}
    for part in parts:
        for package, version in part.versions.items():
            versions.setdefault(package, set()).add(version)
    hardware = {part.hardware.model_dump_json(): part.hardware.model_dump() for part in parts}
    code = {part.code.model_dump_json(): part.code.model_dump() for part in parts}
    data = {(record.data.sha256, record.data.filter): {
                "task": record.task.name, "regime": record.regime, **record.data.model_dump()}
            for record in cells.records}  # fmt: skip
    dates = sorted(part.created for part in parts)
    return Origin(
        report_made_with=__version__,
        versions={package: sorted(distinct) for package, distinct in sorted(versions.items())},
        hardware=list(hardware.values()),
        code=list(code.values()),
        loops=sorted({record.evaluation.loop for record in cells.records}),
        starts={record.task.name: record.evaluation.starts_sha256 for record in cells.records},
        tasks={record.task.name: record.task.digest for record in cells.records},
        data=list(data.values()),
        first=dates[0] if dates else None,
        last=dates[-1] if dates else None,
    )


def rounded(value: Any) -> Any:
    """`value` with every float at six significant digits."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(item) for item in value]
    return value
