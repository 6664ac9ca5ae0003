"""Record a demonstrator of one's own: it walks to the target, a third of the way at most, with an unsteady hand."""

from pathlib import Path

import numpy as np

import robo_orl

TASK = Path(__file__).parent / "tasks" / "reach.yaml"
draw = np.random.default_rng(0)


def demonstrator(observation, environment):
    """An action within [-1, 1], which is stretched to the action space: here 1 is ten centimetres."""
    way = observation["target"] - observation["place"]
    return np.clip(way / 3 / 0.1, -1, 1) + draw.normal(0, 0.02, 2)


print(robo_orl.record_data(str(TASK), demonstrator, episodes=40, out="reach.hdf5")["all"])
