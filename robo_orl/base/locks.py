"""Locks among processes: one conversion of a cached file at a time, one writer of a folder at a time."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from robo_orl.base.errors import RunError, UsageError
from robo_orl.base.os_errors import DENIED, closed_lock, describe_os_errors
from robo_orl.base.text import notice, printable

FOLDER_LOCK = ".lock"
BENCH_LOCK = "bench.lock"
READABLE = 0o444
UNSUPPORTED = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)


LONGEST_WAIT_S = 6 * 3600.0  # the features of a large frozen model are computed under a lock
STOPPED_WAIT_S = 60.0  # for a holder that was stopped by Ctrl-Z or SIGSTOP
NOTICE_S = 10.0  # a wait that takes longer is said


@contextmanager
def file_lock(path: Path, patience_s: float = LONGEST_WAIT_S) -> Iterator[int | None]:
    """Wait for the lock beside `path`, a file or folder that need not exist, and hold it; yields its descriptor.

    A user who may not write there holds no lock: files appear complete or not at all, so reading needs none.
    Raises RunError, which names the holder, after patience_s, and sooner where the holder is a stopped process;
    UsageError where the lock is another user's and closed to this one.
    """
    with describe_os_errors(path):
        descriptor, writable = _open_lock(path.with_name(f".{path.name}.lock"))
    try:
        if descriptor is not None:
            _wait_for_file(descriptor, path, patience_s)
            if writable:
                _sign(descriptor, path)
        yield descriptor
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _open_lock(lock: Path) -> tuple[int | None, bool]:
    """The lock file's descriptor, and whether it can be written.

    It is read-only where another user made the file, and None where nothing may be written.
    """
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        return os.open(lock, os.O_RDWR | os.O_CREAT, 0o666), True
    except OSError as error:
        if error.errno not in DENIED:
            raise
    try:
        return os.open(lock, os.O_RDONLY), False
    except OSError:
        if _exists(lock):
            raise closed_lock(lock) from None
        return None, False


def _exists(lock: Path) -> bool:
    """True if a file is seen there; False also where its folder may not be entered."""
    try:
        return lock.exists()
    except OSError:
        return False


def _lock(descriptor: int) -> bool:
    """True if the exclusive lock is held now; a file system without locks counts as held."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise
    return True


def _wait_for_file(descriptor: int, path: Path, patience_s: float) -> None:
    begin, noticed = time.monotonic(), False
    while not _lock(descriptor):
        waited, holder = time.monotonic() - begin, _holder(descriptor)
        stopped = _is_stopped(holder)
        if waited > min(patience_s, STOPPED_WAIT_S if stopped else patience_s):
            state = "is stopped and holds" if stopped else f"has held for {waited / 60:.0f} min"
            raise RunError(
                f"Process {holder} {state} the lock of {path}: continue or end that process (`kill -CONT` or "
                "`kill` and its number), and repeat."
            )
        if waited > NOTICE_S and not noticed:
            notice(f"waiting for process {holder}, which works on {path}.")
            noticed = True
        time.sleep(min(0.5, 0.01 + waited / 20))


def _sign(descriptor: int, place: Path) -> None:
    """Write this process into a lock file, for those who wait for it, whichever user they are."""
    with describe_os_errors(place):
        info = os.fstat(descriptor)
        if info.st_uid == os.geteuid() and info.st_mode & READABLE != READABLE:  # by a narrow umask
            os.fchmod(descriptor, info.st_mode & 0o777 | READABLE)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()} on {socket.gethostname()}".encode(), 0)


def _holder(descriptor: int) -> str:
    """The process that signed a lock file, "1234 on HOST"."""
    return printable(os.pread(descriptor, 100, 0).decode(errors="replace")) or "unknown"


def _is_stopped(holder: str) -> bool:
    """True if a holder is a process of this machine that was stopped by a signal."""
    number, _, host = holder.partition(" on ")
    try:
        words = Path(f"/proc/{int(number)}/stat").read_text(encoding="utf-8", errors="replace")
    except (OSError, ValueError):
        return False
    return host == socket.gethostname() and words.rpartition(") ")[2][:1] == "T"


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
            _sign(descriptor, folder / name)
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
    try:
        return os.open(lock, os.O_RDONLY), False
    except PermissionError:
        raise closed_lock(lock) from None


def _wait(descriptor: int, folder: Path, activity: str, patience_s: float) -> None:
    until = time.monotonic() + patience_s
    while not _lock(descriptor):
        if time.monotonic() > until:
            raise UsageError(
                f"Another process is {activity} in {folder} (process {_holder(descriptor)}); wait for it, or give "
                "another --out."
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
