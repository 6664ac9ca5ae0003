"""Run a suite: every cell without a record, as jobs on a runner, into a results folder that can be continued."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from robo_orl.base.errors import RunError, UsageError
from robo_orl.base.locks import BENCH_LOCK, folder_lock
from robo_orl.base.machine import cores
from robo_orl.config import SuiteConfig
from robo_orl.results.record import Manifest, PlannedCell, Record
from robo_orl.results.store import CELLS, RECORD, folder_cell, read_costs, read_manifest, read_record, write_manifest
from robo_orl.results.verification.personal import without_paths
from robo_orl.results.verify import faults
from robo_orl.sweep.cells import Cell, check_policies, expand, load_suite
from robo_orl.sweep.collect import (
    Ledger,
    curves_of,
    describe_data,
    store_cell,
    store_cost,
    suite_ref,
    update_provenance,
)
from robo_orl.sweep.cost_cells import CostCell, cost_cells, why_not_here
from robo_orl.sweep.jobs import COSTS, DATA, EDIT, TRAIN, Job, cost_job, jobs_of_cell, unique
from robo_orl.sweep.live_view import Failure, LiveView, TableRow
from robo_orl.sweep.runners.local import LocalRunner
from robo_orl.sweep.schedule import BLOCKED, FAILED, JobProgress, Runner, Schedule


@dataclass(frozen=True)
class BenchSummary:
    """The state of a suite's folder after a bench.

    computed: cells finished by this call. left_out: cost cells that this machine cannot measure, with the reasons.
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

    def to_json(self) -> dict[str, Any]:
        """The summary as `robo-orl bench --json` prints it."""
        return asdict(self)


def bench(
    suite: str,
    out: Path,
    workers: int | None = None,
    progress: bool = True,
    blocks: int | None = None,
    minutes: float | None = None,
) -> BenchSummary:
    """Run the missing cells of a suite, given by name or path, into the folder `out`.

    workers: cores to use, default all. blocks: only the first so many of the suite's groups. minutes: start no job that
    would end later, judged by the slowest of its kind so far. A second call computes nothing; one after a kill
    continues there. A failed cell does not raise: it is part of the summary, and the others continue.

    Raises:
        UsageError: an unknown name in the suite, fewer groups than blocks, or another bench at work in the folder.
        RunError: cells failed and not one of the suite is done.
    """
    config = load_suite(suite)
    if blocks is not None:
        config = _first(config, blocks)
    cells = expand(config)
    out = Path(out).resolve()
    with folder_lock(out, "running a bench", BENCH_LOCK) as lock:
        runner = LocalRunner(out / "logs", lock)
        return Bench(config, cells, out).run(runner, workers or cores(), progress, minutes)


def _first(suite: SuiteConfig, blocks: int) -> SuiteConfig:
    if blocks > len(suite.groups):
        raise UsageError(f"suite {suite.name} has {len(suite.groups)} groups: --blocks {blocks} is more.")
    return suite.model_copy(update={"groups": suite.groups[:blocks]})


def _check_record(folder: Path) -> None:
    """UsageError where a record contradicts its rows or itself: it counts for no cell."""
    if found := faults(folder_cell(folder)):
        raise UsageError(
            f"{folder} is not what its rows and configuration say: {found[0].removesuffix('.')}; delete this folder, "
            "and bench computes the cell anew."
        )


