"""The pictures of a data file as memory-mapped arrays: one per camera, converted once, shared by every process."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from robo_orl.base.files import cache_folder
from robo_orl.data import hdf5_schema as layout
from robo_orl.data.arrays import EpisodeArrays
from robo_orl.data.hdf5 import check_space
from robo_orl.data.memory_maps import built, mapped

PICTURES_FORMAT = 1


def open_pictures(
    path: Path, arrays: EpisodeArrays, cameras: Sequence[str]
) -> tuple[dict[str, np.ndarray], dict[str, Any] | None]:
    """Per camera (F, H, W, 3) uint8 of the frames of `arrays`, read-only, and the fingerprint of what made them.

    path: the file that `arrays` are of. Raises RunError for a full disk.
    """
    with layout.open_hdf5(path) as file:
        render = layout.render_of(file)
    cache, key = cache_folder() / "data", arrays.frames_key[:32]
    folders = {camera: cache / f"{key}-{camera}-{PICTURES_FORMAT}" for camera in cameras}
    lengths = arrays.lengths.tolist()
    return {c: built(f, partial(_convert, path, c, lengths), _load) for c, f in folders.items()}, render


def _load(folder: Path) -> np.ndarray:
    pictures = mapped(folder / "pictures.npy")
    if list(pictures.shape) != json.loads((folder / "index.json").read_text())["shape"]:
        raise ValueError("its pictures have another shape than its index")
    return pictures


def _convert(path: Path, camera: str, lengths: list[int], into: Path) -> None:
    """Write the camera's pictures of all demos end to end, of each the first so many frames."""
    with layout.open_hdf5(path) as file:
        demos = [file["data"][name]["obs"][camera + layout.IMAGE] for name in layout.demo_names(file)]
        shape = (sum(lengths), *demos[0].shape[1:])
        check_space(into, int(np.prod(shape)))
        whole = np.lib.format.open_memmap(into / "pictures.npy", mode="w+", dtype=np.uint8, shape=shape)
        _copy(demos, lengths, whole)
    (into / "index.json").write_text(json.dumps({"camera": camera, "shape": shape}))


def _copy(demos: list[h5py.Dataset], lengths: list[int], whole: np.ndarray) -> None:
    at = 0
    for demo, length in zip(demos, lengths, strict=True):
        demo.read_direct(whole, source_sel=np.s_[:length], dest_sel=np.s_[at : at + length])
        at += length
    whole.flush()
