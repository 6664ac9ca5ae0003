"""What the loader benchmarks share: a made-up data file, robomimic's side, and loaders that take turns."""

from __future__ import annotations

import contextlib
import io
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch

from robo_orl.base.episode import Episode
from robo_orl.config import TaskConfig, View
from robo_orl.data import hdf5_schema as layout
from robo_orl.data.hdf5 import write_file

Batches = Iterator[object]
Name = TypeVar("Name")
TASK = TaskConfig(name="made_up", env="chain", stages=["placed"], max_seconds=20)
ACTIONS, PIXELS = 7, 84


def write_made_up(path: Path, spec: dict[str, int], episodes: int, length: int, cameras: Sequence[str] = ()) -> Path:
    """A valid file of TASK with random numbers in it: keys of `spec`, pictures of 84 pixels of `cameras`."""
    who = {"regime": "mg", "seed": 0, "loop": "exact", "next_obs": False, "versions": layout.versions()}
    view = View(cameras=tuple(cameras)) if cameras else None
    made = layout.Provenance(task=TASK, episodes=episodes, view=view, **who)
    several = (_episode(i, length, spec, cameras) for i in range(episodes))
    write_file(path, made, {"env_name": "MadeUp", "env_kwargs": {}}, several)
    return path


def _episode(number: int, length: int, spec: dict[str, int], cameras: Sequence[str]) -> Episode:
    draw = np.random.default_rng(number)
    ends = (np.arange(length) == length - 1).astype(np.uint8)
    seen = {f"{camera}_image": draw.integers(0, 256, (length, PIXELS, PIXELS, 3), dtype=np.uint8) for camera in cameras}
    return Episode(
        obs={key: draw.normal(size=(length, size)).astype(np.float32) for key, size in spec.items()},
        next_obs={},
        actions=draw.uniform(-1, 1, (length, ACTIONS)).astype(np.float32),
        rewards=ends.astype(np.float32),
        dones=ends,
        states=np.zeros((length, 1)),
        stages=ends[:, None],
        success=True,
        operator="made up",
        grade="",
        start=number,
        model_xml="<mujoco/>",
        images=seen,
    )


def robomimic_dataset(
    path: Path, low_dim: Sequence[str], rgb: Sequence[str] = (), *, mode: str | None, length: int = 1, history: int = 1
) -> torch.utils.data.Dataset:
    """robomimic's windows of `length` frames after a history; mode: what it holds in memory (None, low_dim, all)."""
    from robomimic.utils import obs_utils
    from robomimic.utils.dataset import SequenceDataset

    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        obs_utils.initialize_obs_utils_with_obs_specs({"obs": {"low_dim": list(low_dim), "rgb": list(rgb)}})
        return SequenceDataset(
            str(path),
            [*low_dim, *rgb],
            ("actions", "rewards"),
            frame_stack=history,
            seq_length=length,
            hdf5_cache_mode=mode,
            load_next_obs=False,
        )


def robomimic_batches(dataset: torch.utils.data.Dataset, batch: int) -> Batches:
    """Shuffled batches for ever, as robomimic's train.py makes them without worker processes."""
    while True:
        yield from torch.utils.data.DataLoader(dataset, batch_size=batch, shuffle=True, drop_last=True, num_workers=0)


def batches_per_second(loaders: dict[Name, Batches], rounds: int, seconds: float) -> dict[Name, list[float]]:
    """Of each loader in each round of about `seconds` a loader, all by turns; a first round is thrown away."""
    found: dict[Name, list[float]] = {name: [] for name in loaders}
    for turn in range(rounds + 1):
        for name in list(loaders) if turn % 2 else reversed(list(loaders)):
            rate = _rate(loaders[name], seconds)
            found[name] += [rate] if turn else []
    return found


def _rate(batches: Batches, seconds: float) -> float:
    """At least one batch."""
    count, start = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - start) < seconds:
        next(batches)
        count += 1
    return count / elapsed
