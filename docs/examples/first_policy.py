"""From data to a success rate, then a policy that acts and an objective of one's own."""

import numpy as np

import robo_orl
from robo_orl.objectives import Objective

short = ["policy.optim.steps=200"]
robo_orl.generate_data("lift", "mg", episodes=20, out="runs/lift.hdf5")
robo_orl.train_policy("iql", "lift", "runs/lift.hdf5", "runs/iql", settings=short)
scores = robo_orl.evaluate_policy("runs/iql", episodes=20)
print(scores["success_once"])  # k, n and Wilson's 95 % interval

policy = robo_orl.load_policy("runs/iql")
observation = {key: np.zeros(size) for key, size in policy.low_dim.items()}
chunk = policy.act(observation)  # (h, A): execute policy.execute of them, then act anew
print(chunk.shape, policy.execute)


class MostlySuccesses(Objective):
    """Cloning in which a frame of a failed episode counts a fifth."""

    routes = {"actor": "policy"}  # the term "actor" trains the networks of the policy

    def losses(self, step):
        weight = step.both(step.window.success).float().clamp(min=0.2)  # (2B,)
        return {"actor": (weight * step.policy_loss()).mean()}, {}


robo_orl.register("objectives", "mostly_successes", MostlySuccesses)
mine = {"extends": "bc", "name": "mine", "objective": {"name": "mostly_successes"}}
robo_orl.train_policy(mine, "lift", "runs/lift.hdf5", "runs/mine", settings=short)
