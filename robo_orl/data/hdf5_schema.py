"""robomimic's HDF5 layout and what we add to it: the names, who made a file, and how one is opened.

data                attrs: total, env_args (robomimic) + format, task, task_digest, regime, seed, episodes, loop,
                    next_obs, versions, obs_keys; view and render (fingerprint) where there are pictures
data/demo_i         attrs: num_samples, model_file (robomimic) + success, operator, grade, start, seed
    obs/<key>       (T, D) float32            next_obs/<key>  only on request: robomimic's RL algorithms read it
    obs/<camera>_image (T, H, W, 3) uint8     of the view's cameras
    actions (T, A)  rewards (T,)  dones (T,)  states (T, Z) float64
                    + stages (T, S) uint8, start/<name>: all that the reset decided (envs/snapshot.py)
mask/<name>         names of demos as bytes
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
from pydantic import Field, ValidationError

from robo_orl.base.errors import UsageError
from robo_orl.base.machine import package_version
from robo_orl.config import ADDED, Loop, Strict, TaskConfig, View

FORMAT = 1
IMAGE = "_image"
GRADES = ("better", "okay", "worse")
PACKAGES = ("robo_orl", "robosuite", "mujoco", "numpy")  # what decides the numbers in a file


# What h5py and the reading of what it returns raise where the bytes inside a file are damaged.
DAMAGE = (OSError, RuntimeError, LookupError, ValueError, TypeError, AttributeError, ArithmeticError, MemoryError)


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
    view: View | None = Field(None, json_schema_extra=ADDED)
    render: dict[str, Any] | None = Field(
        None, description="what made the pictures (envs/rendering/fingerprint.py)", json_schema_extra=ADDED
    )

    def attributes(self) -> dict[str, str | int | bool]:
        """What is stored on the group `data`; nested values as JSON."""
        values = self.model_dump(mode="json")
        flat = {k: json.dumps(v, sort_keys=True) if isinstance(v, dict) else v for k, v in values.items()}
        return flat | {"task_digest": self.task.digest()}


def versions() -> dict[str, str]:
    """The installed versions of the packages that decide what an episode looks like."""
    return {name: package_version(name) or "not installed" for name in PACKAGES}


def provenance(file: h5py.File) -> Provenance | None:
    """Who made the file; None where it does not say (a file of robomimic's own)."""
    attributes = file["data"].attrs
    if "task" not in attributes:
        return None
    values = {k: attributes[k] for k in Provenance.model_fields if k in attributes}
    plain = {k: v.item() if hasattr(v, "item") else v for k, v in values.items()}
    try:
        nested = {k: json.loads(plain[k]) for k in ("task", "versions", "view", "render") if k in plain}
        return Provenance.model_validate(plain | nested)
    except (ValidationError, ValueError, KeyError) as error:
        raise UsageError(
            f"{file.filename} was written in another version of this format (ours is {FORMAT}); "
            f"generate it again: {' '.join(str(error).split())[:120]}."
        ) from None


def demo_names(file: h5py.File) -> list[str]:
    """demo_0, demo_1, ... by number, as robomimic orders them."""
    return sorted(file["data"], key=lambda name: int(name.removeprefix("demo_")))


def low_dim_keys(file: h5py.File) -> list[str]:
    """The vector observations of a file, in the task's order where it is stored."""
    attributes = file["data"].attrs
    obs = file["data"][demo_names(file)[0]]["obs"]
    order = json.loads(attributes["obs_keys"]) if "obs_keys" in attributes else sorted(obs)
    return [key for key in order if obs[key].ndim == 2]


def image_keys(file: h5py.File) -> list[str]:
    """The pictures of a file, "<camera>_image" as robomimic names them."""
    obs = file["data"][demo_names(file)[0]]["obs"]
    return sorted(key for key in obs if key.endswith(IMAGE) and obs[key].ndim == 4)


def masks(file: h5py.File) -> dict[str, list[str]]:
    """Mask name -> names of its demos."""
    return {name: [demo.decode() for demo in data[:]] for name, data in file.get("mask", {}).items()}


@contextmanager
def open_hdf5(path: Path | str) -> Iterator[h5py.File]:
    """Open for reading; what is missing or broken is a UsageError of one sentence."""
    path = Path(path)
    if path.is_dir():
        raise UsageError(f"{path} is a folder; give the HDF5 file in it.")
    if not path.is_file():
        raise UsageError(f"Data file {path} does not exist; `robo-orl data generate` makes one.")
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise UsageError(f"{path} {unreadable(path, error)}.") from None
    with file:
        yield file


def unreadable(path: Path, error: OSError) -> str:
    """Why HDF5 refuses a file, in words."""
    if "truncated" in str(error):
        return "is truncated: it ends before its contents do, so copy or generate it again"
    if not h5py.is_hdf5(path):
        return "is not an HDF5 file"
    return f"cannot be read ({' '.join(str(error).split())[:120]})"
