"""Text and JSON of results files that may come from anybody: bounded, complete, and one value a key."""

from __future__ import annotations

import json
import os
import stat
import zlib
from pathlib import Path
from typing import Any

from robo_orl.base.errors import UsageError
from robo_orl.base.os_errors import cannot_read

LARGEST = 4 << 30  # bytes of a file: 10,000 cells of 200 episodes are 1 GB
RATIO, SMALL = 100, 64 << 20  # rows are packed to a tenth; what unpacks to more than this is no file of rows


def read_text(path: Path, remedy: str = "") -> str:
    """The text of a file, unpacked where its name ends in .gz; UsageError, one sentence, where it is none.

    remedy: what to do about a damaged file, after a semicolon.
    """
    packed = path.suffix == ".gz"
    try:
        with open(path, "rb", opener=_without_waiting) as stream:
            status = os.fstat(stream.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise UsageError(f"{path} is no regular file, so its end is not known: put the file itself there.")
            if status.st_size > LARGEST:
                raise UsageError(f"{path} has {status.st_size} bytes, more than results have ({LARGEST}).")
            content = stream.read()
    except OSError as error:
        raise cannot_read(path, error) from None
    try:
        return (_unpacked(content, path) if packed else content).decode()
    except (EOFError, zlib.error, UnicodeDecodeError):
        kind = "complete gzip file of text" if packed else "complete text" if remedy else "text"
        raise UsageError(f"{path} is damaged: it is no {kind}{remedy and f'; {remedy}'}.") from None


def parse_json(text: str) -> Any:
    """The value of a JSON text. Raises ValueError for NaN, infinity, a repeated key and a text that is no JSON."""
    try:
        return json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_unique)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _without_waiting(path: str, flags: int) -> int:
    """Open a file; a pipe that nobody writes to does not block."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _unpacked(content: bytes, path: Path) -> bytes:
    """The members of a gzip file one after the other."""
    limit, parts, size = max(SMALL, min(LARGEST, RATIO * len(content))), [], 0
    while content:
        member = zlib.decompressobj(wbits=31)
        parts.append(member.decompress(content, limit - size + 1))
        size += len(parts[-1])
        if size > limit:
            raise UsageError(f"{path} unpacks to more than {limit} bytes: it is no file of episode rows.")
        if not member.eof:
            raise EOFError
        content = member.unused_data
    if not parts:
        raise EOFError
    return b"".join(parts)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no number")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {next(key for key in keys if keys.count(key) > 1)} stands there twice")
    return value
