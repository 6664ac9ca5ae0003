"""Locks among processes of one machine; the system lets go of a lock when its process dies."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from robo_orl.data.atomic import full_disk_is_a_sentence
from robo_orl.errors import UsageError


@contextmanager
def one_at_a_time(path: Path) -> Iterator[None]:
    """Wait for the lock beside `path`, a file or folder that need not exist, and hold it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path.with_name(f".{path.name}.lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def held_for(folder: Path, request: str, pattern: str, doing: str) -> Iterator[None]:
    """Hold a folder of finished pieces for one request; those of another request (`pattern`) are thrown away.

    Raises UsageError where another process is `doing` (generating, rendering) something there.
    """
    with full_disk_is_a_sentence(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with open(folder / "lock", "w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise UsageError(f"Another process is {doing} into {folder}.") from None
            _keep_only(folder, request, pattern)
            yield


def _keep_only(folder: Path, request: str, pattern: str) -> None:
    asked = folder / "request"
    if not asked.exists() or asked.read_text() != request:
        for path in folder.glob(pattern):
            path.unlink()
        asked.write_text(request)
