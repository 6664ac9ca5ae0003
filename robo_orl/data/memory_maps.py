"""Folders of memory-mapped arrays that are converted once and shared by every process through the page cache."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np

from robo_orl.base.errors import RunError
from robo_orl.base.files import flush
from robo_orl.base.locks import file_lock
from robo_orl.base.os_errors import CACHE_VARIABLE, describe_os_errors
from robo_orl.base.text import notice

T = TypeVar("T")


def build_once(folder: Path, fill: Callable[[Path], None]) -> None:
    """Let `fill` write into `folder`, under a lock, unless it is there; it appears complete or not at all.

    What a killed conversion left is replaced.
    """
    if folder.is_dir():
        return
    unfinished = folder.with_name(f".{folder.name}.partial")
    with describe_os_errors(folder), file_lock(folder):
        if folder.is_dir():
            return
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir()
        try:
            fill(unfinished)
            for file in unfinished.iterdir():
                flush(file)
            os.rename(unfinished, folder)
            flush(folder.parent)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)


# What reading a damaged folder raises.
DAMAGE = (OSError, ValueError, LookupError, TypeError, EOFError)


def built(folder: Path, fill: Callable[[Path], None], read: Callable[[Path], T]) -> T:
    """The result of `read` on `folder`, which `fill` writes where it is missing; a damaged folder is written again.

    Raises RunError where a damaged folder cannot be replaced.
    """
    build_once(folder, fill)
    try:
        return read(folder)
    except DAMAGE:
        _remove_damaged(folder, read)
    build_once(folder, fill)
    try:
        return read(folder)
    except DAMAGE as error:
        raise RunError(
            f"The cache {folder} is damaged ({in_words(error)}) and cannot be replaced: delete it, or set "
            f"{CACHE_VARIABLE} to a folder that you may write."
        ) from None


def _remove_damaged(folder: Path, read: Callable[[Path], T]) -> None:
    """Remove a folder that cannot be read, unless another process has replaced it meanwhile."""
    with file_lock(folder):
        try:
            read(folder)
        except DAMAGE as error:
            notice(f"the cache {folder} is damaged ({in_words(error)}) and is made again.")
            shutil.rmtree(folder, ignore_errors=True)


def in_words(error: Exception) -> str:
    """The beginning of an error's message, on one line."""
    return " ".join(str(error).split())[:80] or type(error).__name__


def mapped(file: Path) -> np.ndarray:
    """A read-only map as a plain ndarray: indexing a np.memmap costs several times as much."""
    try:
        return np.asarray(np.load(file, mmap_mode="r"))
    except ValueError:  # an array without elements cannot be mapped
        return np.load(file)
