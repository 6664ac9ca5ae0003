"""A crew of processes that work through a list of items: one thread each, replaced when they die, gone when we are.

Processes are spawned (a fork would copy a simulator half set up). A worker that loses its parent, by kill -9 too, reads
the end of its pipe and leaves.
"""

from __future__ import annotations

import os
import signal
import traceback
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from robo_orl.base.errors import RunError, UsageError
from robo_orl.base.machine import cores

ATTEMPTS = 3  # per item, before a dying worker is taken for the item's fault
ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")

Work = Callable[[Any], Any]


@dataclass
class Worker:
    """One process, the pipe to it, and the item it is at."""

    process: BaseProcess
    pipe: Connection
    item: Any = None


def work_through(items: list, prepare: Callable[[], Work], workers: int | None = None) -> Iterator[tuple[Any, Any]]:
    """Yield (item, result) as items are finished, in any order.

    items: picklable and different from each other. prepare: picklable, called once in each process, returns the work.
    workers: processes, None = one a core. Raises UsageError and RunError of the work as they are, RunError for any
    other error of the work and for an item at which workers die three times.
    """
    waiting, deaths = deque(items), Counter()
    crew = [_hire(prepare) for _ in range(min(workers or cores(), len(items)))]
    try:
        while waiting or any(worker.item is not None for worker in crew):
            for worker in crew:
                if worker.item is None and waiting:
                    worker.item = waiting.popleft()
                    with suppress(BrokenPipeError):  # it died while idle: its end is read below
                        worker.pipe.send(worker.item)
            busy = {worker.pipe: worker for worker in crew if worker.item is not None}
            for pipe in wait(list(busy)):
                worker = busy[pipe]
                try:
                    item, worker_result = worker.item, pipe.recv()
                except (EOFError, ConnectionResetError):
                    waiting.appendleft(_bury(worker, deaths))
                    crew[crew.index(worker)] = _hire(prepare)
                else:
                    worker.item = None
                    yield item, _opened(*worker_result)
    finally:
        for worker in crew:
            _dismiss(worker)


def _hire(prepare: Callable[[], Work]) -> Worker:
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, prepare), daemon=True)
    with _inherited_settings():
        process.start()
    theirs.close()
    return Worker(process, ours)


@contextmanager
def _inherited_settings() -> Iterator[None]:
    """What a child takes over at birth: one thread for BLAS, read at numpy's import, and Ctrl-C left to the parent."""
    before = {name: os.environ.get(name) for name in ONE_THREAD}
    os.environ.update(dict.fromkeys(ONE_THREAD, "1"))
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def _serve(pipe: Connection, prepare: Callable[[], Work]) -> None:
    """A worker's life: answer items until the pipe ends."""
    work: Work | None = None
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):
        while True:
            item = pipe.recv()
            try:
                work = work or prepare()
                answer = ("result", work(item))
            except (UsageError, RunError) as error:
                answer = ("fault", error)
            except Exception:
                answer = ("failure", traceback.format_exc())
            pipe.send(answer)


def _opened(kind: str, value: Any) -> Any:
    """The result, or the error that the worker met."""
    if kind == "fault":
        raise value
    if kind == "failure":
        raise RunError(f"A worker failed: {value.strip().splitlines()[-1]}") from RuntimeError(value)
    return value


def _bury(worker: Worker, deaths: Counter) -> Any:
    """Take the item back from a dead worker; RunError when it was the death of too many."""
    worker.process.join()
    worker.pipe.close()
    deaths[worker.item] += 1
    if deaths[worker.item] == ATTEMPTS:
        raise RunError(
            f"Worker processes died {ATTEMPTS} times at the same item, last with exit code {worker.process.exitcode} "
            "(-9 often means that memory ran out; try fewer --workers)."
        )
    return worker.item


def _dismiss(worker: Worker) -> None:
    worker.pipe.close()
    worker.process.terminate()
    worker.process.join()
