"""The definition of a valid data file: its faults, one sentence each, by what they stand in the way of.

`trains`: a policy can learn from it; the reader (cache.open_cache) refuses exactly these faults. `replays`: its stored
states and actions can be put into a simulator. `robomimic`: robomimic's own loader reads it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import h5py
import numpy as np

from robo_orl.base.errors import UsageError
from robo_orl.data import hdf5_schema as layout
from robo_orl.data.array_checks import array_faults, each_episode
from robo_orl.data.arrays import Reading
from robo_orl.data.layouts import is_raw_robosuite
from robo_orl.data.memory_maps import in_words
from robo_orl.data.training_checks import (
    claimed_frames,
    container_faults,
    holder_in_words,
    stage_note,
    training_faults,
)

Level = Literal["trains", "replays", "robomimic"]
LEVELS: tuple[Level, ...] = get_args(Level)
PER_FRAME = ("actions", "rewards", "dones", "states")
TRANSITIONS_MATCH = 1e-6  # next_obs and the next frame's obs are the same numbers
EVERYTHING = Reading()


@dataclass(frozen=True, slots=True)
class Findings:
    """The faults of a file by level, and notes: contradictions in it that no reader depends on."""

    trains: list[str]
    replays: list[str]
    robomimic: list[str]
    notes: list[str]

    def all(self) -> list[str]:
        """Every sentence once, in this order."""
        return list(dict.fromkeys([*self.trains, *self.replays, *self.robomimic, *self.notes]))


def faults(path: Path | str, reading: Reading = EVERYTHING) -> list[str]:
    """Every fault of every level; an empty list means that training, replay and robomimic can read the file."""
    return examine(path, reading).all()


def examine(path: Path | str, reading: Reading = EVERYTHING) -> Findings:
    """The faults and notes of a file; `reading`: what a policy reads of it, by default all that every episode has."""
    try:
        with layout.open_hdf5(path) as file:
            stop = container_faults(file)
            if stop and is_raw_robosuite(file):  # its states can be restored
                return Findings(stop, list(each_episode(file, _replay_faults)), stop, [])
            if stop:
                return Findings(stop, stop, stop, [])
            return Findings(
                trains=list(training_faults(file, reading)),
                replays=list(each_episode(file, _replay_faults)),
                robomimic=list(_robomimic_faults(file)),
                notes=[*_header_notes(file), *each_episode(file, _meaning_notes), *_stage_notes(file)],
            )
    except UsageError as error:
        stop = [str(error)]
    except layout.DAMAGE as error:
        stop = [f"The file is damaged inside: {in_words(error)}."]
    return Findings(stop, stop, stop, [])


# -------------------------------------------------------------------------------------------------------------- replays


def _replay_faults(demo: h5py.Group, name: str) -> Iterator[str]:
    """The faults that keep stored states and actions out of a simulator."""
    for key in ("actions", "states"):
        if key not in demo:
            yield f"{name}: the dataset {key} is missing."
            return
    if isinstance(demo["states"], h5py.Group):
        yield f"{name}: states is a group of assets, as Isaac Lab writes it, and not a state of this simulator."
        return
    length = len(demo["actions"])
    for key in ("actions", "states"):
        yield from array_faults(f"{name}/{key}", key, demo[key], length, {})


# ------------------------------------------------------------------------------------------------------------ robomimic


def _robomimic_faults(file: h5py.File) -> Iterator[str]:
    attributes, demos = file["data"].attrs, layout.demo_names(file)
    if "env_args" not in attributes:
        yield "data: the attribute env_args is missing, so robomimic cannot make the environment."
    elif not _is_json_object(attributes["env_args"]):
        yield "data: the attribute env_args is not JSON."
    for name in sorted(set(file["data"]) - set(demos)):
        yield f"data/{name}: demos are named demo_0, demo_1 and so on."
    shapes: dict[str, tuple] = {}
    yield from each_episode(file, lambda demo, name: _robomimic_demo_faults(demo, name, shapes))
    yield from _key_faults(file, demos)
    yield from _mask_faults(file, demos)
    yield from total_faults(file, demos)


def _is_json_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, TypeError):
        return False


def _robomimic_demo_faults(demo: h5py.Group, name: str, shapes: dict[str, tuple]) -> Iterator[str]:
    missing = [key for key in (*PER_FRAME, "obs") if key not in demo]
    yield from (f"{name}: the dataset {key} is missing." for key in missing)
    for attribute in ("num_samples", "model_file"):
        if attribute not in demo.attrs:
            yield f"{name}: the attribute {attribute} is missing."
    if "actions" not in demo or not isinstance(demo.get("obs"), h5py.Group):
        return
    length, claimed = len(demo["actions"]), claimed_frames(demo)
    if claimed is not None and claimed != length:
        yield f"{name}: num_samples says {claimed}, but the episode has {length} frames."
    arrays = {key: demo[key] for key in (*PER_FRAME, "stages") if key in demo}
    for group in ("obs", "next_obs"):
        arrays |= {f"{group}/{key}": data for key, data in demo.get(group, {}).items()}
    for key, data in arrays.items():
        yield from array_faults(f"{name}/{key}", key, data, length, shapes)
    if not len(demo["obs"]):
        yield f"{name}: obs holds no key."
    for key, after in demo.get("next_obs", {}).items():
        before = demo["obs"].get(key)
        if before is None or before.shape != after.shape or before.dtype.kind not in "fiu":
            continue
        if len(after) > 1 and np.abs(before[1:] - after[:-1]).max() > TRANSITIONS_MATCH:
            yield f"{name}/next_obs/{key}: is not the observation of the next frame."


def _key_faults(file: h5py.File, demos: list[str]) -> Iterator[str]:
    """Every demo has the observation keys of all others."""
    for group in ("obs", "next_obs"):
        members = {name: set(file["data"][name].get(group, ())) for name in demos}
        holders: dict[str, str] = {}
        for name, keys in members.items():
            holders |= {key: name for key in keys if key not in holders}
        for name, keys in members.items():
            for key in sorted(set(holders) - keys):
                yield f"{name}: {group}/{key} is missing, which {holder_in_words(holders[key], demos)} has."


def _mask_faults(file: h5py.File, demos: list[str]) -> Iterator[str]:
    for mask, members in layout.masks(file).items():
        for name in members:
            if name not in demos:
                yield f"mask/{mask}: names {name}, which the file does not hold."
    claimed = [name for name in layout.masks(file).get("success", []) if name in demos]
    wrong = [name for name in claimed if not file["data"][name].attrs.get("success", True)]
    yield from (f"mask/success: names {name}, which did not succeed." for name in wrong)


def total_faults(file: h5py.File, demos: list[str]) -> Iterator[str]:
    """The faults of `total`: it is missing, or it contradicts the stored frames."""
    total = file["data"].attrs.get("total")
    frames = sum(len(file["data"][name]["actions"]) for name in demos if "actions" in file["data"][name])
    if total is None:
        yield "data: the attribute total is missing."
    elif int(total) != frames:
        yield f"data: total says {int(total)} frames, but the demos hold {frames}."


# ---------------------------------------------------------------------------------------------------------------- notes


def _header_notes(file: h5py.File) -> Iterator[str]:
    made, demos = layout.provenance(file), layout.demo_names(file)
    if made and made.episodes != len(demos):
        yield f"data: holds {len(demos)} demos, but {made.episodes} were requested."


def _stage_notes(file: h5py.File) -> Iterator[str]:
    without = stage_note(file)
    if without:
        yield f"{without[0].upper()}{without[1:]}."


def _meaning_notes(demo: h5py.Group, name: str) -> Iterator[str]:
    """Dones that contradict the success: here a timeout is no terminal. The reader goes by the success alone."""
    if "success" not in demo.attrs or "dones" not in demo:
        return  # robomimic's own files end timeouts with done too
    dones, success = np.asarray(demo["dones"][:]).ravel(), bool(demo.attrs["success"])
    if dones[:-1].any():
        yield f"{name}/dones: is set before the last frame, first at frame {int(np.flatnonzero(dones)[0])}."
    if dones[-1] and not success and not demo.attrs.get(layout.ENDED, False):
        yield f"{name}/dones: is set at the end of an episode without success; a timeout is no terminal."
    if success and not dones[-1]:
        yield f"{name}/dones: is not set at the end of an episode that succeeded."
