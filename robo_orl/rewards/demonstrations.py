"""Frames of demonstrations and of the pool as points: what the inferred rewards compare. F frames, W numbers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from pydantic import Field

from robo_orl.base.errors import UsageError
from robo_orl.config import Strict
from robo_orl.data.arrays import Reading
from robo_orl.data.cache import open_cache
from robo_orl.rewards.source import Material


class FrameParams(Strict):
    """The vectors of a frame that are read."""

    low_dim: list[str] | None = Field(None, min_length=1, description="keys of vectors; default: all of the data")


class PointParams(FrameParams):
    """The numbers of a frame that are compared."""

    actions: bool = Field(False, description="whether the action is among them")


@dataclass(frozen=True)
class Points:
    """points: (F, W) float64, standardised over the file. demonstrations: the episodes that are demonstrations.

    starts: (E + 1,) the first frame of each episode.
    """

    points: np.ndarray
    starts: np.ndarray
    demonstrations: np.ndarray

    def episode(self, number: int) -> np.ndarray:
        """(T, W) the points of an episode."""
        return self.points[self.starts[number] : self.starts[number + 1]]

    def of_demonstrations(self, without: int = -1) -> np.ndarray:
        """(M, W) the points of all demonstrations, one of them left out."""
        return np.concatenate([self.episode(e) for e in self.demonstrations if e != without])


def points_of(material: Material, params: FrameParams, least: int = 1) -> Points:
    """The frames of a file as points; UsageError for fewer demonstrations than `least`.

    A frame's own demonstration says nothing about it: where two are needed, one is compared with the others.
    """
    keys = None if params.low_dim is None else tuple(params.low_dim)
    arrays = open_cache(material.path, reading=Reading(keys=keys, rewards=False))
    demonstrations = np.flatnonzero(material.labels.known & material.labels.success)
    if len(demonstrations) < least:
        raise UsageError(
            f"A demonstration is compared with the others: give {least} or more with --labels, here "
            f"{len(demonstrations)}."
        )
    values = np.asarray(arrays.observations, np.float64)
    if isinstance(params, PointParams) and params.actions:
        values = np.concatenate((values, arrays.actions), axis=1)
    return Points((values - values.mean(0)) / np.maximum(values.std(0), 1e-2), arrays.starts, demonstrations)
