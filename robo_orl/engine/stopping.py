"""How a training is stopped: Ctrl-C and SIGTERM wait for the end of the step, so that what it learned can be saved."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from robo_orl.base.errors import Interrupted

ENDS = (signal.SIGINT, signal.SIGTERM)
AT_ONCE_AFTER_S = 1.0  # a launcher hands on what the terminal has sent already: signals closer than this are one


class Stop:
    """Whether a signal has asked for the end."""

    def __init__(self) -> None:
        self.asked = False
        self._first = 0.0

    def note(self, *_: object) -> None:
        """The handler of a signal; a second one does not wait and raises KeyboardInterrupt."""
        if self.asked and time.monotonic() - self._first > AT_ONCE_AFTER_S:
            raise KeyboardInterrupt
        if not self.asked:
            self.asked, self._first = True, time.monotonic()


@contextmanager
def stop_between_steps(alone: bool = True) -> Iterator[Stop]:
    """Within the block, signals that would raise KeyboardInterrupt are noted in the Stop instead.

    alone: whether this is the only process of the training. Others save together, and would have to agree on a step:
    there, as outside the main thread, an interruption stays what it is.
    """
    stop = Stop()
    here = alone and threading.current_thread() is threading.main_thread()
    heard = [number for number in ENDS if here and signal.getsignal(number) is signal.default_int_handler]
    for number in heard:
        signal.signal(number, stop.note)
    try:
        yield stop
    finally:
        for number in heard:
            signal.signal(number, signal.default_int_handler)


@contextmanager
def interruption_is_a_sentence(checkpoints: Callable[[], list[Path]]) -> Iterator[None]:
    """Turn KeyboardInterrupt into an Interrupted that says from which of a run's checkpoints it goes on."""
    try:
        yield
    except KeyboardInterrupt:
        found = checkpoints()
        where = f"from {found[-1].name}" if found else "from the start, since there is no checkpoint yet"
        raise Interrupted(f"Interrupted; the same command goes on {where}.") from None
