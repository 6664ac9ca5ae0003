"""Interruption of a training: Ctrl-C and SIGTERM wait for the end of the step, so that its result can be saved."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from robo_orl.base.errors import Interrupted

SIGNALS = (signal.SIGINT, signal.SIGTERM)
IMMEDIATE_AFTER_S = 1.0  # a launcher forwards a signal that the terminal has sent already: closer ones are one


class Interruption:
    """True if a signal has requested the end of the training."""

    def __init__(self) -> None:
        self.requested = False
        self._first = 0.0

    def handle(self, *_: object) -> None:
        """The handler of a signal; a second one does not wait and raises KeyboardInterrupt."""
        if self.requested and time.monotonic() - self._first > IMMEDIATE_AFTER_S:
            raise KeyboardInterrupt
        if not self.requested:
            self.requested, self._first = True, time.monotonic()


@contextmanager
def deferred_interruption(single_process: bool = True) -> Iterator[Interruption]:
    """Within the block, signals that would raise KeyboardInterrupt are recorded in the Interruption instead.

    Several processes save together and would have to agree on a step: there, as outside the main thread, a signal
    raises KeyboardInterrupt at once.
    """
    interruption = Interruption()
    possible = single_process and threading.current_thread() is threading.main_thread()
    deferred = [number for number in SIGNALS if possible and signal.getsignal(number) is signal.default_int_handler]
    for number in deferred:
        signal.signal(number, interruption.handle)
    try:
        yield interruption
    finally:
        for number in deferred:
            signal.signal(number, signal.default_int_handler)


@contextmanager
def describe_interruption(checkpoints: Callable[[], list[Path]]) -> Iterator[None]:
    """Turn KeyboardInterrupt into an Interrupted that names the checkpoint from which the run continues."""
    try:
        yield
    except KeyboardInterrupt:
        stored = checkpoints()
        where = f"from {stored[-1].name}" if stored else "from the start, since there is no checkpoint yet"
        raise Interrupted(f"Interrupted; the same command goes on {where}.") from None
