"""Frames as points, what a reward by imitation compares: demonstrations on one side, collected episodes on the other.

A point has W numbers: the observation, standardised over the data; the action; and 1 for the absorbing state, in which
the others are 0. F frames, M points.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from robo_orl.base.errors import UsageError
from robo_orl.config import ImitationConfig
from robo_orl.data.arrays import EpisodeArrays
from robo_orl.rewards.labels import ask_order

LEAST = 1e-2  # of a standard deviation: numbers that stand still are not blown up


@dataclass(frozen=True)
class PointScale:
    """Mean and standard deviation of the observations of a file, (D,) each."""

    mean: np.ndarray
    std: np.ndarray
    action_dim: int

    @property
    def width(self) -> int:
        """W."""
        return len(self.mean) + self.action_dim + 1

    def points(self, arrays: EpisodeArrays, frames: np.ndarray) -> Tensor:
        """(M, W) float32 at the frames (M,); frame -1 is the absorbing state."""
        seen = (arrays.observations.take(frames, axis=0) - self.mean) / self.std
        there = np.concatenate((seen, arrays.actions.take(frames, axis=0), np.zeros((len(frames), 1))), axis=1)
        there[frames < 0] = 0.0
        there[frames < 0, -1] = 1.0
        return torch.from_numpy(there.astype(np.float32))


def scale_of(arrays: EpisodeArrays) -> PointScale:
    """The scale of a file's observations."""
    seen = np.asarray(arrays.observations, np.float64)
    return PointScale(seen.mean(0), np.maximum(seen.std(0), LEAST), arrays.actions.shape[1])


@dataclass(frozen=True)
class Side:
    """The episodes that points are drawn from. frames: (F,) theirs. ends: of them that ended in a terminal, each of
    which has one absorbing state, as often drawn as a frame."""

    arrays: EpisodeArrays
    frames: np.ndarray
    ends: int

    def draw(self, bits: np.ndarray) -> np.ndarray:
        """(M,) int64 frames by raw random bits (M,) uint64; -1 for an absorbing state."""
        place = (bits % np.uint64(len(self.frames) + self.ends)).astype(np.int64)
        return np.where(place < len(self.frames), self.frames.take(place, mode="clip"), -1)


def side_of(arrays: EpisodeArrays, chosen: np.ndarray, absorbing: bool) -> Side:
    """The episodes chosen (E,) bool; absorbing: whether their terminals lead to a state of their own."""
    return Side(arrays, arrays.frames(chosen), int((arrays.terminal & chosen).sum()) if absorbing else 0)


def demonstrations_of(arrays: EpisodeArrays, config: ImitationConfig, seed: int) -> np.ndarray:
    """(E,) bool: successful episodes of the data, as many as are shown, in the order in which `data relabel` asks.

    Raises UsageError where the data have fewer.
    """
    successes = int(arrays.success.sum())
    count = successes if config.demonstrations is None else config.demonstrations
    if count > successes or not successes:
        raise UsageError(
            f"online.imitation shows {count or 'some'} demonstrations, and {successes} episodes of {arrays.path} "
            "succeed: lower online.imitation.demonstrations, or give data with more."
        )
    order = ask_order(len(arrays), seed)
    chosen = np.zeros(len(arrays), bool)
    chosen[order[arrays.success[order]][:count]] = True
    return chosen
