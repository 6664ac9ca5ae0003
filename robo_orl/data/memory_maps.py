"""Folders of memory-mapped arrays that are converted once and shared by every process through the page cache."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np

from robo_orl.base.locks import file_lock
from robo_orl.base.os_errors import describe_os_errors


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
            os.rename(unfinished, folder)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)


def mapped(file: Path) -> np.ndarray:
    """A read-only map as a plain ndarray: indexing a np.memmap costs several times as much."""
    try:
        return np.asarray(np.load(file, mmap_mode="r"))
    except ValueError:  # an array without elements cannot be mapped
        return np.load(file)
