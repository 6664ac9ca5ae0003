"""The schedule of jobs: the order in which they start, their cores, and the jobs that a failure blocks."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol

from robo_orl.sweep.jobs import EVALUATE, VALUE, Job, JobResult

# Jobs that complete a cell come first, so that results come early; the rest in the order of the suite.
PRIORITY = {EVALUATE: 0, VALUE: 1}

WAITING, RUNNING, DONE, FAILED, BLOCKED = "waiting", "running", "done", "failed", "blocked"


class Runner(Protocol):
    """A place where jobs run: this machine (local.py), or anything else that can start, watch and stop a command."""

    def start(self, job: Job, cores: int) -> Any: ...

    def result(self, handle: Any) -> JobResult | None: ...

    def stop(self, handles: list[Any]) -> None: ...


@dataclass
class JobProgress:
    """The state of a job. fraction: 0 to 1 while it runs, as far as it is known. blocked_by: key of a failed job."""

    job: Job
    state: str = WAITING
    cores: int = 0
    began: float = 0.0
    seconds: float = 0.0
    fraction: float = 0.0
    note: str = ""
    result: dict[str, Any] | None = None
    reason: str = ""
    blocked_by: str = ""
    handle: Any = field(default=None, repr=False)


class Schedule:
    """Runs jobs on `cores` cores, each when those it needs are done; an exclusive one has all cores.

    finished: called once with every job that succeeded, before the jobs that need it start; what it raises fails the
    job. watch: called between polls with all the states, to show them. minutes: start no job that would end later,
    judged by the slowest of its kind so far; such jobs stay waiting.
    """

    def __init__(
        self,
        jobs: Iterable[Job],
        runner: Runner,
        cores: int,
        finished: Callable[[Job, dict[str, Any]], None],
        watch: Callable[[dict[str, JobProgress]], None],
        poll_s: float = 0.2,
        minutes: float | None = None,
    ):
        self.until = None if minutes is None else time.monotonic() + 60 * minutes
        self.slowest: dict[str, float] = {}  # kind of job -> seconds
        self.states = {job.key: JobProgress(job) for job in jobs}
        self.runner, self.cores, self.finished, self.watch, self.poll_s = runner, cores, finished, watch, poll_s

    def run(self) -> dict[str, JobProgress]:
        """Run everything that can run; returns the states of the jobs. Interrupted, it stops the running ones."""
        try:
            while self._start() or self._running():
                self.watch(self.states)
                time.sleep(self.poll_s)
                for progress in self._running():
                    self._collect(progress)
        finally:
            # A job that was being started at the interruption has no handle; it ends with this process.
            self.runner.stop([progress.handle for progress in self._running() if progress.handle is not None])
        self.watch(self.states)
        return self.states

    def _running(self) -> list[JobProgress]:
        return [progress for progress in self.states.values() if progress.state == RUNNING]

    def _start(self) -> bool:
        """Fill the free cores; True if anything was started."""
        free = self.cores - sum(progress.cores for progress in self._running())
        ready = [progress for progress in self._ready() if self._in_time(progress.job)]
        if any(not progress.job.exclusive for progress in ready):
            ready = [progress for progress in ready if not progress.job.exclusive]  # they come last, one by one
        started = False
        while ready and free > 0:
            progress = ready.pop(0)
            if progress.job.exclusive and free < self.cores:
                break
            # One job a core is the best use of them; cores that no other job needs go to those that can use more.
            progress.cores = max(1, free // (len(ready) + 1)) if progress.job.elastic else 1
            if progress.job.exclusive:
                progress.cores = self.cores
            free -= progress.cores
            progress.began, progress.state = time.monotonic(), RUNNING
            progress.handle = self.runner.start(progress.job, progress.cores)
            started = True
        return started

    def _in_time(self, job: Job) -> bool:
        return self.until is None or time.monotonic() + self.slowest.get(job.kind, 0.0) <= self.until

    def _ready(self) -> list[JobProgress]:
        """The jobs that could start now, the next one first."""
        waiting = [progress for progress in self.states.values() if progress.state == WAITING]
        ready = []
        for progress in waiting:
            needs = [self.states[key] for key in progress.job.needs]
            failed = next((need for need in needs if need.state in (FAILED, BLOCKED)), None)
            if failed:
                progress.state, progress.reason = BLOCKED, failed.reason
                progress.blocked_by = failed.blocked_by or failed.job.key
            elif all(need.state == DONE for need in needs):
                ready.append(progress)
        return sorted(ready, key=lambda progress: PRIORITY.get(progress.job.kind, 2))

    def _collect(self, progress: JobProgress) -> None:
        outcome = self.runner.result(progress.handle)
        progress.seconds = time.monotonic() - progress.began
        if outcome is None:
            return
        progress.cores = 0
        self.slowest[progress.job.kind] = max(progress.seconds, self.slowest.get(progress.job.kind, 0.0))
        if outcome.result is None:
            progress.state, progress.reason = FAILED, outcome.reason
            return
        try:
            self.finished(progress.job, outcome.result)
        except Exception as error:  # one cell's unreadable result must not take the others with it
            progress.state, progress.reason = FAILED, f"{error}" or type(error).__name__
            return
        progress.state, progress.result, progress.fraction = DONE, outcome.result, 1.0
