"""The pool of simulator processes, for recording and evaluation: start, supervise, retry a dead simulator, stop.

A process is a fresh interpreter (never a fork, and independent of the caller's main module), has one thread, leaves
Ctrl-C to its parent, and ends when its parent does, by kill -9 too. `Pool._retry` is the retry of a dead simulator: a
process that ends, raises or does not answer in time is replaced, and other processes repeat its items.
"""

from __future__ import annotations

import os
import pickle
import signal
import socket
import struct
import subprocess
import sys
import tempfile
from collections import Counter, deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.connection import Connection, wait
from time import perf_counter
from typing import Any

from robo_orl.base.errors import RunError
from robo_orl.base.machine import ONE_THREAD, cores
from robo_orl.rollout.process import Answer, Prepare, Ready, Refusal, Work

ATTEMPTS = 3  # per item, before a dying process is taken for the item's fault
START_PATIENCE_S = 900.0  # a start may compile the physics loop, and draw the start states of a user's own task
ITEM_PATIENCE_S = 900.0  # a whole episode, its pictures drawn by software included

Item = Hashable


class SimulatorDied(Exception):
    """A simulator process ended, hung or raised; the text says how."""


class SimulatorProcess:
    """One simulator process, seen from its parent.

    info: what it said of itself, once it is ready. held: the items that it works on, each with what the caller keeps
    beside it. outstanding: the items that its due answers are of, in order.
    """

    def __init__(self, prepare: bytes, patience_s: float):
        self.ready, self.info = False, None
        self.held: dict[Item, Any] = {}
        self.outstanding: deque[Item] = deque()
        self.done = 0
        self.heard_at = perf_counter()
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115
        ours, theirs = socket.socketpair()
        limit = struct.pack("ll", int(max(patience_s, 1)), 0)
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):  # a process may be stopped in the midst of a message
            ours.setsockopt(socket.SOL_SOCKET, option, limit)
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-c", "from robo_orl.rollout.process import main; main()", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=self._errors,
                stderr=self._errors,
                env=os.environ | ONE_THREAD | {"PYTHONPATH": os.pathsep.join(p or os.getcwd() for p in sys.path)},
                start_new_session=True,  # Ctrl-C reaches the parent only, which then stops the pool
            )
        self.connection = Connection(ours.detach())
        self._send(prepare)

    def send(self, item: Item, message: Any) -> None:
        """Send a message of an item that the process holds; its answer will come."""
        if not self.outstanding:
            self.heard_at = perf_counter()
        self.outstanding.append(item)
        self._send(pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL))

    def receive(self) -> tuple[Item, Any] | None:
        """An item and the answer to its oldest message, None where the process is ready now.

        Raises SimulatorDied where the process ended, and what it refuses as its own UsageError or RunError.
        """
        try:
            message = self.connection.recv()
        except (EOFError, OSError):
            raise SimulatorDied(self._end()) from None
        self.heard_at = perf_counter()
        match message:
            case Refusal(kind, text):
                raise kind(text)
            case Ready(info):
                self.ready, self.info = True, info
                return None
            case Answer(result):
                return self.outstanding.popleft(), result

    def stop(self) -> None:
        """End the process, at once: between messages it holds nothing worth keeping."""
        self.connection.close()
        self.process.kill()
        self.process.wait()
        self._errors.close()

    def _send(self, message: bytes) -> None:
        try:
            self.connection.send_bytes(message)
        except OSError:
            self.process.kill()  # the next receive meets the end of the pipe, and says why

    def _end(self) -> str:
        """The reason of its end: the signal, else the last line that it wrote, else its exit code."""
        try:
            code = self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            return "it closed its pipe"
        if code == -signal.SIGKILL:
            return "it was killed by SIGKILL, often because memory ran out (try fewer --workers)"
        self._errors.seek(0)
        lines = [line.strip() for line in self._errors.read().decode(errors="replace").splitlines() if line.strip()]
        last = lines[-1] if lines else ""
        if code < 0:
            return f"it was killed by {signal.Signals(-code).name}" + (f" ({last})" if last else "")
        return last or f"it ended with exit code {code}"


