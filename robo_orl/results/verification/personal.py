"""Traces of a machine or a person in stored texts: absolute paths, addresses of the kind user@host, the host's name."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from robo_orl.config.regimes import REGIMES

PATH = re.compile(r"(?<![\w.:/<\\-])(?:/[\w.@+~-]+){2,}/?|\b[A-Za-z]:\\[\w.\\ -]+|(?<![\w/])~/[\w./-]+")
ADDRESS = re.compile(r"\b[\w.+-]+@[\w-]+(?:\.[\w-]+)*\b")
DATA_NAME = re.compile(rf"(?:.*-)?(?:{'|'.join(REGIMES)})(?:\+\w+)*@[\w-]+")
"""Data with the rewards of a source, alone or in the name of a cell: `stitch@progress_25`, `chain2-stitch@stages`."""
GENERIC_HOSTS = frozenset({"localhost", "localhost.localdomain"})


def personal_faults(value: Any, where: str = "") -> Iterator[str]:
    """One sentence for each text in a JSON value that names a path, an address or this host."""
    if isinstance(value, str):
        for name, found in _traces(value):
            yield f"{where or 'a text'} holds {name} ({found[:80]}), which belongs to one machine."
    elif isinstance(value, dict):
        for key, inner in value.items():
            for name, found in _traces(str(key)):
                yield f"{where or 'a key'} holds {name} ({found[:80]}), which belongs to one machine."
            yield from personal_faults(inner, f"{where}.{key}" if where else str(key))
    elif isinstance(value, list | tuple):
        for index, inner in enumerate(value):
            yield from personal_faults(inner, f"{where}.{index}" if where else str(index))


def without_paths(value: Any, *roots: Path) -> Any:
    """A JSON value in which absolute paths are relative to the first of `roots` that holds them, or only file names."""
    if isinstance(value, str):
        return PATH.sub(lambda match: _shortened(match[0], roots), value)
    if isinstance(value, dict):
        return {key: without_paths(inner, *roots) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [without_paths(inner, *roots) for inner in value]
    return value


def _shortened(path: str, roots: tuple[Path, ...]) -> str:
    for root in roots:
        if path.startswith(f"{root}/"):
            return path.removeprefix(f"{root}/")
    return re.split(r"[/\\]", path.rstrip("/\\"))[-1]


def _traces(text: str) -> Iterator[tuple[str, str]]:
    if "/" in text or "\\" in text:
        for match in PATH.finditer(text):
            yield "an absolute path", match[0]
    if "@" in text:
        for match in ADDRESS.finditer(text):
            if not DATA_NAME.fullmatch(match[0]):
                yield "an address", match[0]
    host = socket.gethostname()
    if len(host) > 5 and host not in GENERIC_HOSTS and host in text:
        yield "the name of this host", host
