"""Every fault of a data file, one sentence each."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np

from robo_orl.base.errors import UsageError
from robo_orl.data import hdf5_schema as layout

PER_FRAME = ("actions", "rewards", "dones", "states")
DTYPE_KINDS = {"actions": "f", "rewards": "f", "dones": "iub", "states": "f", "stages": "iub"}
TRANSITIONS_MATCH = 1e-6  # next_obs and the next frame's obs are the same numbers


def faults(path: Path | str) -> list[str]:
    """Every fault, in file order; an empty list means that training, replay and robomimic can read the file."""
    found: list[str] = []
    try:
        with layout.open_hdf5(path) as file:
            found.extend(_file_faults(file))
    except UsageError as error:
        found.append(str(error))
    except layout.DAMAGE as error:
        found.append(f"The file is damaged inside: {_short(error)}.")
    return found


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:80] or type(error).__name__


def _file_faults(file: h5py.File) -> Iterator[str]:
    if not isinstance(file.get("data"), h5py.Group):
        yield "The group 'data' is missing: this is not a robomimic file."
        return
    yield from _header_faults(file)
    good = [name for name in file["data"] if name.startswith("demo_") and name[5:].isdecimal()]
    for name in sorted(set(file["data"]) - set(good)):
        yield f"data/{name}: demos are named demo_0, demo_1 and so on."
    if not good:
        yield "The group 'data' holds no demo."
        return
    shapes: dict[str, tuple] = {}
    for name in sorted(good, key=lambda name: int(name[5:])):
        yield from _readable_demo_faults(file["data"][name], name, shapes)
    yield from _mask_faults(file, good)
    yield from _total_faults(file, good)


def _header_faults(file: h5py.File) -> Iterator[str]:
    attributes = file["data"].attrs
    if "env_args" not in attributes:
        yield "data: the attribute env_args is missing, so robomimic cannot make the environment."
    elif not _is_json_object(attributes["env_args"]):
        yield "data: the attribute env_args is not JSON."
    try:
        made = layout.provenance(file)
    except UsageError as error:
        yield str(error)
        return
    if made and attributes.get("task_digest") != made.task.digest():
        yield "data: task_digest does not belong to the stored task, so one of the two was edited."
    if made and made.episodes != len(file["data"]):
        yield f"data: holds {len(file['data'])} demos, but {made.episodes} were requested."


def _is_json_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, TypeError):
        return False


def _readable_demo_faults(demo: h5py.Group, name: str, shapes: dict[str, tuple]) -> Iterator[str]:
    """The faults of a demo; where the file's inside cannot be read, that is the fault."""
    try:
        yield from list(_demo_faults(demo, name, shapes))
    except layout.DAMAGE as error:
        yield f"{name}: cannot be read, the file is damaged inside ({_short(error)})."


def _demo_faults(demo: h5py.Group, name: str, shapes: dict[str, tuple]) -> Iterator[str]:
    missing = [key for key in (*PER_FRAME, "obs") if key not in demo]
    yield from (f"{name}: the dataset {key} is missing." for key in missing)
    for attribute in ("num_samples", "model_file"):
        if attribute not in demo.attrs:
            yield f"{name}: the attribute {attribute} is missing."
    if "obs" in demo and not isinstance(demo["obs"], h5py.Group):
        yield f"{name}: obs is a dataset, but it must be a group with one dataset a key."
        return
    length = demo.attrs.get("num_samples", len(demo["actions"]) if "actions" in demo else None)
    arrays = {key: demo[key] for key in (*PER_FRAME, "stages") if key in demo}
    for group in ("obs", "next_obs"):
        arrays |= {f"{group}/{key}": data for key, data in demo.get(group, {}).items()}
    if length is None or len(arrays) == 0:
        return
    if length < 1:
        yield f"{name}: holds no frame."
        return
    for key, data in arrays.items():
        yield from _array_faults(f"{name}/{key}", key, data, int(length), shapes)
    yield from _key_faults(demo, name, shapes)
    if not missing:
        yield from _meaning_faults(demo, name)


