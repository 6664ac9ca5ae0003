"""Where derived files are kept, and a file's identity."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

CACHE_VARIABLE = "ROBO_ORL_CACHE"


def cache_folder() -> Path:
    """Where this user's derived files are kept: $ROBO_ORL_CACHE, else ~/.cache/robo_orl."""
    return Path(os.environ.get(CACHE_VARIABLE) or Path.home() / ".cache" / "robo_orl")


def file_sha256(path: Path | str) -> str:
    """The sha256 of a file's bytes."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
