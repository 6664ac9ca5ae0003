"""One scale of returns for every source.

Discounted returns-to-go of all frames of a file are brought to [0, 1] by one map, G' = (G - low) / (high - low). A
shift of returns by a constant is a shift of rewards by a constant potential (Ng et al. 1999), which changes the order
of no two policies; a shift of every reward would reward an episode for being long. Without one scale the temperatures
of objectives would be compared, and no value head would hold the returns.

A reward of states, such as a distance, goes on where an episode stops: its last frame counts for ever, r / (1 - gamma).
Otherwise a success, which ends the recording, would earn less than standing near it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from robo_orl.data.arrays import EpisodeArrays
from robo_orl.data.windows import returns_to_go

EQUAL = 1e-9  # of the largest return: returns that differ by less are one number


@dataclass(frozen=True, slots=True)
class ReturnScale:
    """The returns of a source before they are brought to [0, 1], at a discount a frame."""

    low: float
    high: float
    gamma: float

    @property
    def constant(self) -> bool:
        """True where all returns are one number, which is left as it is."""
        return self.high - self.low <= EQUAL * max(1.0, abs(self.high))

    def apply(self, arrays: EpisodeArrays, reward: np.ndarray) -> np.ndarray:
        """(F,) float64 rewards of the source -> rewards whose returns are (G - low) / (high - low)."""
        if self.constant:
            return reward
        shifted = reward - self.low * (1.0 - self.gamma)
        ends = arrays.starts[1:] - 1
        shifted[ends] = reward[ends] - self.low
        return shifted / (self.high - self.low)

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self)


def lasting(arrays: EpisodeArrays, reward: np.ndarray, gamma: float) -> np.ndarray:
    """(F,) rewards whose last frame of each episode counts for ever."""
    reward, ends = reward.copy(), arrays.starts[1:] - 1
    reward[ends] /= 1.0 - gamma
    return reward


def scale_of(arrays: EpisodeArrays, reward: np.ndarray, kept: np.ndarray, gamma: float) -> ReturnScale:
    """The scale of rewards (F,) float64 over the episodes that are kept (E,) bool."""
    returns = returns_to_go(replace(arrays, rewards=reward), gamma)[arrays.frames(kept)]
    return ReturnScale(float(returns.min()), float(returns.max()), gamma)
