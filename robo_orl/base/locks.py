"""Locks among processes: one conversion of a cached file at a time, one writer of a folder at a time."""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from robo_orl.base.errors import UsageError
from robo_orl.base.os_errors import DENIED, describe_os_errors

FOLDER_LOCK = ".lock"
BENCH_LOCK = "bench.lock"
UNSUPPORTED = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)


@contextmanager
def file_lock(path: Path) -> Iterator[None]:
    """Wait for the lock beside `path`, a file or folder that need not exist, and hold it.

    A user who may not write there holds no lock: files appear complete or not at all, so reading needs none.
    """
    with describe_os_errors(path):
        descriptor = _open_lock(path.with_name(f".{path.name}.lock"))
    try:
        if descriptor is not None:
            _lock(descriptor, wait=True)
        yield
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _open_lock(lock: Path) -> int | None:
    """The lock file's descriptor; read-only where another user made it, None where nothing may be written."""
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        return os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        if error.errno not in DENIED:
            raise
    try:
        return os.open(lock, os.O_RDONLY)
    except OSError:
        return None


def _lock(descriptor: int, wait: bool) -> bool:
    """True if the exclusive lock is held now; a file system without locks counts as held."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise
    return True


@contextmanager
def folder_lock(folder: Path, activity: str, name: str = FOLDER_LOCK, patience_s: float = 5.0) -> Iterator[int]:
    """Hold the lock of a folder that one process at a time may write; yields its descriptor, for child processes.

    activity: the work that another holder is doing, as in "Another process is training in runs/a". The lock lives as
    long as any process holds the descriptor: after a kill -9 it frees itself once the last child is gone, which the
    short patience waits for. Raises UsageError where another process keeps it.
    """
    with describe_os_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        descriptor, writable = _open_folder_lock(folder / name)
    try:
        _wait(descriptor, folder, activity, patience_s)
        if writable:
            with describe_os_errors(folder / name):
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        yield descriptor
    finally:
        os.close(descriptor)


def _open_folder_lock(lock: Path) -> tuple[int, bool]:
    """The lock file's descriptor, and whether it can be written: one of another user can be held all the same."""
    try:
        return os.open(lock, os.O_RDWR | os.O_CREAT, 0o666), True
    except PermissionError:
        if not lock.exists():
            raise
    return os.open(lock, os.O_RDONLY), False


def _wait(descriptor: int, folder: Path, activity: str, patience_s: float) -> None:
    until = time.monotonic() + patience_s
    while not _lock(descriptor, wait=False):
        if time.monotonic() > until:
            holder = os.pread(descriptor, 20, 0).decode() or "unknown"
            raise UsageError(
                f"Another process is {activity} in {folder} (process {holder}); wait for it, or give another --out."
            )
        time.sleep(0.1)


@contextmanager
def shard_folder(folder: Path, request: str, pattern: str, activity: str) -> Iterator[None]:
    """Hold a folder of finished shards for one request; the shards of another request (`pattern`) are deleted.

    Raises UsageError where another process does its `activity` (generating, rendering) there.
    """
    with folder_lock(folder, activity, patience_s=0.0), describe_os_errors(folder):
        _keep_only(folder, request, pattern)
        yield


def _keep_only(folder: Path, request: str, pattern: str) -> None:
    stored = folder / "request"
    if not stored.exists() or stored.read_text(encoding="utf-8") != request:
        for path in folder.glob(pattern):
            path.unlink()
        stored.write_text(request, encoding="utf-8")
