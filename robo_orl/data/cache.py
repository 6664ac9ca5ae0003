"""One conversion of an HDF5 file to flat memory-mapped arrays, shared by every process through the page cache.

The cache is keyed by the file's sha256 and what is read of it, so that a changed file can never meet an old cache.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from robo_orl.base.errors import UsageError, unknown
from robo_orl.base.files import cache_folder, file_sha256, write_json
from robo_orl.config import TaskConfig
from robo_orl.data import hdf5_schema as layout
from robo_orl.data.arrays import Adjustments, EpisodeArrays, Reading
from robo_orl.data.flat_arrays import write_arrays
from robo_orl.data.hdf5 import check_space
from robo_orl.data.memory_maps import built, in_words, mapped
from robo_orl.data.training_checks import training_faults

CACHE_FORMAT = 6
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
        action_names=tuple(index["action_names"]),
        action_range=tuple(map(tuple, index["action_range"])) if index["action_range"] else None,
        **arrays,
    )


# ------------------------------------------------------------------------------------------------------------- pictures


PICTURES_FORMAT = 1


def open_pictures(
    path: Path, arrays: EpisodeArrays, cameras: Sequence[str]
) -> tuple[dict[str, np.ndarray], dict[str, Any] | None]:
    """Per camera (F, H, W, 3) uint8 of the frames of `arrays`, read-only, and the fingerprint of what made them.

    path: the file that `arrays` are of. Raises UsageError for a camera without pictures, RunError for a full disk.
    """
    with layout.open_hdf5(path) as file:
        render, known = layout.render_of(file), [key.removesuffix(layout.IMAGE) for key in layout.image_keys(file)]
    for camera in cameras:  # a cache of the vectors alone may be older than the wish for pictures
        if camera not in known:
            raise unknown(f"camera of {path}", camera, known)
    cache, key = cache_folder() / "data", arrays.frames_key[:32]
    folders = {camera: cache / f"{key}-{camera}-{PICTURES_FORMAT}" for camera in cameras}
    lengths = arrays.lengths.tolist()
    return {
        c: built(f, partial(_convert_pictures, path, c, lengths), _load_pictures) for c, f in folders.items()
    }, render


def _load_pictures(folder: Path) -> np.ndarray:
    pictures = mapped(folder / "pictures.npy")
    if list(pictures.shape) != json.loads((folder / "index.json").read_text())["shape"]:
        raise ValueError("its pictures have another shape than its index")
    return pictures


def _convert_pictures(path: Path, camera: str, lengths: list[int], into: Path) -> None:
    """Write the camera's pictures of all demos end to end, of each the first so many frames."""
    with layout.open_hdf5(path) as file:
        demos = [file["data"][name]["obs"][camera + layout.IMAGE] for name in layout.demo_names(file)]
        shape = (sum(lengths), *demos[0].shape[1:])
        check_space(into, int(np.prod(shape)))
        whole = np.lib.format.open_memmap(into / "pictures.npy", mode="w+", dtype=np.uint8, shape=shape)
        _copy_pictures(demos, lengths, whole)
    (into / "index.json").write_text(json.dumps({"camera": camera, "shape": shape}))


def _copy_pictures(demos: list[h5py.Dataset], lengths: list[int], whole: np.ndarray) -> None:
    at = 0
    for demo, length in zip(demos, lengths, strict=True):
        demo.read_direct(whole, source_sel=np.s_[:length], dest_sel=np.s_[at : at + length])
        at += length
    whole.flush()


# --------------------------------------------------------------------------------------------------- the hash of a file


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
