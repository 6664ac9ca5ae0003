"""Files of this machine: the cache folder, hashes, files that appear complete or not at all, locks among processes."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from robo_orl.base.errors import RunError, UsageError

CACHE_VARIABLE = "ROBO_ORL_CACHE"


def cache_folder() -> Path:
    """Where this user's derived files are kept: $ROBO_ORL_CACHE, else ~/.cache/robo_orl."""
    return Path(os.environ.get(CACHE_VARIABLE) or Path.home() / ".cache" / "robo_orl")


def file_sha256(path: Path | str) -> str:
    """The sha256 of a file's bytes."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# torch, safetensors and numpy put the reason, or "N requested and M written", into the message only.
FULL_WORDS = ("No space left", "quota exceeded", "File too large", "requested and")


@contextmanager
def full_disk_is_a_sentence(path: Path) -> Iterator[None]:
    """Turn "no space left" while writing `path` into a RunError; other errors pass."""
    try:
        yield
    except Exception as error:
        if getattr(error, "errno", None) in FULL or any(words in str(error) for words in FULL_WORDS):
            raise RunError(f"The disk is full: {path} could not be written; free some space and repeat.") from None
        raise


@contextmanager
def atomic_file(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path that replaces `path` when the block ends well and vanishes when it does not."""
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with full_disk_is_a_sentence(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


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


def write_json(path: Path, value: dict) -> None:
    """Write a JSON file so that it is complete or absent."""
    with atomic_file(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1))


def read_json(path: Path) -> dict:
    """A JSON object; UsageError where the file is missing, RunError where it is damaged."""
    try:
        return json.loads(path.read_text())
    except OSError as error:
        raise UsageError(f"Cannot read {path}: {error.strerror}; is its folder that of a trained run?") from None
    except ValueError:
        raise RunError(f"{path} is damaged: it is no JSON.") from None


def write_text(path: Path, text: str) -> None:
    """Write a small file so that a reader sees the old one or the new one."""
    with atomic_file(path) as temporary:
        temporary.write_text(text)
