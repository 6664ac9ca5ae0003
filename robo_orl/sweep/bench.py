"""Run a suite: every cell without a record, as jobs on a runner, into a results folder that can be continued."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from robo_orl.base.errors import RunError, UsageError
from robo_orl.base.locks import BENCH_LOCK, folder_lock
from robo_orl.base.text import notice
from robo_orl.config import SuiteConfig
from robo_orl.results.record import Manifest
from robo_orl.results.store import (
    CELLS,
    RECORD,
    folder_cell,
    read_folder_costs,
    read_manifest,
    read_record,
    write_manifest,
)
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
from robo_orl.sweep.failures import REMEDY, Failures
from robo_orl.sweep.job import COSTS, EVALUATE, MAKES_DATA, ONLINE, TRAIN, Job, write_inputs
from robo_orl.sweep.jobs import cost_job, jobs_of_cell, unique
from robo_orl.sweep.live_view import Failure, LiveView
from robo_orl.sweep.official import place, with_downloads
from robo_orl.sweep.online_cells import rows_of_run
from robo_orl.sweep.requirements import Requirements
from robo_orl.sweep.resources import largest
from robo_orl.sweep.runners.choice import Machines, open_runner
from robo_orl.sweep.runners.job_files import JobFiles
from robo_orl.sweep.schedule import BLOCKED, FAILED, JobProgress, Runner, Schedule
from robo_orl.sweep.set_aside import contradiction, set_aside
from robo_orl.sweep.summary import BenchSummary, failures_of, manifest, view_rows
from robo_orl.sweep.verified import VerifiedRecord, VerifiedRecords, stamp


def bench(
    suite: str,
    out: Path,
    workers: int | None = None,
    progress: bool = True,
    blocks: int | None = None,
    minutes: float | None = None,
    machines: Machines | None = None,
    retry_failed: bool = False,
    official: Path | None = None,
) -> BenchSummary:
    """Run the missing cells of a suite, given by name or path, into the folder `out`.

    workers: cores to use, default all. blocks: only the first so many of the suite's groups. minutes: start no job that
    would end later, judged by the slowest of its kind so far. machines: where the jobs run, default this machine's
    cores and GPUs (`workers` of them). retry_failed: also try what failed twice in the same way. official: the folder
    of downloads for suites that take official files. A second call computes nothing;
    one after a kill continues there. A failed cell does not raise: it is part of the summary, and the others continue.

    Raises:
        UsageError: an unknown name in the suite, fewer groups than blocks, or another bench at work in the folder.
        RunError: cells failed and not one of the suite is done, or the cluster cannot be reached.
    """
    config = suite_to_run(suite, blocks, official)
    cells = expand(config)
    out = Path(out).resolve()
    machines = machines or Machines(workers=workers)
    with folder_lock(out, "running a bench", BENCH_LOCK) as lock, open_runner(machines, out, lock) as runner:
        return Bench(config, cells, out, retry_failed, official=official).run(
            runner, progress, minutes, machines.per_gpu
        )


def suite_to_run(name: str, blocks: int | None = None, official: Path | None = None) -> SuiteConfig:
    """A suite by name or path, of which only the first so many groups, with the official files that are downloaded;
    UsageError where it has fewer groups."""
    suite = with_downloads(load_suite(name), official)
    return suite if blocks is None else _first(suite, blocks)


def _first(suite: SuiteConfig, blocks: int) -> SuiteConfig:
    if blocks > len(suite.groups):
        raise UsageError(f"suite {suite.name} has {len(suite.groups)} groups: --blocks {blocks} is more.")
    return suite.model_copy(update={"groups": suite.groups[:blocks]})


def _cells_of_jobs(jobs: dict[str, list[Job]]) -> dict[str, list[str]]:
    """Key of a job -> keys of the cells that it is part of."""
    cells: dict[str, list[str]] = defaultdict(list)
    for key, own in jobs.items():
        for job in own:
            cells[job.key].append(key)
    return cells


class Bench:
    """One call of `bench` on a folder that it has locked."""

    def __init__(
        self,
        suite: SuiteConfig,
        cells: list[Cell],
        out: Path,
        retry_failed: bool = False,
        reads_only: bool = False,
        official: Path | None = None,
    ):
        """reads_only: for a forecast, which changes nothing in the folder. official: the folder of downloads."""
        self.suite, self.cells, self.out, self.official = suite, cells, out, official
        self.jobs: dict[str, list[Job]] = {}  # key of a missing cell -> its jobs
        self.began = time.monotonic()
        self.records: dict[str, VerifiedRecord] = {}  # key of a cell -> what is known of its record
        self.verified = VerifiedRecords(out)
        self.reads_only, self.schedule_runs = reads_only, False
        self.contradicting: list[str] = []  # keys of cells whose record counts for none
        self.refused: dict[str, str] = {}  # of these, made by this call: key -> the sentence
        self.changed = False  # a record was verified or written
        self._read_records(cells)
        if not reads_only:
            self._update_provenance()
        self.todo = {cell.key: cell for cell in cells if cell.key not in self.records}
        check_policies(suite, list(self.todo.values()))
        asked = (suite.value_error, suite.curve, suite.ranking, suite.value_states)
        self.jobs = {key: jobs_of_cell(cell, out, *asked) for key, cell in self.todo.items()}
        self.cells_of = _cells_of_jobs(self.jobs)
        self.cost_cells = cost_cells(suite)
        self.costs, self.left_out = self._costs_to_do()
        self.ledger = Ledger(out, self._cell_jobs())
        self._forget_evaluations(self.contradicting)
        self.failures = Failures(out, forget=retry_failed and not reads_only)
        self.before = read_manifest(out)
        same = self.before is not None and self.before.suite.name == suite.name
        self.spent_before = self.before.wall_s if same else 0.0

    def run(
        self, runner: Runner, progress: bool = True, minutes: float | None = None, per_gpu: int = 1
    ) -> BenchSummary:
        """Run everything that is missing. per_gpu: the most jobs that share a GPU."""
        self._write_manifest({})
        for cell in self.todo.values():  # a kill may have come between a cell's last job and its record
            self._store_if_complete(cell)
        self._collect_ended()
        self.schedule_runs = True  # from here on an evaluation that contradicts itself waits for the next call
        needed, given_up = self.jobs_to_try()
        self.changed |= bool(needed)
        write_inputs(needed)
        place(self.todo.values(), self.official, self.out)
        failed: dict[str, Failure] = {}
        try:
            nodes = runner.nodes()
            with LiveView(
                view_rows(self.cells, self.jobs, self.costs, self.records),
                sum(n.cores for n in nodes),
                show=progress and bool(needed),
            ) as view:
                states = Schedule(
                    needed,
                    runner,
                    self._finished,
                    view.update,
                    minutes=minutes,
                    resources=Requirements(largest(nodes), per_gpu),
                    again=self.failures.add,
                ).run()
                failed = failures_of(self.todo, self.jobs, states | given_up, self.refused, self.out / "logs")
                view.print_failures(list(failed.values()))
        finally:  # interrupted, it still records the done cells
            self._read_records(self.todo.values())
            written = self._write_manifest(failed)
        self.changed |= self.before is None or written != self.before.model_copy(update={"wall_s": written.wall_s})
        summary = self._summary(failed)
        if failed and not summary.done + summary.cost_done:
            first = summary.failed[0]
            raise RunError(f"No cell could be computed; {first.cell} failed at {first.step}: {first.reason}")
        return summary

    def missing_jobs(self) -> list[Job]:
        """The jobs that have to run so that every cell has its record, those of the cost cells last."""
        return self.ledger.needed(self._cell_jobs()) + list(self.costs)

    def jobs_to_try(self) -> tuple[list[Job], dict[str, JobProgress]]:
        """The missing jobs, without those that failed before in the same way twice and without those that need them;
        and these, by their keys."""
        jobs = self.missing_jobs()
        given_up: dict[str, JobProgress] = {}
        for job in jobs:  # in an order in which a job follows those that it needs
            need = next((given_up[key] for key in job.needs if key in given_up), None)
            if need is not None:
                given_up[job.key] = JobProgress(
                    job, BLOCKED, reason=need.reason, blocked_by=need.blocked_by or need.job.key
                )
            elif reason := self.failures.given_up(job):
                given_up[job.key] = JobProgress(job, FAILED, reason=f"{reason.rstrip('.')} ({REMEDY}).")
        return [job for job in jobs if job.key not in given_up], given_up

    def _collect_ended(self) -> None:
        """Take the results of jobs that ended on a cluster while no bench was there to take them."""
        ended = {path.stem for path in (self.out / "logs").glob("*.end")}
        for job in [job for job in self.missing_jobs() if job.key in ended]:
            result = JobFiles(self.out / "logs", job.key).ended()
            there = job.kind == COSTS or job.output.exists()
            if result is not None and result.result is not None and there:
                self._finished(job, result.result)

    def _costs_to_do(self) -> tuple[dict[Job, CostCell], list[str]]:
        """The cost cells without a record, by their jobs, and those that this machine leaves out, with the reasons."""
        records = read_folder_costs(self.out)
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
        return unique(job for key in self.todo if key not in self.records for job in self.jobs[key])

    def _read_records(self, cells: Iterable[Cell]) -> None:
        """Take the records of these cells that are on disk and not in memory: a signal may come between the two.

        Those that were verified before and have not changed since are not read.
        """
        for cell in cells:
            folder = self.out / CELLS / cell.name
            if cell.key in self.records or not (folder / RECORD).exists():
                continue
            record = self.verified.get(folder)
            if record is None:
                record = self._verify(folder, cell)
            if record is not None and record.cell == cell.key:
                self.records[cell.key] = record
        self.verified.save()

    def _verify(self, folder: Path, cell: Cell) -> VerifiedRecord | None:
        """Read and verify a record; None for one of another cell, and for one that contradicts its rows or itself."""
        files = stamp(folder)
        record = read_record(folder)
        if record.cell != cell.key:
            return None
        if found := faults(folder_cell(folder)):
            self._refuse(folder, cell, found[0])
            return None
        self.changed = True
        return self.verified.add(folder, record, files)

    def _refuse(self, folder: Path, cell: Cell, fault: str) -> None:
        """Name a record that counts for no cell; its evaluation is made anew."""
        sentence = contradiction(folder, fault)
        self.contradicting.append(cell.key)
        if self.reads_only:
            notice(f"{sentence}; it counts as missing, and bench plays its episodes anew.")
            return
        self.changed, place = True, set_aside(self.out, cell.name)
        if self.schedule_runs:  # made by this call: its training or its data are not what the suite asks for
            run = self.out / "runs" / cell.run_name
            self.refused[cell.key] = (
                f"{sentence}. It lies in {place}; delete {run} and {self.out / 'steps' / f'train-{run.name}.json'}, "
                "and bench trains it anew"
            )
            return
        self._forget_evaluations([cell.key])
        notice(f"{sentence}; it lies in {place} now, and its episodes are played anew.")

    def _forget_evaluations(self, keys: Iterable[str]) -> None:
        """Take no stored evaluation of these cells for done."""
        for job in [job for key in keys for job in self.jobs.get(key, ()) if job.kind in (EVALUATE, ONLINE)]:
            self.ledger.forget(job)

    def _update_provenance(self) -> None:
        """Store the suite and the tuning of today in every record that has others."""
        suite = suite_ref(self.suite).model_dump(mode="json")
        for cell in self.cells:
            record = self.records.get(cell.key)
            tuning = None if cell.tuning is None else cell.tuning.model_dump(mode="json")
            if record is not None and (record.suite, record.tuning) != (suite, tuning):
                folder = self.out / CELLS / cell.name
                self.changed = True
                updated = update_provenance(self.suite, cell, read_record(folder), self.out)
                self.records[cell.key] = self.verified.add(folder, updated, stamp(folder))
        self.verified.save()
        self.verified.compact(cell.name for cell in self.cells)

    def _finished(self, job: Job, result: dict[str, Any]) -> None:
        """Store a job's result, and write the records that it completes."""
        if job.kind == COSTS:
            store_cost(self.suite, self.costs[job], result, self.out)
        else:
            if job.kind in MAKES_DATA:
                result = result | {"file": describe_data(job.output)}
            if job.kind == TRAIN:
                result = result | {"curves": curves_of(job.output)}
            if job.kind == ONLINE:
                result = result | rows_of_run(job.output)
            self.ledger.add(job, result)
            for key in self.cells_of[job.key]:
                self._store_if_complete(self.todo[key])
        self.failures.clear(job)

    def _store_if_complete(self, cell: Cell) -> None:
        jobs = self.jobs[cell.key]
        if cell.key not in self.records and self.ledger.complete(jobs):
            results = {job.kind: self.ledger.results[job.key] for job in jobs}
            store_cell(self.suite, cell, jobs, results, self.out)
            self._read_records([cell])

    def _write_manifest(self, failed: dict[str, Failure]) -> Manifest:
        seconds = self.spent_before + time.monotonic() - self.began
        made = manifest(self.suite, self.cells, self.cost_cells, self.records, failed, self.out, seconds)
        write_manifest(self.out, made)
        return made

    def _summary(self, failed: dict[str, Failure]) -> BenchSummary:
        done = sum(cell.key in self.records for cell in self.cells)
        costs = {record.key for record in read_folder_costs(self.out)}
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
            unchanged=not self.changed,
        )
