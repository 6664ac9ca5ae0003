"""Files of this machine: hashes, files that appear complete or not at all, JSON."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from robo_orl.base.errors import RunError
from robo_orl.base.os_errors import cache_folder, cannot_read, describe_os_errors

__all__ = [
    "atomic_file",
    "cache_folder",
    "file_sha256",
    "flush",
    "folder_beside",
    "read_json",
    "write_json",
    "write_text",
]


def file_sha256(path: Path | str) -> str:
    """The sha256 of a file's bytes."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextmanager
def atomic_file(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path that replaces `path` when the block ends well and vanishes when it does not.

    The content is on the disk before the name is, so that a power cut leaves the old file or the new one.
    """
    path = Path(os.path.realpath(path))  # a symbolic link stays one, and its target is written
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    with describe_os_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
            flush(temporary)
            os.replace(temporary, path)
            flush(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


def folder_beside(path: Path, ending: str) -> Path:
    """The hidden folder `.NAME.ending` beside a file, for its unfinished parts: one for all links to the file."""
    target = Path(os.path.realpath(path))
    return target.with_name(f".{target.name}.{ending}")


def flush(path: Path) -> None:
    """Force a file or folder to the disk: a rename may otherwise survive a power cut that its content does not."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EROFS):  # file systems that do not flush folders
            raise
    finally:
        os.close(descriptor)


def write_text(path: Path, text: str) -> None:
    """Write a small file so that a reader sees the old one or the new one."""
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Write a JSON file so that it is complete or absent."""
    write_text(path, json.dumps(value, indent=1))


def read_json(path: Path, remedy: str = "delete it and repeat") -> dict[str, Any]:
    """The JSON object in a file; UsageError where it is missing, RunError with the remedy where it is damaged."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise cannot_read(path, error, otherwise="is its folder that of a trained run?") from None
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise RunError(f"{path} is damaged: it is no JSON object; {remedy}.")
    return value
