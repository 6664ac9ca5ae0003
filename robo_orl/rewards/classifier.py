"""A success classifier: the probability that an episode has succeeded, learned from the bits of a few.

Half of a batch are the last frames of labelled episodes, as often as they come, so that the probability of a last frame
is that of its episode; the other half are frames well before the end, which are no success yet. The reward is that
probability, at the last frame.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field

from robo_orl.base.errors import UsageError
from robo_orl.rewards.model import Frames, ModelParams, RewardNetwork, draw, frames_of, kept, predictions, trained
from robo_orl.rewards.source import Judgement, Material, Source, at_last_frames

EARLY = 10  # frames before the end at which nothing has succeeded yet


class Classifier(Source):
    """A probability of success, learned from success bits, for every episode."""

    needs = "success"
    generalises = True
    noises = frozenset({"flip", "missing", "near_miss"})

    class Params(ModelParams):
        """The threshold of the success bit."""

        threshold: float = Field(0.5, gt=0, lt=1, description="a probability above it is a success")

    def judge(self, material: Material) -> Judgement:
        """The probability at each episode's last frame."""
        score = material.parts.made("probability", lambda: self._probabilities(material))
        reward = at_last_frames(material.arrays, score)
        return Judgement(reward, score > self.params.threshold, score, probability=True)

    def _probabilities(self, material: Material) -> np.ndarray:
        """(E,)."""
        params = self.params
        frames = frames_of(material, params, params.history, params.gap)
        network = kept(material, "classifier", frames, params, 1, lambda: self._trained(material, frames))
        logits = predictions(network, frames, frames.arrays.starts[1:] - 1)[:, 0]
        return 1.0 / (1.0 + np.exp(-logits))

    def _trained(self, material: Material, frames: Frames) -> RewardNetwork:
        params, labels, arrays = self.params, material.labels, frames.arrays
        labelled = np.flatnonzero(labels.known)
        require_labels(labelled, self.config.name)
        ends, said = arrays.starts[1:][labelled] - 1, labels.success[labelled]
        early = np.concatenate([_early(arrays.starts[e], arrays.starts[e + 1]) for e in labelled])

        def loss(network: RewardNetwork, generator: np.random.Generator) -> torch.Tensor:
            chosen = generator.integers(len(ends), size=params.batch // 2)
            at = np.concatenate((ends[chosen], draw(generator, early, params.batch // 2)))
            target = np.concatenate((said[chosen], np.zeros(params.batch // 2)))
            logits = network(frames.observe(frames.windows(at)))[:, 0]
            return F.binary_cross_entropy_with_logits(logits, torch.from_numpy(target).float())

        return trained(frames, params, 1, loss, self.config.source, self.config.seed)


def _early(first: int, end: int) -> np.ndarray:
    """The frames of an episode well before its end, at least the first one."""
    return np.arange(first, max(first + 1, end - EARLY))


def require_labels(labelled: np.ndarray, reward: str) -> None:
    """UsageError where every label was lost."""
    if not len(labelled):
        raise UsageError(f"Reward {reward} learns from labels, and every one is missing: lower noise.missing.")