def _array_faults(where: str, key: str, data: h5py.Dataset, length: int, shapes: dict[str, tuple]) -> Iterator[str]:
    if data.shape == () or len(data) != length:
        frames = len(data) if data.shape else "no"
        yield f"{where}: has {frames} frames, but num_samples says {length}."
        return
    kinds = DTYPE_KINDS.get(key, "fiu")
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
    if data.ndim == 4:
        yield from _image_faults(where, data)
        return
    yield from _value_faults(where, key, data[:])


def _image_faults(where: str, data: h5py.Dataset) -> Iterator[str]:
    if data.dtype != np.uint8 or data.shape[-1] != 3:
        yield f"{where}: has shape {data.shape} and type {data.dtype}, but pictures are (T, H, W, 3) uint8."


def _value_faults(where: str, key: str, values: np.ndarray) -> Iterator[str]:
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        frame = int(np.argwhere(~np.isfinite(values))[0][0])
        yield f"{where}: holds NaN or infinity, first at frame {frame}."
    elif key == "actions" and values.size and np.abs(values).max() > 1 + 1e-6:
        frame = int(np.argwhere(np.abs(values) > 1 + 1e-6)[0][0])
        yield f"{where}: leaves [-1, 1], first at frame {frame} ({np.abs(values).max():.3g})."
    elif key == "dones" and not np.isin(values, (0, 1)).all():
        yield f"{where}: holds values other than 0 and 1."


def _key_faults(demo: h5py.Group, name: str, shapes: dict[str, tuple]) -> Iterator[str]:
    """Every demo has the observation keys of the first one."""
    for group in ("obs", "next_obs"):
        known = {key for key in shapes if key.startswith(f"{group}/")}
        have = {f"{group}/{key}" for key in demo.get(group, {})}
        yield from (f"{name}: {key} is missing, which the first demo has." for key in sorted(known - have))
    if not len(demo.get("obs", {"": ""})):
        yield f"{name}: obs holds no key."


def _meaning_faults(demo: h5py.Group, name: str) -> Iterator[str]:
    """What the numbers must mean: a timeout is no terminal, and next_obs is the next frame's obs."""
    if "success" not in demo.attrs:
        return  # robomimic's own files end timeouts with done too
    dones, success = np.asarray(demo["dones"][:]).ravel(), bool(demo.attrs["success"])
    if dones[:-1].any():
        yield f"{name}/dones: is set before the last frame, first at frame {int(np.flatnonzero(dones)[0])}."
    if dones[-1] and not success:
        yield f"{name}/dones: is set at the end of an episode without success; a timeout is no terminal."
    if success and not dones[-1]:
        yield f"{name}/dones: is not set at the end of an episode that succeeded."
    for key, after in demo.get("next_obs", {}).items():
        before = demo["obs"].get(key)
        if before is None or before.shape != after.shape:
            continue
        if len(after) > 1 and np.abs(before[1:] - after[:-1]).max() > TRANSITIONS_MATCH:
            yield f"{name}/next_obs/{key}: is not the observation of the next frame."


def _mask_faults(file: h5py.File, demos: list[str]) -> Iterator[str]:
    for mask, members in layout.masks(file).items():
        for name in members:
            if name not in demos:
                yield f"mask/{mask}: names {name}, which the file does not hold."
    claimed = [name for name in layout.masks(file).get("success", []) if name in demos]
    wrong = [name for name in claimed if not file["data"][name].attrs.get("success", True)]
    yield from (f"mask/success: names {name}, which did not succeed." for name in wrong)


def _total_faults(file: h5py.File, demos: list[str]) -> Iterator[str]:
    total = file["data"].attrs.get("total")
    counts = [file["data"][name].attrs.get("num_samples") for name in demos]
    if total is None:
        yield "data: the attribute total is missing."
    elif None not in counts and int(total) != sum(int(count) for count in counts):
        yield f"data: total says {int(total)} frames, but the demos hold {sum(int(count) for count in counts)}."
