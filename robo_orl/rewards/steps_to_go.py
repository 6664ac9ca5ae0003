"""Minus one a frame until success.

A failure is charged as if it went on for ever: its return is the lowest, -1 / (1 - gamma), at every frame. On the one
scale of returns this is the discounted success bit: -(1 - gamma^k) / (1 - gamma), k frames before it, becomes gamma^k.
`failures: truncated` leaves a failure where its recording stops, as most software does: its last frames then look as
good as the last ones before a success.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field

from robo_orl.config import Strict
from robo_orl.rewards.source import Judgement, Material, Source, at_last_frames


class StepsToGo(Source):
    """Minus one a frame until success; needs the success bit."""

    needs = "success"
    noises = frozenset({"flip", "missing", "near_miss"})

    class Params(Strict):
        """What a failure is charged at its last frame."""

        failures: Literal["for_ever", "truncated"] = Field("for_ever", description="as if it went on, or nothing")

    def judge(self, material: Material) -> Judgement:
        """An episode without a label is a failure."""
        arrays, said = material.arrays, material.labels.success
        last = np.where(said, 0.0, -1.0 / (1.0 - material.gamma) if self.params.failures == "for_ever" else -1.0)
        ends = at_last_frames(arrays, np.ones(len(arrays))) > 0
        return Judgement(np.where(ends, at_last_frames(arrays, last), -1.0), said, score=said.astype(float))
