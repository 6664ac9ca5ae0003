"""Coherent soft imitation learning (Watson et al. 2023, arXiv:2305.16498, equation 8): no reward has to be learned.

    r(s, a) = alpha ( log pi_BC(a | s) - log p(a) )

with p the prior that the cloned policy falls back to where it has no data. The paper needs a policy that is stationary,
so that it does fall back; here it is a Gaussian process over random Fourier features (Rahimi and Recht 2007), whose
posterior is in closed form: mean 0 and the prior's variance far from the demonstrations, where the reward is then 0.
"""

from __future__ import annotations

import numpy as np
from pydantic import Field
from scipy.linalg import cho_factor, cho_solve

from robo_orl.base.rng import derive_seed
from robo_orl.rewards.demonstrations import FrameParams, Points, points_of
from robo_orl.rewards.source import Judgement, Material, Source, episode_means

LARGEST = 2000  # frames of demonstrations that the posterior is conditioned on; more are thinned


class Csil(Source):
    """How much more likely an action is under a policy cloned from demonstrations than under its prior."""

    needs = "demonstrations"
    generalises = True

    class Params(FrameParams):
        """Actions are in their standard deviations."""

        features: int = Field(512, ge=2, description="random features")
        length: float = Field(0.5, gt=0, description="over which states are alike, in median distances of frames")
        noise: float = Field(0.3, gt=0, description="standard deviation of an action about its mean")
        alpha: float = Field(1.0, gt=0)
        clip: float = Field(5.0, gt=0, description="rewards below minus this are cut")

    def judge(self, material: Material) -> Judgement:
        """A reward of states and actions, which goes on at the end of an episode."""
        points = points_of(material, self.params, least=2)
        actions = np.asarray(material.arrays.actions, np.float64)
        actions = (actions - actions.mean(0)) / np.maximum(actions.std(0), 1e-2)
        reward = np.clip(self._ratios(points, actions), -self.params.clip, None)
        return Judgement(reward, score=episode_means(material.arrays, reward), lasting=True)

    def _ratios(self, points: Points, actions: np.ndarray) -> np.ndarray:
        """(F,) alpha times the log ratio; a demonstration's frames under the policy of the others."""
        features = self._features(points.points)
        frames = [np.arange(points.starts[e], points.starts[e + 1]) for e in points.demonstrations]
        ratios = self._ratio(features, actions, np.concatenate(frames), np.arange(len(actions)))
        for number, own in enumerate(frames):
            others = np.concatenate(frames[:number] + frames[number + 1 :])
            ratios[own] = self._ratio(features, actions, others, own)
        return self.params.alpha * ratios

    def _ratio(self, features: np.ndarray, actions: np.ndarray, given: np.ndarray, at: np.ndarray) -> np.ndarray:
        given = given[:: max(1, len(given) // LARGEST)]
        mean, variance = posterior(features[given], actions[given], features[at], self.params.noise)
        return log_ratio(actions[at], mean, variance, self.params.noise)

    def _features(self, points: np.ndarray) -> np.ndarray:
        """(F, W) -> (F, features) whose products are a Gaussian kernel of the distance."""
        generator = np.random.default_rng(derive_seed("fourier features", self.config.seed))
        pairs = generator.integers(len(points), size=(500, 2))
        typical = np.median(np.linalg.norm(points[pairs[:, 0]] - points[pairs[:, 1]], axis=1))
        scale = self.params.length * max(float(typical), 1e-12)
        directions = generator.normal(size=(points.shape[1], self.params.features)) / scale
        phases = generator.uniform(0, 2 * np.pi, self.params.features)
        return np.sqrt(2.0 / self.params.features) * np.cos(points @ directions + phases)


def posterior(given: np.ndarray, actions: np.ndarray, at: np.ndarray, noise: float) -> tuple[np.ndarray, np.ndarray]:
    """Mean (M, A) and variance (M,) of the noiseless action at features (M, D), from (N, D) and actions (N, A).

    Bayesian linear regression with weights N(0, 1).
    """
    precision = given.T @ given / noise**2 + np.eye(given.shape[1])
    factor = cho_factor(precision)
    weights = cho_solve(factor, given.T @ actions / noise**2)
    return at @ weights, np.einsum("md,dm->m", at, cho_solve(factor, at.T))


def log_ratio(actions: np.ndarray, mean: np.ndarray, variance: np.ndarray, noise: float) -> np.ndarray:
    """(M,) log N(a; mean, variance + noise^2) - log N(a; 0, 1 + noise^2), summed over the actions (M, A)."""
    own, prior = (variance + noise**2)[:, None], 1.0 + noise**2
    terms = -0.5 * ((actions - mean) ** 2 / own + np.log(own)) + 0.5 * (actions**2 / prior + np.log(prior))
    return terms.sum(1)
