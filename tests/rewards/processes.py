"""A small process whose rewards are known: a point on a line, whose place is how far the task is done.

An episode walks from 0 to its end; place 1 is success, place one half the first stage. No simulator.
"""

import numpy as np
from synthetic import TASK, episode, made_by, write

from robo_orl.config import View
from robo_orl.data.hdf5 import write_file

CAMERA, SIDE = "agentview", 32


def walk(length, end, seed):
    """An episode whose `object` shows the place; whoever gets to the end pushes on, the others pull."""
    place = end * np.linspace(0, 1, length + 1)
    made = episode(length, end >= 1, seed=seed)
    noise = np.random.default_rng(seed).normal(size=(length + 1, 8)) * 0.001
    made.obs = {"robot0_eef_pos": noise[:-1, :3].astype(np.float32), "object": noise[:-1, 3:].astype(np.float32)}
    made.obs["object"][:, 0] += place[:-1]
    made.actions[:, 0] = 1.0 if end >= 1 else -1.0
    made.stages = np.stack((place[1:] >= 0.5, place[1:] >= 1.0), axis=1).astype(np.uint8)
    return made


def walks(path, many=20, length=16):
    """A file of walks: every second one succeeds, the others end at 0.7."""
    return write(path, [walk(length + i % 5, 1.0 if i % 2 else 0.7, seed=i) for i in range(many)])


def seen_walks(path, many=20, length=16):
    """The same walks, whose place is seen in a picture alone: a bright bar, and `object` says nothing."""
    episodes = [walk(length + i % 5, 1.0 if i % 2 else 0.7, seed=i) for i in range(many)]
    for made in episodes:
        place = made.obs["object"][:, 0].copy()
        made.obs["object"][:, 0] = 0.0
        pictures = np.full((len(place), SIDE, SIDE, 3), 30, np.uint8)
        for frame, at in enumerate(place):
            bar = int(round(at * (SIDE - 6)))
            pictures[frame, :, max(bar, 0) : bar + 6] = 230
        made.images = {f"{CAMERA}_image": pictures}
    provenance = made_by(many, task=TASK.model_copy(update={"instruction": "walk to the end"}))
    view = {"view": View(cameras=(CAMERA,), size=SIDE), "render": {"renderer": "egl"}}
    write_file(path, provenance.model_copy(update=view), {"env_name": "Toy", "type": 1, "env_kwargs": {}}, episodes)
    return path
