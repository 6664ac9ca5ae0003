"""A reward learned from preferences: of two windows, in which was more done?

Bradley and Terry (1952), as Christiano et al. (2017, arXiv:1706.03741, equation 1) use it:

    P(A preferred to B) = sigmoid( sum_A r - sum_B r )

The annotator prefers the window in which more of the task is done, and calls two in which nothing is done equal.
Windows are of episodes that are not held out, and a sum runs over `seen` frames spread over the window.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field

from robo_orl.base.errors import UsageError
from robo_orl.base.rng import derive_seed
from robo_orl.data.arrays import EpisodeArrays
from robo_orl.rewards.labels import true_marks
from robo_orl.rewards.model import Frames, ModelParams, RewardNetwork, frames_of, kept, predictions, trained
from robo_orl.rewards.progress import targets
from robo_orl.rewards.source import Judgement, Material, Source, cumulative, episode_means
from robo_orl.rewards.stages import require_stages

SAME = 1e-3  # of the task: windows whose gains differ by less are equal to the annotator


class Preferences(Source):
    """A reward of frames, learned from preferences between pairs of windows."""

    needs = "pairs"
    generalises = True
    noises = frozenset({"flip", "missing"})

    class Params(ModelParams):
        """Windows of 25 frames, of which five are summed."""

        window: int = Field(25, ge=2, description="frames of a window")
        seen: int = Field(5, ge=1, description="of them that are summed")
        batch: int = Field(16, ge=2, description="pairs a step")
        history: int = Field(2, ge=1)

    def check(self, arrays: EpisodeArrays) -> None:
        """Refuse a file without stages, by which the annotator judges, and a reward without a number of pairs."""
        require_stages(arrays, self.config.name)
        if self.config.labels is None:
            raise UsageError(f"Reward {self.config.name} learns from pairs: say how many with --labels.")
        if int((arrays.lengths > self.params.window).sum()) < 2:
            raise UsageError(f"Fewer than two episodes of {arrays.path} are longer than a window: lower params.window.")

    def judge(self, material: Material) -> Judgement:
        """The reward of each frame, between -1 and 1."""
        arrays = material.arrays
        reward = material.parts.made("preferred", lambda: self._rewards(material))
        return Judgement(reward, score=episode_means(arrays, reward), progress=cumulative(arrays, reward))

    def _rewards(self, material: Material) -> np.ndarray:
        """(F,)."""
        params = self.params
        frames = frames_of(material, params, params.history, params.gap)
        network = kept(material, "preferences", frames, params, 1, lambda: self._trained(material, frames))
        return np.tanh(predictions(network, frames, np.arange(len(frames.arrays.actions)))[:, 0])

    def _trained(self, material: Material, frames: Frames) -> RewardNetwork:
        params = self.params
        first, answers = self.pairs(frames.arrays, material.labels.held_out)
        spread = np.linspace(0, params.window - 1, params.seen).round().astype(np.int64)

        def loss(network: RewardNetwork, generator: np.random.Generator) -> torch.Tensor:
            chosen = generator.integers(len(first), size=params.batch)
            at = first[chosen][:, :, None] + spread  # (M, 2, seen)
            rewards = torch.tanh(network(frames.observe(frames.windows(at.reshape(-1))))[:, 0]).view(at.shape)
            return bradley_terry(rewards.sum(-1), torch.from_numpy(answers[chosen]).float())

        return trained(frames, params, 1, loss, self.config.source, self.config.seed)

    def pairs(self, arrays: EpisodeArrays, held_out: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(P, 2) the first frames of two windows, and (P,) the preference for the first: 1, 0, or one half."""
        generator = np.random.default_rng(derive_seed("pairs", self.config.seed))
        window, count, noise = self.params.window, self.config.labels, self.config.noise
        open_to = np.flatnonzero(~held_out & (arrays.lengths > window))
        episodes = open_to[generator.integers(len(open_to), size=(count, 2))]
        offset = (generator.random((count, 2)) * (arrays.lengths[episodes] - window)).astype(np.int64)
        first = arrays.starts[episodes] + offset
        done = targets(arrays, true_marks(arrays))[0]
        gain = done[first + window - 1] - done[first]
        apart = gain[:, 0] - gain[:, 1]
        answers = np.where(np.abs(apart) < SAME, 0.5, (apart > 0).astype(float))
        answers = np.where(generator.random(count) < noise.flip, 1.0 - answers, answers)
        there = generator.random(count) >= noise.missing
        if not there.any():
            raise UsageError(f"Reward {self.config.name} learns from labels, and every one is missing.")
        return first[there], answers[there]


def bradley_terry(sums: torch.Tensor, preferred: torch.Tensor) -> torch.Tensor:
    """The cross entropy of preferences (M,) for the first of two windows with summed rewards (M, 2)."""
    return F.binary_cross_entropy_with_logits(sums[:, 0] - sums[:, 1], preferred)
