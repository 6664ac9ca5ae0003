"""robomimic's HDF5 layout and what we add to it: the names, who made a file, and how one is opened.

data                attrs: total, env_args (robomimic) + format, task, task_digest, regime, seed, episodes, loop,
                    next_obs, versions, obs_keys; view and render (fingerprint) where there are pictures
data/demo_i         attrs: num_samples, model_file (robomimic) + success, operator, grade, start, seed; ended, where an
                    edit says that the episode ends in a terminal without success; true_success, labelled where
                    rewards and success are those of a source (rewards/relabel.py), which data says in `reward`
    obs/<key>       (T, D) float32            next_obs/<key>  only on request: robomimic's RL algorithms read it
    obs/<camera>_image (T, H, W, 3) uint8     of the view's cameras
    actions (T, A)  rewards (T,)  dones (T,)  states (T, Z) float64
                    + stages (T, S) uint8, start/<name>: all that the reset decided (envs/snapshot.py)
mask/<name>         names of demos as bytes
"""

from __future__ import annotations

import errno
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from pydantic import Field, ValidationError

from robo_orl.base.errors import UsageError
from robo_orl.base.machine import package_version
from robo_orl.base.os_errors import READ_REMEDY
from robo_orl.config import Loop, Strict, TaskConfig, View, sha256_of
from robo_orl.data.layouts import other_file, other_folder

FORMAT = 1
IMAGE = "_image"
ENDED = "ended"
REWARD = "reward"
GRADES = ("better", "okay", "worse")
PACKAGES = ("robo_orl", "robosuite", "mujoco", "numpy")  # what decides the numbers in a file


# What h5py and the reading of what it returns raise where the bytes inside a file are damaged.
DAMAGE = (OSError, RuntimeError, LookupError, ValueError, TypeError, AttributeError, ArithmeticError, MemoryError)


NESTED = ("task", "versions", "view", "render", "source")  # stored as JSON


class Provenance(Strict):
    """The request that a file answers: equal requests give equal files."""

    format: int = FORMAT
    task: TaskConfig
    regime: str
    seed: int
    episodes: int
    loop: Loop
    next_obs: bool
    versions: dict[str, str]
    view: View | None = None
    source: dict[str, str] | None = Field(None, description="the file of other software that it was converted from")
    render: dict[str, Any] | None = Field(None, description="what made the pictures (envs/rendering/renderer.py)")

    def attributes(self) -> dict[str, str | int | bool]:
        """The attributes of the group `data`; nested values as JSON."""
        values = {k: v for k, v in self.model_dump(mode="json").items() if v is not None}
        flat = {k: json.dumps(v, sort_keys=True) if isinstance(v, dict) else v for k, v in values.items()}
        return flat | {"task_digest": self.task.digest()}


def digest_fits(file: h5py.File) -> bool:
    """True where the stored task_digest is of the stored task. Files of 0.1 hash its text, description included."""
    attributes = file["data"].attrs
    values = json.loads(attributes["task"])
    return attributes.get("task_digest") in (TaskConfig.model_validate(values).digest(), sha256_of(values))


def versions() -> dict[str, str]:
    """The installed versions of the packages that decide what an episode looks like."""
    return {name: package_version(name) or "not installed" for name in PACKAGES}


def provenance(file: h5py.File) -> Provenance | None:
    """The origin of a file; None where it does not say (a file of robomimic's own)."""
    attributes = file["data"].attrs
    if "task" not in attributes:
        return None
    values = {k: attributes[k] for k in Provenance.model_fields if k in attributes}
    plain = {k: v.item() if hasattr(v, "item") else v for k, v in values.items()}
    if plain.get("format", FORMAT) != FORMAT:
        raise UsageError(
            f"{file.filename} was written in format {plain['format']}, and this robo-orl reads format {FORMAT}: "
            "read it with the version that wrote it, or generate it again."
        )
    try:
        nested = {k: json.loads(plain[k]) for k in NESTED if k in plain}
        return Provenance.model_validate(plain | nested)
    except (ValidationError, ValueError, KeyError) as error:
        raise UsageError(
            f"{file.filename} was written in another version of this format (ours is {FORMAT}); "
            f"generate it again: {' '.join(str(error).split())[:120]}."
        ) from None


def demo_names(file: h5py.File) -> list[str]:
    """The episodes: groups named demo_N, by number, as robomimic orders them."""
    names = [name for name in file["data"] if name.startswith("demo_") and name[5:].isdecimal()]
    return sorted(names, key=lambda name: int(name[5:]))


ALIASES = {"object": "object-state"}  # robomimic's name of a key -> robosuite's, which some converters keep


def stored_name(obs: h5py.Group, key: str) -> str | None:
    """The name under which a group of observations holds `key`; None where it does not."""
    return next((name for name in (key, ALIASES.get(key)) if name is not None and name in obs), None)


def low_dim_sizes(file: h5py.File) -> dict[str, int]:
    """Key -> numbers a frame of the vectors (T, D) and numbers (T,) that every episode has, in the task's order."""
    sizes: dict[str, int] = {}
    demos = [file["data"][name]["obs"] for name in demo_names(file)]
    common = set.intersection(*(set(obs) for obs in demos)) if demos else set()
    for key in common | {key for key in ALIASES if all(stored_name(obs, key) for obs in demos)}:
        data = demos[0][stored_name(demos[0], key)]
        if isinstance(data, h5py.Dataset) and data.ndim in (1, 2) and data.dtype.kind in "fiu":
            sizes[key] = data.shape[1] if data.ndim == 2 else 1
    for key, alias in ALIASES.items():
        if key in sizes:
            sizes.pop(alias, None)
    attributes = file["data"].attrs
    order = json.loads(attributes["obs_keys"]) if "obs_keys" in attributes else []
    first = [key for key in order if key in sizes]
    return {key: sizes[key] for key in (*first, *sorted(set(sizes) - set(first)))}


