"""Nearness to demonstrations: exp(-beta d), d the distance of a frame to the nearest frame of a demonstration.

SEABO (Lyu et al. 2024, arXiv:2402.03807, equation 5), whose distance is over (s, a, s'), with k = 1 and beta 0.5; here
over the observation, and with `actions` over (s, a). A demonstration is compared with the others, not with itself.
"""

from __future__ import annotations

import numpy as np
from pydantic import Field
from scipy.spatial import cKDTree

from robo_orl.rewards.demonstrations import PointParams, Points, points_of
from robo_orl.rewards.source import Judgement, Material, Source, episode_means


class Nearest(Source):
    """How near a frame is to a frame of some demonstrations."""

    needs = "demonstrations"
    generalises = True

    class Params(PointParams):
        """beta in units of the mean distance of the file's frames."""

        beta: float = Field(0.5, gt=0, description="how fast the reward falls with the distance")

    def judge(self, material: Material) -> Judgement:
        """A reward of states, which goes on at the end of an episode."""
        points = points_of(material, self.params, least=2)
        apart = distances(points)
        reward = np.exp(-self.params.beta * apart / max(apart.mean(), 1e-12))
        return Judgement(reward, score=episode_means(material.arrays, reward), lasting=True)


def distances(points: Points) -> np.ndarray:
    """(F,) of every frame to the nearest frame of a demonstration that is another episode."""
    everything = cKDTree(points.of_demonstrations())
    apart = everything.query(points.points)[0]
    for e in points.demonstrations:
        own = slice(points.starts[e], points.starts[e + 1])
        apart[own] = cKDTree(points.of_demonstrations(without=e)).query(points.episode(e))[0]
    return apart
