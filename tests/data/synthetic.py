"""Small made-up episodes for tests that need no simulator."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from robo_orl.base.episode import Episode
from robo_orl.config import TaskConfig
from robo_orl.data import hdf5_schema as layout
from robo_orl.data.hdf5 import write_file

TASK = TaskConfig(name="toy", env="toy", stages=["grasped", "placed"], max_seconds=2.0)
SPEC = {"robot0_eef_pos": 3, "object": 5}
XML = '<mujoco><asset><mesh file="/somewhere/site-packages/robosuite/models/assets/a.obj"/></asset></mujoco>'


def episode(length: int, success: bool, seed: int = 0, **fields) -> Episode:
    """An episode of `length` frames; stage 1 is reached half way, stage 2 with the last action of a success."""
    draw = np.random.default_rng(seed)
    seen = {key: draw.normal(size=(length + 1, size)).astype(np.float32) for key, size in SPEC.items()}
    stages = np.zeros((length, 2), np.uint8)
    stages[length // 2 :, 0] = 1
    stages[-1, 1] = success
    ends = np.zeros(length, np.uint8)
    ends[-1] = success
    return Episode(
        **{
            "obs": {key: values[:-1] for key, values in seen.items()},
            "next_obs": {key: values[1:] for key, values in seen.items()},
            "actions": draw.uniform(-1, 1, (length, 7)).astype(np.float32),
            "rewards": ends.astype(np.float32),
            "dones": ends,
            "states": draw.normal(size=(length, 11)),
            "stages": stages,
            "success": success,
            "operator": "better_1",
            "grade": "better" if success else "worse",
            "start": seed,
            "model_xml": XML,
            "seed": seed,
        }
        | fields
    )


def made_by(episodes: int, next_obs: bool = False, task: TaskConfig = TASK) -> layout.Provenance:
    """The provenance of a synthetic file."""
    return layout.Provenance(
        task=task,
        regime="mh",
        seed=0,
        episodes=episodes,
        loop="exact",
        next_obs=next_obs,
        versions=layout.versions(),
    )


def write(path: Path, episodes: list[Episode], next_obs: bool = False, task: TaskConfig = TASK) -> Path:
    """A data file of these episodes."""
    write_file(path, made_by(len(episodes), next_obs, task), {"env_name": "Toy", "type": 1, "env_kwargs": {}}, episodes)
    return path
