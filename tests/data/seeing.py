"""Synthetic episodes with pictures, for tests that need no simulator."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import synthetic

from robo_orl.base.episode import Episode
from robo_orl.config import TaskConfig, View
from robo_orl.data.hdf5 import write_file

CAMERAS = ("agentview", "robot0_eye_in_hand")
SIZE, LENGTHS = 16, (5, 9, 6)
RENDER = {"renderer": "egl", "look": "plain", "reference_sha256": "abc"}
TASK = synthetic.TASK.model_copy(update={"instruction": "lift the red cube"})
OTHER = TASK.model_copy(update={"name": "other", "instruction": "put the can into its bin"})


def episode(length: int, seed: int) -> Episode:
    """An episode whose picture at frame t is filled with t + 10 * seed (first camera), or 255 - that (second)."""
    mark = (np.arange(length + 1) + 10 * seed).astype(np.uint8)[:, None, None, None]
    whole = np.broadcast_to(mark, (length + 1, SIZE, SIZE, 3)).copy()
    pictures = {f"{CAMERAS[0]}_image": whole, f"{CAMERAS[1]}_image": 255 - whole}
    return synthetic.episode(
        length,
        seed % 2 == 0,
        seed,
        images={key: values[:-1] for key, values in pictures.items()},
        last_images={key: values[-1] for key, values in pictures.items()},
    )


def write(path: Path, next_obs: bool = False, task: TaskConfig = TASK) -> Path:
    """A data file of three such episodes."""
    made = synthetic.made_by(len(LENGTHS), next_obs, task)
    made = made.model_copy(update={"view": View(cameras=CAMERAS, size=SIZE), "render": RENDER})
    episodes = [episode(length, seed) for seed, length in enumerate(LENGTHS)]
    write_file(path, made, {"env_name": "Toy", "type": 1, "env_kwargs": {}}, episodes)
    return path
