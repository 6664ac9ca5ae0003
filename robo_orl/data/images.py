"""The pictures of a data file as memory-mapped arrays: one per camera, converted once, shared by every process."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from robo_orl.base.errors import UsageError
from robo_orl.base.files import cache_folder
from robo_orl.data import hdf5_schema as layout
from robo_orl.data.hdf5 import check_space
from robo_orl.data.memory_maps import build_once, mapped

PICTURES_FORMAT = 1


def open_pictures(
    path: Path, sha256: str, cameras: Sequence[str]
) -> tuple[dict[str, np.ndarray], dict[str, Any] | None]:
    """Per camera (F, H, W, 3) uint8 of all frames of `path`, read-only, and the fingerprint of what made them.

    sha256: of the file. Raises UsageError for a camera that the file has no pictures of, RunError for a full disk.
    """
    with layout.open_hdf5(path) as file:
        known = [key.removesuffix(layout.IMAGE) for key in layout.image_keys(file)]
        made = layout.provenance(file)
    for camera in cameras:
        if camera not in known:
            raise UsageError(
                f"{path} has no pictures of the camera '{camera}' (it has {', '.join(known) or 'none'}); "
                f"`robo-orl data add-images {path} --cameras {camera}` renders them."
            )
    folders = {camera: cache_folder() / "data" / f"{sha256[:32]}-{camera}-{PICTURES_FORMAT}" for camera in cameras}
    for camera, folder in folders.items():
        build_once(folder, partial(_convert, path, camera))
    return {c: mapped(folder / "pictures.npy") for c, folder in folders.items()}, made.render if made else None


def _convert(path: Path, camera: str, into: Path) -> None:
    """Write the camera's pictures of all demos end to end."""
    with layout.open_hdf5(path) as file:
        demos = [file["data"][name]["obs"][camera + layout.IMAGE] for name in layout.demo_names(file)]
        shape = (sum(len(demo) for demo in demos), *demos[0].shape[1:])
        check_space(into, int(np.prod(shape)))
        whole = np.lib.format.open_memmap(into / "pictures.npy", mode="w+", dtype=np.uint8, shape=shape)
        _copy(demos, whole)
    (into / "index.json").write_text(json.dumps({"camera": camera, "shape": shape}))


def _copy(demos: list[h5py.Dataset], whole: np.ndarray) -> None:
    at = 0
    for demo in demos:
        demo.read_direct(whole, dest_sel=np.s_[at : at + len(demo)])
        at += len(demo)
    whole.flush()