def stage_count(file: h5py.File) -> int:
    """S, the number of stages that every episode stores; 0 where they differ or one has none."""
    demos = [file["data"][name] for name in demo_names(file)]
    counts = {demo["stages"].shape[1] if "stages" in demo and demo["stages"].ndim == 2 else 0 for demo in demos}
    return counts.pop() if len(counts) == 1 else 0


def image_keys(file: h5py.File) -> list[str]:
    """The pictures of a file, "<camera>_image" as robomimic names them."""
    obs = file["data"][demo_names(file)[0]]["obs"]
    return sorted(key for key in obs if key.endswith(IMAGE) and obs[key].ndim == 4)


def env_args(file: h5py.File) -> dict[str, Any]:
    """robomimic's description of the environment; empty where the file has none that can be read.

    Raw robosuite recordings have the environment's name and arguments apart.
    """
    attributes = file["data"].attrs
    if "env_args" in attributes:
        return _json_object(attributes["env_args"])
    name = {"env_name": str(attributes["env"])} if "env" in attributes else {}
    return name | ({"env_kwargs": _json_object(attributes["env_info"])} if "env_info" in attributes else {})


def action_names(file: h5py.File) -> list[str]:
    """The names of the numbers of an action; none where the file does not say, or says another count."""
    names = _json_object(file["data"].attrs.get("names", "{}")).get("actions", [])
    return [str(name) for name in names] if len(names) == _action_size(file) else []


def action_range(file: h5py.File) -> list[list[float]] | None:
    """The low and the high end (A,) of what the actions were scaled to [-1, 1] from; None where they were not."""
    try:
        low, high = np.array(json.loads(file["data"].attrs["action_range"]), np.float64)
    except (KeyError, ValueError, TypeError):
        return None
    return [low.tolist(), high.tolist()] if low.shape == high.shape == (_action_size(file),) else None


def _action_size(file: h5py.File) -> int:
    shape = file["data"][demo_names(file)[0]]["actions"].shape
    return shape[1] if len(shape) == 2 else 1


def _json_object(text: Any) -> dict[str, Any]:
    try:
        values = json.loads(text)
    except (ValueError, TypeError):
        return {}
    return values if isinstance(values, dict) else {}


def view_of(file: h5py.File) -> View | None:
    """The pictures that a file says it has; None where it has none, or does not say how they were made."""
    return View.model_validate(_json_object(file["data"].attrs["view"])) if "view" in file["data"].attrs else None


def render_of(file: h5py.File) -> dict[str, Any] | None:
    """The fingerprint of what made the pictures of a file; None where it does not say."""
    return _json_object(file["data"].attrs["render"]) or None if "render" in file["data"].attrs else None


def masks(file: h5py.File) -> dict[str, list[str]]:
    """Mask name -> names of its demos."""
    return {name: [_text(demo) for demo in data[:]] for name, data in file.get("mask", {}).items()}


def write_masks(file: h5py.File, masks: dict[str, list[str]]) -> None:
    """Write masks, the demos of each by number."""
    for mask, members in sorted(masks.items()):
        names = sorted(members, key=lambda name: int(name[5:]))
        file.create_dataset(f"mask/{mask}", data=np.array(names, "S16"))


def _text(name: bytes | str) -> str:
    return name.decode() if isinstance(name, bytes) else str(name)


@contextmanager
def open_hdf5(path: Path | str) -> Iterator[h5py.File]:
    """Open for reading; a missing file and one in another format are a UsageError of one sentence."""
    path = Path(path)
    if path.is_dir():
        raise UsageError(f"{path} {other_folder(path) or 'is a folder; give the HDF5 file in it'}.")
    if not path.exists():
        raise UsageError(f"Data file {path} does not exist; `robo-orl data generate` makes one.")
    if not path.is_file():
        raise UsageError(f"{path} is a pipe or a device; give a regular HDF5 file.")
    try:
        file = _open(path)
    except OSError as error:
        raise UsageError(f"{path} {unreadable(path, error)}.") from None
    with file:
        yield file


def _open(path: Path) -> h5py.File:
    """The file for reading; without a lock where the file system has none."""
    try:
        return h5py.File(path, "r")
    except OSError as error:
        text = str(error)
        if "unable to lock file" in text and f"errno = {errno.EAGAIN}," not in text:
            return h5py.File(path, "r", locking=False)
        raise


def unreadable(path: Path, error: OSError) -> str:
    """The reason why HDF5 refuses a file, in words."""
    text = str(error)
    if isinstance(error, PermissionError) or error.errno == errno.EACCES:
        return f"cannot be read: this user has no permission; {READ_REMEDY}"
    if "unable to lock file" in text or "already open for write" in text:
        return "is open for writing in another process: wait until that has closed it, or stop it"
    if "truncated" in text:
        return "is truncated: it ends before its contents do, so copy or generate it again"
    return other_file(path) or (
        "is not an HDF5 file" if not h5py.is_hdf5(path) else f"cannot be read ({' '.join(text.split())[:120]})"
    )
