"""Stage marks: one S-th at the frame at which each of the S stages is marked."""

from __future__ import annotations

import numpy as np

from robo_orl.base.errors import UsageError
from robo_orl.data.arrays import EpisodeArrays
from robo_orl.rewards.source import Judgement, Material, Source, cumulative


class Stages(Source):
    """A share of 1 for every stage that is reached, true or as an annotator marks it."""

    needs = "stages"
    noises = frozenset({"flip", "missing", "near_miss", "late", "late_share"})

    def check(self, arrays: EpisodeArrays) -> None:
        """Refuse a file whose episodes have no stages."""
        require_stages(arrays, self.config.name)

    def judge(self, material: Material) -> Judgement:
        """The last stage is the success."""
        arrays, marks = material.arrays, material.labels.marks  # (E, S)
        reward = np.zeros(len(arrays.rewards))
        episode, stage = np.nonzero(marks >= 0)
        np.add.at(reward, arrays.starts[episode] + marks[episode, stage], 1.0 / marks.shape[1])
        success = marks[:, -1] >= 0
        return Judgement(reward, success, score=(marks >= 0).mean(1), progress=cumulative(arrays, reward))


def require_stages(arrays: EpisodeArrays, reward: str) -> None:
    """UsageError where a file has no stages."""
    if not arrays.stages.shape[1]:
        raise UsageError(
            f"Reward {reward} needs stages, and the episodes of {arrays.path} have none: `robo-orl data convert` takes "
            "them from stored states, or take a reward of success bits."
        )
