"""The copy of a data file with other rewards, success bits and terminals; what was recorded stays beside them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from robo_orl.base.files import atomic_file
from robo_orl.config.regimes import with_reward
from robo_orl.data import hdf5_schema as layout
from robo_orl.data.arrays import EpisodeArrays


@dataclass(frozen=True)
class Copy:
    """What is written of E episodes, F frames. kept, success, labelled: (E,) bool. reward: (F,)."""

    arrays: EpisodeArrays
    kept: np.ndarray
    reward: np.ndarray
    success: np.ndarray
    labelled: np.ndarray


def write_copy(out: Path, path: Path, copy: Copy, written: dict[str, Any]) -> None:
    """Write `out`, the kept episodes of `path`, atomically. written: what the copy says of its reward, as JSON."""
    arrays, reward = copy.arrays, copy.reward.astype(np.float32)
    with atomic_file(out) as temporary, h5py.File(temporary, "w") as target, layout.open_hdf5(path) as source:
        data = target.create_group("data")
        for key, value in source["data"].attrs.items():
            data.attrs[key] = value
        for e in np.flatnonzero(copy.kept):
            name, frames = arrays.names[e], slice(arrays.starts[e], arrays.starts[e + 1])
            _copy(source["data"][name], data, name, int(arrays.lengths[e]))
            _put(data[name], reward[frames], bool(copy.success[e]), bool(copy.labelled[e]))
        successes = [name for name, good in zip(arrays.names, copy.success, strict=True) if good]
        masks = layout.masks(source) | {"success": successes}
        layout.write_masks(target, {mask: [n for n in members if n in data] for mask, members in masks.items()})
        _write_header(data, written)


def _copy(demo: h5py.Group, data: h5py.Group, name: str, frames: int) -> None:
    """An episode, without the frames after its first success."""
    demo.file.copy(demo, data, name, expand_external=True, expand_soft=True)
    copy, stored = data[name], len(demo["actions"])
    if stored == frames:
        return
    groups = [copy, *(copy[key] for key in ("obs", "next_obs") if key in copy)]
    for group, key in [
        (g, k) for g in groups for k, v in g.items() if isinstance(v, h5py.Dataset) and v.shape[:1] == (stored,)
    ]:
        values = group[key][:frames]
        del group[key]
        group[key] = values
    copy.attrs["num_samples"] = frames


def _put(demo: h5py.Group, reward: np.ndarray, success: bool, labelled: bool) -> None:
    """The source's rewards, success and terminal in the place of the recorded ones, which stay beside them."""
    if "rewards" in demo:
        demo.move("rewards", "true_rewards")
    demo["rewards"] = reward
    done = np.zeros(len(reward), np.uint8)
    done[-1] = success
    if "dones" in demo:
        del demo["dones"]
    demo["dones"] = done
    if "success" in demo.attrs:
        demo.attrs["true_success"] = bool(demo.attrs["success"])
    demo.attrs["success"], demo.attrs["labelled"] = success, labelled


def _write_header(data: h5py.Group, written: dict[str, Any]) -> None:
    data.attrs[layout.REWARD] = json.dumps(written, sort_keys=True)
    data.attrs["total"] = sum(len(demo["actions"]) for demo in data.values())
    if "task" in data.attrs:
        data.attrs["episodes"] = len(data)
        data.attrs["regime"] = with_reward(data.attrs["regime"], written["request"]["config"]["name"])
