"""One conversion of an HDF5 file to flat memory-mapped arrays, shared by every process through the page cache.

The cache is keyed by the file's sha256 and the observation keys, so that a changed file can never meet an old cache.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from robo_orl.base.errors import UsageError, unknown
from robo_orl.base.files import cache_folder, file_sha256
from robo_orl.config import ObservationConfig, TaskConfig, sha256_of
from robo_orl.data import hdf5_schema as layout
from robo_orl.data.memory_maps import build_once, mapped
from robo_orl.data.validate import faults

CACHE_FORMAT = 2
FRAME_ARRAYS = ("observations", "actions", "rewards", "stages")
EPISODE_ARRAYS = ("starts", "success", "terminal", "start_state")


@dataclass(frozen=True)
class EpisodeArrays:
    """E episodes end to end: F frames in all, memory-mapped and read-only.

    observations: (F, W) float32, the keys of `spec` (key -> size, sizes sum to W) side by side: one row, one lookup.
    actions: (F, A) float32. rewards: (F,) float32. stages: (F, S) uint8, after the action.
    starts: (E + 1,) int64, episode e is frames starts[e] .. starts[e+1]-1. success: (E,) bool. terminal: (E,) bool, the
    episode ended in a true terminal and not in a timeout. start_state: (E,) int64, -1 where unknown.
    images: per camera asked for (F, H, W, 3) uint8; render: the fingerprint of what made them, None where unknown.
    masks: name -> (E,) bool. task: what the file was recorded on, None where it does not say. sha256: of the HDF5 file.
    """

    path: str
    sha256: str
    spec: dict[str, int]
    observations: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray
    stages: np.ndarray
    starts: np.ndarray
    success: np.ndarray
    terminal: np.ndarray
    start_state: np.ndarray
    masks: dict[str, np.ndarray]
    names: list[str]
    operators: list[str]
    grades: list[str]
    task: TaskConfig | None
    regime: str | None
    loop: str | None
    images: dict[str, np.ndarray] = field(default_factory=dict)
    render: dict[str, Any] | None = None

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def obs(self) -> dict[str, np.ndarray]:
        """Per key (F, D) float32, views of `observations`."""
        ends = np.cumsum(list(self.spec.values()))[:-1]
        return dict(zip(self.spec, np.split(self.observations, ends, axis=1), strict=True))

    @property
    def action_dim(self) -> int:
        return self.actions.shape[1]

    @cached_property
    def lengths(self) -> np.ndarray:
        """(E,) int64, frames of each episode."""
        return np.diff(self.starts)

    @cached_property
    def episode_of_frame(self) -> np.ndarray:
        """(F,) int64."""
        return np.repeat(np.arange(len(self)), self.lengths)

    def chosen(self, mask: str | None) -> np.ndarray:
        """(E,) bool, the episodes of `mask`; UsageError where the file has no such mask or the mask is empty."""
        if mask is None:
            return np.ones(len(self), bool)
        if mask not in self.masks:
            raise unknown(f"mask of {self.path}", mask, self.masks)
        if not self.masks[mask].any():
            raise UsageError(f"The mask '{mask}' of {self.path} holds no episode.")
        return self.masks[mask]

    def frames(self, chosen: np.ndarray) -> np.ndarray:
        """(G,) int64, the frames of the chosen episodes (E,) bool."""
        return np.flatnonzero(np.repeat(chosen, self.lengths))


def check_task(arrays: EpisodeArrays, task: TaskConfig) -> None:
    """UsageError where the data were recorded on another task than `task`."""
    recorded = arrays.task
    if recorded is None:
        raise UsageError(f"{arrays.path} does not say which task it was recorded on; generate it with `robo-orl data`.")
    if recorded.digest() == task.digest():
        return
    if recorded.name != task.name:
        raise UsageError(f"{arrays.path} holds data for task {recorded.name}, but {task.name} was asked for.")
    ours, theirs = task.model_dump(mode="json"), recorded.model_dump(mode="json")
    key = next(k for k in ours if ours[k] != theirs[k])
    raise UsageError(
        f"{arrays.path} holds data for another definition of {task.name}: {key} is {theirs[key]!r} there "
        f"and {ours[key]!r} here, so generate the data again."
    )


def open_cache(path: Path | str, keys: list[str] | None = None, cameras: Sequence[str] = ()) -> EpisodeArrays:
    """The file's episodes as memory-mapped arrays, converted at the first call.

    keys: low-dim observation keys to keep, None = all of the file. cameras: whose pictures to open. Safe for many
    processes at once: one converts, the others wait. Raises UsageError for a missing or broken file, an unknown key and
    a camera without pictures, RunError when the disk is full.
    """
    from robo_orl.data.images import open_pictures

    path = Path(path)
    with layout.open_hdf5(path):
        pass  # a missing file or one that is no HDF5 gets its sentence before it is hashed
    sha256 = file_sha256(path)
    spec = sha256_of({"format": CACHE_FORMAT, "keys": keys})
    folder = cache_folder() / "data" / f"{sha256[:32]}-{spec[:12]}"
    build_once(folder, lambda into: _convert(path, sha256, keys, into))
    arrays = _load(path, folder)
    if not cameras:
        return arrays
    images, render = open_pictures(path, sha256, cameras)
    return replace(arrays, images=images, render=render)


# ----------------------------------------------------------------------------------------------------------- conversion


def _convert(path: Path, sha256: str, keys: list[str] | None, into: Path) -> None:
    found = faults(path)
    if found:
        more = f" (and {len(found) - 1} more; see `robo-orl data validate`)" if len(found) > 1 else ""
        raise UsageError(f"{path} is broken: {found[0].rstrip('.')}{more}.")
    with layout.open_hdf5(path) as file:
        known = layout.low_dim_keys(file)
        for key in keys or []:
            if key not in known:
                raise unknown(f"observation key of {path}", key, known)
        index = _index(file, keys or known)
        _write_arrays(file, list(index["spec"]), into)
    (into / "index.json").write_text(json.dumps(index | {"sha256": sha256}))


def _index(file: h5py.File, keys: list[str]) -> dict:
    names = layout.demo_names(file)
    attributes = [file["data"][name].attrs for name in names]
    first = file["data"][names[0]]["obs"]
    made = layout.provenance(file)
    return {
        "spec": {key: first[key].shape[1] for key in keys},
        "names": names,
        "operators": [str(a.get("operator", "")) for a in attributes],
        "grades": [str(a.get("grade", "")) for a in attributes],
        "masks": layout.masks(file),
        "task": made.task.model_dump(mode="json") if made else None,
        "regime": made.regime if made else None,
        "loop": made.loop if made else None,
    }


def _write_arrays(file: h5py.File, keys: list[str], into: Path) -> None:
    demos = [file["data"][name] for name in layout.demo_names(file)]
    lengths = [len(demo["actions"]) for demo in demos]
    rows = [np.concatenate([demo["obs"][key][:] for key in keys], axis=1, dtype=np.float32) for demo in demos]
    np.save(into / "observations.npy", np.concatenate(rows))
    np.save(into / "actions.npy", np.concatenate([demo["actions"][:] for demo in demos], dtype=np.float32))
    np.save(into / "rewards.npy", np.concatenate([demo["rewards"][:] for demo in demos], dtype=np.float32))
    stages = [demo["stages"][:] if "stages" in demo else np.zeros((len(demo["actions"]), 0)) for demo in demos]
    np.save(into / "stages.npy", np.concatenate(stages).astype(np.uint8))
    success = np.array([succeeded(demo) for demo in demos])
    np.save(into / "starts.npy", np.concatenate(([0], np.cumsum(lengths))).astype(np.int64))
    np.save(into / "success.npy", success)
    # robomimic's own files set done at the last step of a timeout too: only a success is a terminal
    np.save(into / "terminal.npy", success & np.array([bool(demo["dones"][-1]) for demo in demos]))
    np.save(into / "start_state.npy", np.array([demo.attrs.get("start", -1) for demo in demos], np.int64))


def succeeded(demo: h5py.Group) -> bool:
    """Whether an episode succeeded: as it says, or, in files of robomimic's own, whether it was ever rewarded."""
    return bool(demo.attrs["success"]) if "success" in demo.attrs else bool((demo["rewards"][:] > 0).any())


# -------------------------------------------------------------------------------------------------------------- loading


def _load(path: Path, folder: Path) -> EpisodeArrays:
    index = json.loads((folder / "index.json").read_text())
    names = index["names"]
    arrays = {name: np.load(folder / f"{name}.npy") for name in EPISODE_ARRAYS}
    arrays |= {name: mapped(folder / f"{name}.npy") for name in FRAME_ARRAYS}
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
        **arrays,
    )


def check_pictures(arrays: EpisodeArrays, expected: ObservationConfig) -> None:
    """UsageError where the data's pictures have another resolution than the policy was written for."""
    for camera, pictures in arrays.images.items():
        height, width = pictures.shape[1:3]
        if (height, width) != (expected.image_size, expected.image_size):
            raise UsageError(
                f"{arrays.path} has pictures of {width} x {height} pixels of the camera '{camera}', and the policy "
                f"takes {expected.image_size} x {expected.image_size}: set observation.image_size or render them again."
            )
