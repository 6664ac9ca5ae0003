"""Files that appear complete or not at all."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from robo_orl.errors import RunError

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
