"""The control of wrong credit: every episode has the task's own rewards of another one, at the same shares of it."""

from __future__ import annotations

import numpy as np

from robo_orl.base.errors import UsageError
from robo_orl.base.rng import derive_seed
from robo_orl.data.arrays import EpisodeArrays
from robo_orl.data.outcomes import Outcome
from robo_orl.rewards.source import Judgement, Material, Source


class Shuffled(Source):
    """Rewards and success moved along a ring of all episodes, so that none keeps its own."""

    def check(self, arrays: EpisodeArrays) -> None:
        """Refuse a file of one episode."""
        if len(arrays) < 2:
            raise UsageError(f"Reward {self.config.name} moves rewards between episodes, and {arrays.path} has one.")

    def judge(self, material: Material) -> Judgement:
        """The ring is the seed's."""
        arrays, count = material.arrays, len(material.arrays)
        order = np.random.default_rng(derive_seed("shuffled rewards", self.config.seed)).permutation(count)
        reward, success = np.zeros(len(arrays.rewards)), np.zeros(count, bool)
        for to, of in zip(order, np.roll(order, 1), strict=True):
            own = arrays.rewards[arrays.starts[of] : arrays.starts[of + 1]]
            outcome = Outcome(np.asarray(own, np.float64), None, np.zeros(len(own)), None, None)
            reward[arrays.starts[to] : arrays.starts[to + 1]] = outcome.stretched(int(arrays.lengths[to])).rewards
            success[to] = arrays.success[of]
        return Judgement(reward, success, score=success.astype(float))
