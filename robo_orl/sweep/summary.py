"""What a bench says of a suite's folder: the rows of its view, what failed, the manifest, and its summary."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from robo_orl.config import SuiteConfig
from robo_orl.results.record import Manifest, PlannedCell
from robo_orl.results.verification.personal import without_paths
from robo_orl.sweep.cells import Cell
from robo_orl.sweep.collect import suite_ref
from robo_orl.sweep.cost_cells import CostCell
from robo_orl.sweep.job import COSTS, EVALUATE, Job
from robo_orl.sweep.live_view import Failure, TableRow
from robo_orl.sweep.schedule import BLOCKED, FAILED, JobProgress
from robo_orl.sweep.verified import VerifiedRecord


@dataclass(frozen=True)
class BenchSummary:
    """The state of a suite's folder after a bench.

    computed: cells finished by this call. left_out: cost cells that this machine cannot measure, with the reasons.
    unchanged: everything that a report rests on is as the call found it.
    """

    suite: str
    version: int
    folder: str
    cells: int
    done: int
    computed: int
    cost_cells: int
    cost_done: int
    left_out: list[str]
    failed: list[Failure]
    wall_s: float
    unchanged: bool = False

    def to_json(self) -> dict[str, Any]:
        """The summary as `robo-orl bench --json` prints it."""
        return asdict(self)


def view_rows(
    cells: Iterable[Cell],
    jobs: Mapping[str, Sequence[Job]],
    costs: Mapping[Job, CostCell],
    records: Mapping[str, VerifiedRecord],
) -> list[TableRow]:
    """A row per cell, with its score where it has a record, and one per cost measurement."""
    rows = [
        TableRow(
            title=(cell.task.name, cell.regime, cell.policy.name, cell.size, str(cell.seed)),
            jobs=tuple(job.key for job in jobs.get(cell.key, ())),
            stored=_score(records.get(cell.key)),
        )
        for cell in cells
    ]
    return rows + [TableRow((cell.task.name, "", cell.title, cell.size, ""), (job.key,)) for job, cell in costs.items()]


def _score(record: VerifiedRecord | None) -> str | None:
    return None if record is None else f"{record.k} of {record.n} episodes"


def failures_of(
    cells: Mapping[str, Cell],
    jobs: Mapping[str, Sequence[Job]],
    states: Mapping[str, JobProgress],
    refused: Mapping[str, str],
    logs: Path,
) -> dict[str, Failure]:
    """The failures by cell key, and by job key for cost measurements: the first step of a cell that failed.

    refused: cells whose record contradicts its rows, with the sentence.
    """
    broken = {key: state for key, state in states.items() if state.state in (FAILED, BLOCKED)}
    failed = {}
    for key, cell in cells.items():
        first = next((broken[job.key] for job in jobs[key] if job.key in broken), None)
        if first is not None:
            failed[key] = _failure(cell.name, first, logs)
        elif key in refused:
            failed[key] = Failure(cell.name, EVALUATE, refused[key], str(logs))
    return failed | {key: _failure(key, state, logs) for key, state in broken.items() if state.job.kind == COSTS}


def _failure(name: str, state: JobProgress, logs: Path) -> Failure:
    log = logs / f"{state.blocked_by or state.job.key}.log"
    return Failure(cell=name, step=state.job.kind, reason=state.reason, log=str(log))


def manifest(
    suite: SuiteConfig,
    cells: Iterable[Cell],
    cost_cells: Iterable[CostCell],
    records: Mapping[str, VerifiedRecord],
    failed: Mapping[str, Failure],
    out: Path,
    wall_s: float,
) -> Manifest:
    """The suite's state for `suite.json`, without a path of this machine. wall_s: seconds of all calls so far."""
    places = (out, Path.cwd())
    planned = [
        PlannedCell(
            cell=cell.key,
            task=cell.task.name,
            regime=cell.regime,
            policy=cell.policy.name,
            size=cell.size,
            seed=cell.seed,
            state="failed" if cell.key in failed else "done" if cell.key in records else "missing",
            reason=without_paths(failed[cell.key].reason, *places) if cell.key in failed else "",
        )
        for cell in cells
    ]
    return Manifest(
        suite=suite_ref(suite),
        description=suite.description,
        config=without_paths(suite.model_dump(mode="json"), *places),
        cells=planned,
        costs=[cell.key for cell in cost_cells],
        wall_s=wall_s,
    )
