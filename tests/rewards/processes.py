"""A small process whose rewards are known: a point on a line, whose place is how far the task is done.

An episode walks from 0 to its end; place 1 is success, place one half the first stage. No simulator.
"""

import numpy as np
from synthetic import episode, write


def walk(length, end, seed, turns=False):
    """An episode whose `object` shows the place; turns: it walks half of the way and then back."""
    share = np.linspace(0, 1, length + 1)
    place = end * (1 - np.abs(1 - 2 * share) if turns else share)
    made = episode(length, end >= 1 and not turns, seed=seed)
    noise = np.random.default_rng(seed).normal(size=(length + 1, 8)) * 0.001
    made.obs = {"robot0_eef_pos": noise[:-1, :3].astype(np.float32), "object": noise[:-1, 3:].astype(np.float32)}
    made.obs["object"][:, 0] += place[:-1]
    reached = place[1:]
    made.stages = np.maximum.accumulate(np.stack((reached >= 0.5, reached >= 1.0), 1).astype(np.uint8), axis=0)
    if not made.success:
        made.stages[:, 1] = 0
    return made


def walks(path, many=20, length=16):
    """A file of walks: every second one succeeds, the others end at 0.7."""
    return write(path, [walk(length + i % 5, 1.0 if i % 2 else 0.7, seed=i) for i in range(many)])
