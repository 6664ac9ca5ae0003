"""Interruption of a training: Ctrl-C and SIGTERM wait for the end of a step, so that its result can be saved.

Several processes save together, so they have to agree on the step: each posts its own flag after every step, and all
read the sum one step later, when it has arrived without anybody waiting for it.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
import torch.distributed as dist

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
def deferred_interruption() -> Iterator[Interruption]:
    """Within the block, signals that would raise KeyboardInterrupt are recorded in the Interruption instead.

    Outside the main thread a signal raises KeyboardInterrupt at once.
    """
    interruption = Interruption()
    possible = threading.current_thread() is threading.main_thread()
    deferred = [number for number in SIGNALS if possible and signal.getsignal(number) is signal.default_int_handler]
    for number in deferred:
        signal.signal(number, interruption.handle)
    try:
        yield interruption
    finally:
        for number in deferred:
            signal.signal(number, signal.default_int_handler)


class AgreedInterruption:
    """An interruption that all processes of a training see after the same step, whichever of them got the signal.

    The flag of a step is summed while the next one is computed: with one process there is nothing to wait for, with
    several the end comes one step later.
    """

    def __init__(self, own: Interruption, processes: int, device: torch.device):
        self.own, self.processes, self.device = own, processes, device
        self._posted: tuple[dist.Work, torch.Tensor] | None = None

    def after_step(self) -> bool:
        """True if the training ends here; every process calls it once after each step."""
        if self.processes == 1:
            return self.own.requested
        before, flag = self._posted, torch.full((1,), float(self.own.requested), device=self.device)
        self._posted = dist.all_reduce(flag, async_op=True), flag
        if before is None:
            return False
        work, total = before
        work.wait()
        return bool(total.item() > 0)


@contextmanager
def describe_interruption(checkpoints: Callable[[], list[Path]]) -> Iterator[None]:
    """Turn KeyboardInterrupt into an Interrupted that names the checkpoint from which the run continues."""
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted(f"Interrupted; the same command goes on {where_it_goes_on(checkpoints())}.") from None


def where_it_goes_on(stored: list[Path]) -> str:
    """The place from which a run with these checkpoints continues, in words."""
    return f"from {stored[-1].name}" if stored else "from the start, since there is no checkpoint yet"
