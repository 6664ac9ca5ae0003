"""The sha256 of a data file, computed once: a start of ten processes on 10 GB must not read 100 GB."""

from __future__ import annotations

import hashlib
import json
import os
import time
from contextlib import suppress
from pathlib import Path

from robo_orl.base.files import cache_folder, file_sha256, write_json

SETTLED_S = 2.0  # a file that changed more recently may change again within the clock's resolution


def known_sha256(path: Path) -> str:
    """The sha256 of a file, kept in the cache under its path, size, times and inode; any change of these forgets it.

    The time of the last change of the inode is among them: writing to a file and setting its modification time back
    changes it too. A cache that cannot be written costs the reading alone.
    """
    path = Path(os.path.realpath(path))
    identity = _identity(path)
    place = cache_folder() / "hashes" / f"{hashlib.sha256(str(path).encode()).hexdigest()[:32]}.json"
    with suppress(OSError, ValueError, TypeError, KeyError):
        stored = json.loads(place.read_text())
        if stored["identity"] == identity and len(stored["sha256"]) == 64:
            return stored["sha256"]
    sha256 = file_sha256(path)
    after = _identity(path)
    if after == identity and time.time() - max(identity["mtime_ns"], identity["ctime_ns"]) / 1e9 > SETTLED_S:
        with suppress(Exception):  # a read-only or full cache
            write_json(place, {"path": str(path), "identity": identity, "sha256": sha256})
    return sha256


def _identity(path: Path) -> dict[str, int]:
    info = path.stat()
    return {
        "size": info.st_size,
        "mtime_ns": info.st_mtime_ns,
        "ctime_ns": info.st_ctime_ns,
        "inode": info.st_ino,
        "device": info.st_dev,
    }