class Bench:
    """One call of `bench` on a folder that it has locked."""

    def __init__(self, suite: SuiteConfig, cells: list[Cell], out: Path):
        self.suite, self.cells, self.out = suite, cells, out
        self.began = time.monotonic()
        self.records: dict[str, Record] = {}  # key of a cell -> its record, read once
        self._read_records(cells)
        for cell in cells:
            if cell.key in self.records:
                self.records[cell.key] = update_provenance(suite, cell, self.records[cell.key], out)
        self.todo = [cell for cell in cells if cell.key not in self.records]
        check_policies(suite, self.todo)
        self.jobs = {cell.key: jobs_of_cell(cell, out, suite.value_error, suite.curve) for cell in self.todo}
        self.cost_cells = cost_cells(suite)
        self.costs, self.left_out = self._costs_to_do()
        self.ledger = Ledger(out, self._cell_jobs())
        before = read_manifest(out)
        self.spent_before = before.wall_s if before and before.suite.name == suite.name else 0.0

    def run(self, runner: Runner, workers: int, progress: bool, minutes: float | None = None) -> BenchSummary:
        """Run everything that is missing."""
        self._write_manifest({})
        for cell in self.todo:  # a kill may have come between a cell's last job and its record
            self._store_if_complete(cell)
        needed = self.ledger.needed(self._cell_jobs()) + list(self.costs)
        failed: dict[str, Failure] = {}
        try:
            with LiveView(self._rows(), workers, show=progress and bool(needed)) as view:
                states = Schedule(needed, runner, workers, self._finished, view.update, minutes=minutes).run()
                failed = self._failures(states)
                view.print_failures(list(failed.values()))
        finally:  # interrupted, it still records the done cells
            self._read_records(self.todo)
            self._write_manifest(failed)
        summary = self._summary(failed)
        if failed and not summary.done + summary.cost_done:
            first = summary.failed[0]
            raise RunError(f"No cell could be computed; {first.cell} failed at {first.step}: {first.reason}")
        return summary

    def _costs_to_do(self) -> tuple[dict[Job, CostCell], list[str]]:
        """The cost cells without a record, by their jobs, and those that this machine leaves out, with the reasons."""
        records = read_costs(self.out)
        done, keys = {record.key for record in records}, {cell.key for cell in self.cost_cells}
        ours = [record for record in records if record.key in keys]
        jobs, left_out = {}, []
        for cell in self.cost_cells:
            if cell.key in done:
                continue
            if reason := why_not_here(cell, ours):
                left_out.append(f"{cell.key}: {reason}")
            else:
                jobs[cost_job(cell, self.out)] = cell
        return jobs, left_out

    def _cell_jobs(self) -> list[Job]:
        return unique(job for cell in self.todo if cell.key not in self.records for job in self.jobs[cell.key])

    def _read_records(self, cells: list[Cell]) -> None:
        """Read the records of these cells that are on disk and not in memory: a signal may come between the two."""
        for cell in cells:
            folder = self.out / CELLS / cell.name
            if cell.key not in self.records and (folder / RECORD).exists():
                record = read_record(folder)
                if record.cell == cell.key:
                    _check_record(folder)
                    self.records[cell.key] = record

    def _finished(self, job: Job, result: dict[str, Any]) -> None:
        """Store a job's result, and write the records that it completes."""
        if job.kind == COSTS:
            store_cost(self.suite, self.costs[job], result, self.out)
            return
        if job.kind in (DATA, EDIT):
            result = result | {"file": describe_data(job.output)}
        if job.kind == TRAIN:
            result = result | {"curves": curves_of(job.output)}
        self.ledger.add(job, result)
        for cell in self.todo:
            if any(own.key == job.key for own in self.jobs[cell.key]):
                self._store_if_complete(cell)

    def _store_if_complete(self, cell: Cell) -> None:
        jobs = self.jobs[cell.key]
        if self.ledger.complete(jobs):
            results = {job.kind: self.ledger.results[job.key] for job in jobs}
            self.records[cell.key] = store_cell(self.suite, cell, jobs, results, self.out)

    def _rows(self) -> list[TableRow]:
        cells = [
            TableRow(
                title=(cell.task.name, cell.regime, cell.policy.name, cell.size, str(cell.seed)),
                jobs=tuple(job.key for job in self.jobs.get(cell.key, ())),
                stored=self._score(cell),
            )
            for cell in self.cells
        ]
        costs = [
            TableRow((cell.task.name, "", cell.title, cell.size, ""), (job.key,)) for job, cell in self.costs.items()
        ]
        return cells + costs

    def _score(self, cell: Cell) -> str | None:
        if cell.key not in self.records:
            return None
        score = self.records[cell.key].evaluation.success_once
        return f"{score.k} of {score.n} episodes"

    def _failures(self, states: dict[str, JobProgress]) -> dict[str, Failure]:
        """The failures by cell key, and by job key for cost measurements: the first step of a cell that failed."""
        broken = {key: state for key, state in states.items() if state.state in (FAILED, BLOCKED)}
        failed = {}
        for cell in self.todo:
            first = next((broken[job.key] for job in self.jobs[cell.key] if job.key in broken), None)
            if first is not None:
                failed[cell.key] = self._failure(cell.name, first)
        for key, state in broken.items():
            if state.job.kind == COSTS:
                failed[key] = self._failure(key, state)
        return failed

    def _failure(self, name: str, state: JobProgress) -> Failure:
        log = self.out / "logs" / f"{state.blocked_by or state.job.key}.log"
        return Failure(cell=name, step=state.job.kind, reason=state.reason, log=str(log))

    def _write_manifest(self, failed: dict[str, Failure]) -> None:
        config = self.suite.model_dump(mode="json")
        manifest = Manifest(
            suite=suite_ref(self.suite),
            description=self.suite.description,
            config=without_paths(config, self.out, Path.cwd()),
            cells=[self._planned(cell, failed.get(cell.key)) for cell in self.cells],
            costs=[cell.key for cell in self.cost_cells],
            wall_s=self.spent_before + time.monotonic() - self.began,
        )
        write_manifest(self.out, manifest)

    def _planned(self, cell: Cell, failure: Failure | None) -> PlannedCell:
        return PlannedCell(
            cell=cell.key,
            task=cell.task.name,
            regime=cell.regime,
            policy=cell.policy.name,
            size=cell.size,
            seed=cell.seed,
            state="failed" if failure else "done" if cell.key in self.records else "missing",
            reason=without_paths(failure.reason, self.out, Path.cwd()) if failure else "",
        )

    def _summary(self, failed: dict[str, Failure]) -> BenchSummary:
        done = sum(cell.key in self.records for cell in self.cells)
        costs = {record.key for record in read_costs(self.out)}
        return BenchSummary(
            suite=self.suite.name,
            version=self.suite.version,
            folder=str(self.out),
            cells=len(self.cells),
            done=done,
            computed=done - (len(self.cells) - len(self.todo)),
            cost_cells=len(self.cost_cells),
            cost_done=sum(cell.key in costs for cell in self.cost_cells),
            left_out=self.left_out,
            failed=list(failed.values()),
            wall_s=time.monotonic() - self.began,
        )
