"""The schedule of jobs: the order in which they start, their places, and the jobs that a failure blocks."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import Any, Protocol

from robo_orl.sweep.job import EVALUATE, RANK, VALUE, Job, JobResult
from robo_orl.sweep.resources import Grant, Node, Places, Resources

# Jobs that complete a cell come first, so that results come early; the rest in the order of the suite, and those that
# failed once come last.
PRIORITY = {EVALUATE: 0, VALUE: 1, RANK: 1}
OTHER, AGAIN = 2, 3

WAITING, RUNNING, DONE, FAILED, BLOCKED = "waiting", "running", "done", "failed", "blocked"


class Runner(Protocol):
    """Machines where jobs run: this one (local.py), or a cluster that can start, watch and stop a command."""

    def nodes(self) -> list[Node]:
        """What they offer now."""

    def start(self, job: Job, grant: Grant) -> Any:
        """Start a job, or collect it for `flush`; returns its handle."""

    def flush(self) -> None:
        """Hand over what was collected."""

    def result(self, handle: Any) -> JobResult | None:
        """The result of a job, None while it runs."""

    def where(self, handle: Any) -> str:
        """The place where a job runs, as far as it is known."""

    def stop(self, handles: list[Any]) -> None:
        """End jobs in order, so that they can go on later."""


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
    where: str = ""
    result: dict[str, Any] | None = None
    reason: str = ""
    blocked_by: str = ""
    handle: Any = field(default=None, repr=False)
    grant: Grant | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Clock:
    """The time of a schedule, seconds; a forecast has one of its own."""

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


def _no_resources(job: Job) -> Resources:
    return Resources(whole=job.exclusive)


class Schedule:
    """Runs jobs where there is room, each when those it needs are done; an exclusive one has a machine for itself.

    finished: called once with every job that succeeded, before the jobs that need it start; what it raises fails the
    job. watch: called between polls with all the states, to show them. minutes: start no job that would end later,
    judged by the slowest of its kind so far; such jobs stay waiting. resources: of a job. again: called with a job that
    failed and the reason; True where it is tried once more, after all others.
    """

    def __init__(
        self,
        jobs: Iterable[Job],
        runner: Runner,
        finished: Callable[[Job, dict[str, Any]], None],
        watch: Callable[[dict[str, JobProgress]], None],
        poll_s: float = 0.2,
        minutes: float | None = None,
        resources: Callable[[Job], Resources] = _no_resources,
        again: Callable[[Job, str], bool] = lambda job, reason: False,
        clock: Clock = Clock(),  # noqa: B008
    ):
        self.clock = clock
        self.until = None if minutes is None else clock.now() + 60 * minutes
        self.slowest: dict[str, float] = {}  # kind of job -> seconds
        self.states = {job.key: JobProgress(job) for job in jobs}
        self.runner, self.finished, self.watch, self.poll_s = runner, finished, watch, poll_s
        self.resources, self.again = resources, again
        self._order = {key: number for number, key in enumerate(self.states)}
        self._dependents: dict[str, list[str]] = defaultdict(list)
        self._missing = {key: len(progress.job.needs) for key, progress in self.states.items()}
        for key, progress in self.states.items():
            for need in progress.job.needs:
                self._dependents[need].append(key)
        # Jobs that could start, those of one kind and equal resources in one heap: of each only the first is looked at.
        self._ready: dict[tuple[str, Resources], list[tuple[int, int, str]]] = defaultdict(list)
        self._running: dict[str, JobProgress] = {}
        self._nodes: list[Node] = []
        self._places = Places()
        self._changed = True  # something that a waiting job could start upon
        for key, count in self._missing.items():
            if not count:
                self._make_ready(key)

    def run(self) -> dict[str, JobProgress]:
        """Run everything that can run; returns the states of the jobs. Interrupted, it stops the running ones."""
        try:
            while self._start() or self._running:
                self.watch(self.states)
                self.clock.sleep(self.poll_s)
                for progress in list(self._running.values()):
                    self._collect(progress)
        finally:
            # A job that was being started at the interruption has no handle; it ends with this process.
            self.runner.stop([running.handle for running in self._running.values() if running.handle is not None])
        self.watch(self.states)
        return self.states

    # ---------------------------------------------------------------------------------------------------- starting

    def _make_ready(self, key: str, priority: int | None = None) -> None:
        job = self.states[key].job
        entry = (PRIORITY.get(job.kind, OTHER) if priority is None else priority, self._order[key], key)
        heappush(self._ready[job.kind, self.resources(job)], entry)
        self._changed = True

    def _start(self) -> bool:
        """Fill the free places; True if anything was started."""
        nodes = self.runner.nodes()
        if nodes != self._nodes:
            self._nodes, self._changed = nodes, True
            self._places.update(nodes)
        if not self._changed:
            return False
        self._changed, started = False, False
        groups = self._startable()
        while groups:
            kind, needed = min(groups, key=lambda group: self._ready[group][0])
            entry = self._ready[kind, needed][0]
            if self._try(entry, needed):
                heappop(self._ready[kind, needed])
                started = True
            else:  # no place for any of them
                groups.remove((kind, needed))
            groups = [group for group in groups if self._ready[group]]
        self.runner.flush()
        return started

    def _startable(self) -> list[tuple[str, Resources]]:
        """The groups of jobs that could start in time; those that want a machine for themselves come last."""
        groups = [group for group, entries in self._ready.items() if entries and self._in_time(group[0])]
        shared = [group for group in groups if not group[1].whole]
        self._waiting = sum(len(self._ready[group]) for group in shared or groups)
        return shared or groups

    def _try(self, entry: tuple[int, int, str], needed: Resources) -> bool:
        """Start a job if there is a place for it; where there can never be one it fails."""
        progress = self.states[entry[2]]
        grant = self._places.grant(needed, self._waiting - 1 if progress.job.elastic else None)
        if grant is None:
            if reason := self._places.why_never(needed):
                self._fail(progress, reason)
            return bool(reason)
        self._waiting -= 1
        progress.cores, progress.grant = grant.cores, grant
        progress.began, progress.state = self.clock.now(), RUNNING
        self._running[entry[2]] = progress
        progress.handle = self.runner.start(progress.job, grant)
        return True

    def _in_time(self, kind: str) -> bool:
        return self.until is None or self.clock.now() + self.slowest.get(kind, 0.0) <= self.until

    # ---------------------------------------------------------------------------------------------------- ending

    def _collect(self, progress: JobProgress) -> None:
        outcome = self.runner.result(progress.handle)
        progress.seconds = self.clock.now() - progress.began
        if outcome is None:
            progress.where = progress.where or self.runner.where(progress.handle)
            return
        self._release(progress)
        kind = progress.job.kind
        self.slowest[kind] = max(progress.seconds, self.slowest.get(kind, 0.0))
        if outcome.result is None:
            self._failed(progress, outcome.reason)
            return
        try:
            self.finished(progress.job, outcome.result)
        except Exception as error:  # one cell's unreadable result must not take the others with it
            self._failed(progress, f"{error}" or type(error).__name__)
            return
        progress.state, progress.result, progress.fraction = DONE, outcome.result, 1.0
        for key in self._dependents[progress.job.key]:
            self._missing[key] -= 1
            if not self._missing[key] and self.states[key].state == WAITING:
                self._make_ready(key)

    def _release(self, progress: JobProgress) -> None:
        del self._running[progress.job.key]
        self._places.release(progress.grant)
        progress.cores, progress.grant, progress.handle, progress.where = 0, None, None, ""
        self._changed = True

    def _failed(self, progress: JobProgress, reason: str) -> None:
        """A job that failed waits for its next turn, or fails with everything that needs it."""
        if self.again(progress.job, reason):
            progress.state, progress.fraction, progress.note = WAITING, 0.0, ""
            self._make_ready(progress.job.key, AGAIN)
        else:
            self._fail(progress, reason)

    def _fail(self, progress: JobProgress, reason: str) -> None:
        progress.state, progress.reason = FAILED, reason
        blocked = list(self._dependents[progress.job.key])
        while blocked:
            other = self.states[blocked.pop()]
            if other.state == WAITING:
                other.state, other.reason, other.blocked_by = BLOCKED, reason, progress.job.key
                blocked += self._dependents[other.job.key]
