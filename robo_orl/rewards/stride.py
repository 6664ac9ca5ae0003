"""A stride model, without any label: how many frames lie between two, and in which order?

STEAM classifies the signed stride of two frames of an episode. What moves the task on looks like later frames, whoever
does it; standing still or going back looks like a small or a negative stride. The reward of a frame is the mean stride
that the worst of several networks sees over the next `reach` frames, as a share of them.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field

from robo_orl.rewards.model import (
    BATCH,
    Frames,
    NetworkParams,
    RewardNetwork,
    draw,
    frames_of,
    kept,
    trained,
)
from robo_orl.rewards.source import Judgement, Material, Source, cumulative, episode_means


class Stride(Source):
    """The stride that two frames seem to have, learned from the order of frames alone."""

    class Params(NetworkParams):
        """Three networks see two frames each."""

        reach: int = Field(16, ge=1, description="frames over which a stride is measured, at most")
        bins: int = Field(17, ge=3, description="classes of strides from -reach to reach")
        networks: int = Field(3, ge=1, description="of which the worst counts")
        steps: int = Field(600, ge=1)

    def judge(self, material: Material) -> Judgement:
        """Strides of frames that no model was trained on are judged, too."""
        arrays = material.arrays
        names = [f"stride-{number}" for number in range(self.params.networks)]
        frames = frames_of(material, self.params, 2)
        strides = [material.parts.made(n, lambda n=n: self._strides(material, frames, n)) for n in names]
        reward = np.min(strides, axis=0)
        return Judgement(reward, score=episode_means(arrays, reward), progress=cumulative(arrays, reward))

    def _strides(self, material: Material, frames: Frames, name: str) -> np.ndarray:
        """(F,) of one network: the expected stride to the frame `reach` later, as a share."""
        params, arrays, edges = self.params, frames.arrays, self._edges()
        network = kept(material, name, frames, params, params.bins, lambda: self._trained(material, frames, name))
        at = np.arange(len(arrays.actions))
        to = moved(arrays.starts, arrays.episode_of_frame, at, np.full(len(at), params.reach))
        expected = np.concatenate([
            _expected(network, frames, at[i : i + BATCH], to[i : i + BATCH], edges) for i in range(0, len(at), BATCH)
        ])  # fmt: skip
        return expected / params.reach

    def _edges(self) -> np.ndarray:
        """(bins,) the centres of the classes."""
        return np.linspace(-self.params.reach, self.params.reach, self.params.bins)

    def _trained(self, material: Material, frames: Frames, name: str) -> RewardNetwork:
        params, arrays = self.params, frames.arrays
        among = arrays.frames(~material.labels.held_out)
        edges = self._edges()

        def loss(network: RewardNetwork, generator: np.random.Generator) -> torch.Tensor:
            at = draw(generator, among, params.batch)
            stride = generator.integers(-params.reach, params.reach + 1, size=params.batch)
            to = moved(arrays.starts, arrays.episode_of_frame[at], at, stride)
            target = np.abs((to - at)[:, None] - edges).argmin(1)
            logits = network(frames.observe(np.stack((at, to), axis=1)))
            return F.cross_entropy(logits, torch.from_numpy(target))

        return trained(frames, params, params.bins, loss, name, self.config.seed)


def moved(starts: np.ndarray, episode: np.ndarray, at: np.ndarray, stride: np.ndarray) -> np.ndarray:
    """(M,) the frames a stride away, at most at the ends of the episode."""
    return np.clip(at + stride, starts[episode], starts[episode + 1] - 1)


@torch.no_grad()
def _expected(network: RewardNetwork, frames: Frames, at: np.ndarray, to: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """(M,) the mean stride between frames; 0 where both are one."""
    logits = network(frames.observe(np.stack((at, to), axis=1))).double()
    return np.where(at == to, 0.0, logits.softmax(-1).numpy() @ edges)
