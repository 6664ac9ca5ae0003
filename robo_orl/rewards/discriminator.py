"""Discriminators between demonstrations and the pool: the density ratio of the two is the reward.

`smodice`: SMODICE (Ma et al. 2022, arXiv:2202.02433, section 4.2): D tells frames of demonstrations (1) from frames of
the pool (0), with a gradient penalty of 10, and the reward is log D - log(1 - D), the log of the ratio.
`oril`: ORIL (Zolna et al. 2020, arXiv:2011.13885, equation 4): the pool holds successes, too, so that its frames are
not negative but unlabelled. With the share `prior` of good frames in it the risk of the negatives is

    E_pool[ -log(1 - D) ] - prior E_demos[ -log(1 - D) ],   at least 0,

beside prior E_demos[ -log D ], and the reward is D itself.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from robo_orl.base.rng import derive_seed
from robo_orl.rewards.demonstrations import PointParams, Points, points_of
from robo_orl.rewards.source import Judgement, Material, Source, episode_means


class DiscriminatorParams(PointParams):
    """SMODICE's network and training."""

    hidden: int = Field(256, ge=1)
    steps: int = Field(1000, ge=1)
    batch: int = Field(256, ge=2, description="half of it from the demonstrations")
    lr: float = Field(3e-4, gt=0)
    penalty: float = Field(10.0, ge=0, description="of the gradient's distance from 1, between the two")
    clip: float = Field(5.0, gt=0, description="the log ratio is cut here")


class Smodice(Source):
    """The log of how much more often a frame is a demonstration's than the pool's."""

    needs = "demonstrations"
    generalises = True

    class Params(DiscriminatorParams):
        """The values of the authors' code."""

    def judge(self, material: Material) -> Judgement:
        """A reward of states, which goes on at the end of an episode."""
        points = points_of(material, self.params)
        logits = material.parts.made("logits", lambda: self._logits(material, points))
        reward = self.reward(logits)
        return Judgement(reward, score=episode_means(material.arrays, reward), lasting=True)

    def reward(self, logits: np.ndarray) -> np.ndarray:
        """The log ratio is the logit: log D - log(1 - D)."""
        return np.clip(logits, -self.params.clip, self.params.clip)

    def risk(self, demonstrations: Tensor, pool: Tensor) -> Tensor:
        """The cross entropy, from the logits of both."""
        return cross_entropy(demonstrations, pool)

    def _logits(self, material: Material, points: Points) -> np.ndarray:
        """(F,)."""
        pool = np.concatenate([points.episode(e) for e in np.flatnonzero(~material.labels.held_out)])
        network = fitted(self, points.of_demonstrations(), pool)
        with torch.no_grad():
            return network(torch.from_numpy(points.points).float())[:, 0].double().numpy()


class Oril(Smodice):
    """The probability that a frame is a demonstration's, with the pool unlabelled and not negative."""

    class Params(DiscriminatorParams):
        """The paper searches the prior; one half is theirs where nothing is known."""

        prior: float = Field(0.5, gt=0, lt=1, description="share of the pool's frames that are as good")

    def reward(self, logits: np.ndarray) -> np.ndarray:
        """D."""
        return 1.0 / (1.0 + np.exp(-logits))

    def risk(self, demonstrations: Tensor, pool: Tensor) -> Tensor:
        """The risk with unlabelled frames; that of the negatives is at least 0."""
        prior = self.params.prior
        negatives = F.softplus(pool).mean() - prior * F.softplus(demonstrations).mean()
        return prior * F.softplus(-demonstrations).mean() + negatives.clamp(min=0)


def fitted(source: Smodice, demonstrations: np.ndarray, pool: np.ndarray) -> nn.Sequential:
    """The discriminator of two sets of points (M, W) and (N, W); a function of the source's seed."""
    params, width = source.params, demonstrations.shape[1]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed("discriminator", source.config.seed))
        network = point_network(width, params.hidden)
    optimiser = torch.optim.Adam(network.parameters(), params.lr)
    good, rest = torch.from_numpy(demonstrations).float(), torch.from_numpy(pool).float()
    half = params.batch // 2
    for step in range(params.steps):
        generator = np.random.default_rng(derive_seed("discriminator batch", source.config.seed, step))
        a = good[torch.from_numpy(generator.integers(len(good), size=half))]
        b = rest[torch.from_numpy(generator.integers(len(rest), size=half))]
        share = torch.from_numpy(generator.random((half, 1))).float()
        loss = source.risk(network(a)[:, 0], network(b)[:, 0])
        loss = loss + params.penalty * steepness(network, share * a + (1 - share) * b)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return network.eval()


def point_network(width: int, hidden: int) -> nn.Sequential:
    """Points (M, W) -> logits (M, 1), of two hidden layers."""
    layers = [nn.Linear(width, hidden), nn.Tanh(), nn.Linear(hidden, hidden), nn.Tanh()]
    return nn.Sequential(*layers, nn.Linear(hidden, 1))


def cross_entropy(demonstrations: Tensor, pool: Tensor) -> Tensor:
    """E[-log D] of demonstrations and E[-log(1 - D)] of the pool, from the logits of both."""
    return F.softplus(-demonstrations).mean() + F.softplus(pool).mean()


def steepness(network: Callable[[Tensor], Tensor], at: Tensor) -> Tensor:
    """The mean squared distance of the gradient's norm from 1 at points (M, W) (Gulrajani et al. 2017)."""
    at = at.detach().requires_grad_(True)
    (gradient,) = torch.autograd.grad(network(at).sum(), at, create_graph=True)
    return ((gradient.norm(dim=1) - 1.0) ** 2).mean()
