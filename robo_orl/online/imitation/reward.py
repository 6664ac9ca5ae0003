"""The base of every reward by imitation, and windows whose rewards it gives when they are drawn.

Rewards of frames are between -1 and 1 times 1 - gamma, so that discounted returns are between -1 and 1 whatever the
source: learning rates and temperatures then mean the same. A pair's n rewards are summed with their discounts, as those
of the task are. B pairs, n frames of a backup, M points, W numbers of a point.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from robo_orl.base.errors import UsageError
from robo_orl.base.types import PairedWindow
from robo_orl.config import ImitationConfig, Strict, parse
from robo_orl.data.windows import PairedWindows
from robo_orl.online.imitation.points import PointScale, Side


class ImitationReward(nn.Module):
    """A reward of points. Its state dict is all that it has learned, moments included, and part of a checkpoint."""

    class Params(Strict):
        """The source's own parameters."""

    absorbing: ClassVar[bool] = False  # whether a terminal leads to a state that is rewarded for ever
    shows_collected: ClassVar[bool] = True  # whether the control without demonstrations means something

    def __init__(self, config: ImitationConfig, scale: PointScale, seed: int):
        super().__init__()
        self.config, self.scale, self.seed = config, scale, seed
        self.params = parse(self.Params, config.params, f"online.imitation.params of {config.source}")
        if config.shown == "collected" and not self.shows_collected:
            raise UsageError(
                f"online.imitation '{config.source}' learns before anything is collected: online.imitation.shown "
                "collected has no meaning there, leave it out."
            )

    def begin(self, shown: Side) -> None:
        """What is learned from the demonstrations once, before the first update."""

    def learn(self, shown: Side, collected: Side, seed: int, step: int) -> dict[str, Tensor]:
        """One update on points of both sides, a function of (seed, step); returns metrics."""
        return {}

    def reward(self, points: Tensor) -> Tensor:
        """(M, W) -> (M,) between -1 and 1."""
        raise NotImplementedError

    def newest(self, episodes: int) -> int:
        """Of so many collected episodes the first that points are drawn from."""
        return 0

    @torch.no_grad()
    def of_absorbing(self) -> float:
        """The reward of the absorbing state; 0 without one: what ends is worth nothing more."""
        if not self.absorbing:
            return 0.0
        point = torch.zeros(1, self.scale.width)
        point[0, -1] = 1.0
        return float(self.reward(point))


@dataclass(frozen=True)
class RewardedWindows:
    """Windows with rewards by imitation, as `Experience` reads them."""

    windows: PairedWindows
    source: ImitationReward

    def __len__(self) -> int:
        return len(self.windows)

    @property
    def frames(self) -> np.ndarray:
        """(G,) every frame that may be drawn."""
        return self.windows.frames

    def draw_sentences(self, seed: int, step: int, pairs: int) -> np.ndarray:
        """As of the windows."""
        return self.windows.draw_sentences(seed, step, pairs)

    def gather(self, at: np.ndarray, sentences: np.ndarray | None = None) -> PairedWindow:
        """The pairs at the frames (B,) with the rewards of this moment.

        Returns are not known and stand as NaN; a success is one only where the episode ends with it.
        """
        window, unknown = self.windows.gather(at, sentences), torch.full((len(at),), torch.nan)
        return replace(
            window,
            reward=torch.from_numpy(self.backed_up(at)),
            return_to_go=unknown,
            next_return_to_go=unknown,
            success=torch.from_numpy(self.windows.arrays.terminal.take(window.episode.numpy())),
        )

    @torch.no_grad()
    def backed_up(self, at: np.ndarray) -> np.ndarray:
        """(B,) float32: sum_k<n gamma^k (1 - gamma) r_{t+k}, and the absorbing state's for ever past a terminal:
        (1 - gamma) sum_{k >= T - t} gamma^k r_absorbing = gamma^(T - t) r_absorbing."""
        arrays, n, gamma = self.windows.arrays, self.windows.n, self.windows.gamma
        episode = arrays.episode_of_frame[at]
        left = arrays.starts[episode + 1] - at  # (B,) frames, this one included
        ahead = np.arange(n)
        inside = ahead < left[:, None]  # (B, n)
        frames = np.where(inside, at[:, None] + ahead, at[:, None])
        points = self.source.scale.points(arrays, frames.reshape(-1))
        rewards = self.source.reward(points).double().numpy().reshape(frames.shape)
        total = (1.0 - gamma) * (rewards * inside * gamma**ahead).sum(1)
        ended = arrays.terminal[episode] & (left <= n)
        total[ended] += gamma ** left[ended] * self.source.of_absorbing()
        return total.astype(np.float32)


@dataclass(frozen=True)
class Imitation:
    """The two sides that an update of the reward draws from; collected: None where nothing is."""

    source: ImitationReward
    shown: Side
    collected: Side | None

    def learn(self, seed: int, step: int) -> dict[str, Tensor]:
        """One update of the reward; none where it is a control that does not learn, or nothing is collected."""
        config = self.source.config
        if not config.learns or self.collected is None:
            return {}
        shown = self.collected if config.shown == "collected" else self.shown
        return self.source.learn(shown, self.collected, seed, step)