@dataclass
class Pool:
    """`size` simulator processes that work on items. A context manager: leaving it ends the processes.

    prepare: what each process runs. room: items that a process holds at a time. subject: an item -> the words that name
    it in an error, None -> those for a start. patience_s: seconds without an answer after which a process counts as
    hung. recycle_after: items after which a process is replaced by a fresh one (simulators leak), None = never.
    pending: items to be done. restarts: item -> times it was begun again because its process died.
    """

    prepare: Prepare
    size: int
    subject: Callable[[Item | None], str]
    room: int = 1
    patience_s: float = ITEM_PATIENCE_S
    recycle_after: int | None = None
    pending: deque[Item] = field(default_factory=deque)
    restarts: Counter[Item] = field(default_factory=Counter)

    def __enter__(self) -> Pool:
        self._deaths: Counter[Item | None] = Counter()
        self._pickled = pickle.dumps(self.prepare)
        self.processes: list[SimulatorProcess] = []
        for _ in range(self.size):
            self.processes.append(self._start())
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.processes:
            process.stop()

    @property
    def busy(self) -> bool:
        """Whether an item is pending or under way."""
        return bool(self.pending) or any(process.held for process in self.processes)

    def assign(self) -> Iterator[tuple[SimulatorProcess, Item]]:
        """Pending items, each with the least busy process that has room: the caller notes it in `held` and sends."""
        for process in list(self.processes):
            if self.pending and self._is_spent(process) and not process.held:
                self._replace(process)
        while self.pending:
            free = [p for p in self.processes if p.ready and len(p.held) < self.room and not self._is_spent(p)]
            if not free:
                return
            yield min(free, key=lambda process: len(process.held)), self.pending.popleft()

    def listen(self, wait_s: float | None = None) -> Iterator[tuple[SimulatorProcess, Item, Any]]:
        """Wait a while, or `wait_s` at most, for messages; (process, item, answer) of all that have arrived.

        Raises RunError where processes die three times at one item, and what a process refuses.
        """
        by_connection = {process.connection: process for process in self.processes}
        for connection in wait(list(by_connection), timeout=min(5.0, self.patience_s) if wait_s is None else wait_s):
            process = by_connection[connection]
            try:
                answered = process.receive()
            except SimulatorDied as death:
                self._retry(process, str(death))
                continue
            if answered is not None:
                yield process, *answered
        for process in list(self.processes):
            patience_s = self.patience_s if process.ready else max(START_PATIENCE_S, self.patience_s)
            due = process.outstanding or not process.ready
            if due and perf_counter() - process.heard_at > patience_s:
                self._retry(process, f"it did not answer for {patience_s:.0f} s")

    def finish(self, process: SimulatorProcess, item: Item) -> Any:
        """The item is done; what was kept beside it."""
        process.done += 1
        return process.held.pop(item)

    def _retry(self, process: SimulatorProcess, reason: str) -> None:
        """A fresh process for a dead one, whose items are pending again.

        The item that was worked on is held to have killed it; a process that dies without one counts as a failed start.
        """
        blamed = process.outstanding[0] if process.outstanding else None
        self._deaths[blamed] += 1
        if self._deaths[blamed] == ATTEMPTS:
            raise RunError(f"{self.subject(blamed)} crashed {ATTEMPTS} times; the last time: {reason.rstrip('.')}.")
        self.restarts.update(list(process.held))  # a mapping would count its values
        self.pending.extendleft(reversed(process.held))
        self._replace(process)

    def _replace(self, process: SimulatorProcess) -> None:
        process.stop()
        self.processes[self.processes.index(process)] = self._start()

    def _start(self) -> SimulatorProcess:
        return SimulatorProcess(self._pickled, self.patience_s)

    def _is_spent(self, process: SimulatorProcess) -> bool:
        return self.recycle_after is not None and process.done + len(process.held) >= self.recycle_after


@dataclass(frozen=True)
class Completed:
    """One item done. restarts: times it was begun again because its process died."""

    item: Any
    result: Any
    restarts: int


def work_through(
    items: Sequence[Item],
    prepare: Callable[[], Work],
    workers: int | None = None,
    name: Callable[[Any], str] = "Item {}".format,
    patience_s: float | None = None,
) -> Iterator[Completed]:
    """The items' results, as they are finished, in any order.

    items: picklable, hashable and different from each other. prepare: picklable, called once in each process, returns
    the work, a function of an item. workers: processes, None = one a core. name: an item -> its name in an error.
    patience_s: seconds for one item, default ITEM_PATIENCE_S. Raises UsageError and RunError of the work as
    they are, and RunError for an item at which processes die three times, by an exception of the work too.
    """

    def subject(item: Item | None) -> str:
        return "Starting a simulator process" if item is None else name(item)

    size = min(workers or cores(), len(items))
    with Pool(partial(_without_info, prepare), size, subject, patience_s=patience_s or ITEM_PATIENCE_S) as pool:
        pool.pending.extend(items)
        while pool.busy:
            for process, item in pool.assign():
                process.held[item] = None
                process.send(item, item)
            for process, item, result in pool.listen():
                pool.finish(process, item)
                yield Completed(item, result, pool.restarts[item])


def _without_info(prepare: Callable[[], Work]) -> tuple[Work, None]:
    return prepare(), None
