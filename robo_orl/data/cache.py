"""One conversion of an HDF5 file to flat memory-mapped arrays, shared by every process through the page cache.

The cache is keyed by the file's sha256 and what is read of it, so that a changed file can never meet an old cache.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from robo_orl.base.errors import UsageError
from robo_orl.base.files import cache_folder
from robo_orl.config import TaskConfig
from robo_orl.data import hdf5_schema as layout
from robo_orl.data.arrays import Adjustments, EpisodeArrays, Reading
from robo_orl.data.file_hash import known_sha256
from robo_orl.data.flat_arrays import write_arrays
from robo_orl.data.memory_maps import built, in_words, mapped
from robo_orl.data.training_checks import training_faults

CACHE_FORMAT = 4
FRAME_ARRAYS = ("observations", "actions", "rewards", "stages")
EPISODE_ARRAYS = ("starts", "success", "terminal", "start_state")


def open_cache(
    path: Path | str, keys: Sequence[str] | None = None, cameras: Sequence[str] = (), reading: Reading | None = None
) -> EpisodeArrays:
    """The file's episodes as memory-mapped arrays, converted at the first call.

    keys: low-dim observation keys to keep, None = all that every episode has. cameras: whose pictures to open.
    reading: instead of both, all that is read and the choices in reading. Safe for many processes at once: one
    converts, the others wait. Raises UsageError with the validator's sentence for a file that does not train, and for a
    camera without pictures; RunError when the disk is full.
    """
    from robo_orl.data.images import open_pictures

    reading = reading or Reading(keys=tuple(keys) if keys is not None else None, cameras=tuple(cameras))
    path = Path(path)
    with layout.open_hdf5(path):
        pass  # a missing file or one that is no HDF5 gets its sentence before it is hashed
    sha256 = known_sha256(path)
    folder = cache_folder() / "data" / f"{sha256[:32]}-{reading.digest()[:12]}-{CACHE_FORMAT}"
    arrays = built(folder, partial(_convert, path, sha256, reading), partial(_load, path))
    if reading.rewards and arrays.reward_fault is not None:
        raise refused(path, [arrays.reward_fault])
    if not reading.cameras:
        return arrays
    images, render = open_pictures(path, arrays, reading.cameras)
    return replace(arrays, images=images, render=render)


def _convert(path: Path, sha256: str, reading: Reading, into: Path) -> None:
    with layout.open_hdf5(path) as file:
        try:
            faults = list(training_faults(file, replace(reading, rewards=False)))
        except layout.DAMAGE as error:
            faults = [f"The file is damaged inside: {in_words(error)}."]
        if faults:
            raise refused(path, faults)
        write_arrays(file, sha256, reading, into)


def refused(path: Path, faults: list[str]) -> UsageError:
    """The error of a file with faults: the first one, and how to see the others."""
    more = f" (and {len(faults) - 1} more; see `robo-orl data validate`)" if len(faults) > 1 else ""
    where = "" if str(path) in faults[0] else f"{path} does not train: "
    return UsageError(f"{where}{faults[0].rstrip('.')}{more}.")


def _load(path: Path, folder: Path) -> EpisodeArrays:
    index = json.loads((folder / "index.json").read_text())
    names = index["names"]
    arrays = {name: np.load(folder / f"{name}.npy") for name in EPISODE_ARRAYS}
    arrays |= {name: mapped(folder / f"{name}.npy") for name in FRAME_ARRAYS}
    if any(len(arrays[name]) != index["frames"] for name in FRAME_ARRAYS) or len(arrays["success"]) != len(names):
        raise ValueError("its arrays have other lengths than its index")
    return EpisodeArrays(
        path=str(path),
        sha256=index["sha256"],
        spec=index["spec"],
        masks={mask: np.isin(names, members) for mask, members in index["masks"].items()},
        names=names,
        operators=index["operators"],
        grades=index["grades"],
        task=TaskConfig.model_validate(index["task"]) if index["task"] else None,
        regime=index["regime"],
        loop=index["loop"],
        env=index["env"],
        adjusted=Adjustments(**index["adjusted"]),
        notes=tuple(index["notes"]),
        reward_fault=index["reward_fault"],
        **arrays,
    )
