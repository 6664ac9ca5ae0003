"""Faults of one dataset of an episode: its length, type, axes and values."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import h5py
import numpy as np

from robo_orl.data import hdf5_schema as layout
from robo_orl.data.memory_maps import in_words

DTYPE_KINDS = {"actions": "f", "rewards": "f", "dones": "iub", "states": "f", "stages": "iub"}


def array_faults(
    where: str, key: str, data: h5py.Dataset, length: int, shapes: dict[str, tuple], kinds: str | None = None
) -> Iterator[str]:
    """The faults of the dataset `key` in an episode of `length` frames; `shapes`: those of the first episode."""
    if not isinstance(data, h5py.Dataset) or data.shape == () or len(data) != length:
        frames = len(data) if isinstance(data, h5py.Dataset) and data.shape else "no"
        yield f"{where}: has {frames} frames, but the episode has {length}."
        return
    kinds = kinds or DTYPE_KINDS.get(key, "fiu")
    if data.dtype.kind not in kinds:
        yield f"{where}: has type {data.dtype}, which is not {'a float' if kinds == 'f' else 'a number'} type."
        return
    axes = 1 if key in ("rewards", "dones") else 2
    if key in DTYPE_KINDS and data.ndim != axes:
        yield f"{where}: has shape {data.shape}, but {axes} axes are expected."
        return
    expected = shapes.setdefault(key, data.shape[1:])
    if data.shape[1:] != expected:
        yield f"{where}: has frames of shape {data.shape[1:]}, but those of the first demo have {expected}."
    if key.endswith(layout.IMAGE):
        yield from _image_faults(where, data)
    elif data.ndim <= 2:
        yield from value_faults(where, key, data[:])


def _image_faults(where: str, data: h5py.Dataset) -> Iterator[str]:
    if data.dtype != np.uint8 or data.ndim != 4 or data.shape[-1] != 3:
        yield f"{where}: has shape {data.shape} and type {data.dtype}, but pictures are (T, H, W, 3) uint8."


def value_faults(where: str, key: str, values: np.ndarray) -> Iterator[str]:
    """Numbers that are not finite, and dones that are neither 0 nor 1."""
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        frame = int(np.argwhere(~np.isfinite(values))[0][0])
        yield f"{where}: holds NaN or infinity, first at frame {frame}."
    elif key == "dones" and not np.isin(values, (0, 1)).all():
        yield f"{where}: holds values other than 0 and 1."


def each_episode(file: h5py.File, check: Callable[[h5py.Group, str], Iterator[str]]) -> Iterator[str]:
    """The sentences of `check(demo, name)` for every episode; where its inside cannot be read, that is the fault."""
    for name in layout.demo_names(file):
        try:
            yield from list(check(file["data"][name], name))
        except layout.DAMAGE as error:
            yield f"{name}: cannot be read, the file is damaged inside ({in_words(error)})."
