"""One bench at a time per results folder."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from robo_orl.errors import UsageError

LOCK = "bench.lock"


@contextmanager
def locked(out: Path, patience_s: float = 5.0) -> Iterator[int]:
    """Hold the folder's lock; yields its descriptor, which the steps inherit.

    The lock lives as long as any process holds the descriptor: after a kill -9 it frees itself once the last step that
    was running is gone, which the short patience waits for. Raises UsageError where another bench goes on.
    """
    out.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(out / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        _wait_for(descriptor, out, patience_s)
        os.ftruncate(descriptor, 0)
        os.write(descriptor, str(os.getpid()).encode())
        yield descriptor
    finally:
        os.close(descriptor)


def _wait_for(descriptor: int, out: Path, patience_s: float) -> None:
    until = time.monotonic() + patience_s
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() < until:
                time.sleep(0.1)
                continue
            holder = os.pread(descriptor, 20, 0).decode() or "unknown"
            raise UsageError(
                f"Another bench is working in {out} (process {holder}); wait for it, or give another --out."
            ) from None
