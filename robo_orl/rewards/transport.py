"""Optimal transport to demonstrations: what moving an episode's frames onto a demonstration's costs each frame.

OTR (Luo et al. 2023, arXiv:2303.13971, equations 4 and 5): with mu* the plan of least cost between the frames of an
episode (T of them, each of weight 1 / T) and those of a demonstration,

    r_t = - sum_t' C(s_t, s'_t') mu*(t, t')

by Sinkhorn's iterations with entropy `epsilon`, cosine distance, the best of the demonstrations. The paper squashes the
costs by 5 exp(5 T r_t); here by exp(- scale T c_t / 2m) with m the median cost, since all returns are brought to one
scale after it. A demonstration is compared with the others.
"""

from __future__ import annotations

import numpy as np
from pydantic import Field

from robo_orl.rewards.demonstrations import PointParams, Points, points_of
from robo_orl.rewards.source import Judgement, Material, Source, episode_means


class Transport(Source):
    """The cost of moving each frame of an episode onto a demonstration."""

    needs = "demonstrations"
    generalises = True

    class Params(PointParams):
        """The values of the paper; frames are thinned, a plan grows with their square."""

        epsilon: float = Field(0.01, gt=0, description="entropy, as a share of the largest cost")
        iterations: int = Field(100, ge=1)
        every: int = Field(4, ge=1, description="frames between two that are moved")
        scale: float = Field(5.0, gt=0)

    def judge(self, material: Material) -> Judgement:
        """A reward of states, which goes on at the end of an episode."""
        arrays = material.arrays
        points = points_of(material, self.params, least=2)
        cost = material.parts.made("transport", lambda: self._costs(points))
        reward = np.exp(-self.params.scale * cost / max(np.median(cost) * 2, 1e-12))
        return Judgement(reward, score=episode_means(arrays, reward), lasting=True)

    def _costs(self, points: Points) -> np.ndarray:
        """(F,) the cost of each frame under the best demonstration's plan; frames between two have the first one's."""
        return np.concatenate([self._of_episode(points, e) for e in range(len(points.starts) - 1)])

    def _of_episode(self, points: Points, number: int) -> np.ndarray:
        own, every = points.episode(number), self.params.every
        best: np.ndarray | None = None
        for e in points.demonstrations[points.demonstrations != number]:
            cost = cosine_distances(own[::every], points.episode(e)[::every])
            plan = sinkhorn(cost, self.params.epsilon, self.params.iterations)
            paid = (plan * cost).sum(1) * len(cost)  # of a frame of weight 1
            if best is None or paid.sum() < best.sum():
                best = paid
        return np.repeat(best, every)[: len(own)]


def cosine_distances(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """(T, W), (U, W) -> (T, U), from 0 to 2."""
    a = one / np.maximum(np.linalg.norm(one, axis=1, keepdims=True), 1e-12)
    b = other / np.maximum(np.linalg.norm(other, axis=1, keepdims=True), 1e-12)
    return 1.0 - a @ b.T


def sinkhorn(cost: np.ndarray, epsilon: float, iterations: int) -> np.ndarray:
    """The plan (T, U) between uniform weights of least cost with entropy; in logarithms, so that none underflows.

    Cuturi (2013). epsilon: of the largest cost. The last step fits the rows, whose sums are what rewards are made of.
    """
    rows, columns = cost.shape
    kernel = -cost / (epsilon * max(float(cost.max()), 1e-12))
    f, g = np.zeros(rows), np.zeros(columns)
    for _ in range(iterations):
        g = -np.log(columns) - _log_sum(kernel + f[:, None], axis=0)
        f = -np.log(rows) - _log_sum(kernel + g[None], axis=1)
    return np.exp(kernel + f[:, None] + g[None])


def _log_sum(values: np.ndarray, axis: int) -> np.ndarray:
    top = values.max(axis=axis, keepdims=True)
    return np.log(np.exp(values - top).sum(axis=axis)) + np.squeeze(top, axis)
