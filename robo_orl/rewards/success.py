"""The success bit: 1 at the last frame of an episode that is called a success, 0 elsewhere."""

from __future__ import annotations

from robo_orl.rewards.source import Judgement, Material, Source, at_last_frames


class Success(Source):
    """The terminal success bit of each episode, true or as an annotator says."""

    needs = "success"
    noises = frozenset({"flip", "missing", "near_miss"})

    def judge(self, material: Material) -> Judgement:
        """The labels themselves."""
        said = material.labels.success
        return Judgement(at_last_frames(material.arrays, said), said, score=said.astype(float))
