"""Batches of paired windows (types.PairedWindow) by one vectorised gather.

All that depends on a frame alone (returns, n-step rewards, where the pair's other half is) is computed once, so that a
batch is a row lookup. The paired batch makes a critic nearly free: B pairs are 2B observations for behaviour cloning
and B transitions for temporal differences, with one backbone pass (DESIGN.md, paired windows).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from robo_orl.data.cache import EpisodeArrays
from robo_orl.errors import UsageError
from robo_orl.rng import derive_seed
from robo_orl.types import Observation, PairedWindow


class PairedWindows:
    """Draws pairs of frames (t, t+n) of the same episode, each with its chunk of h actions.

    arrays: from `open_cache`. chunk: h. n: frames between the two halves. gamma: discount per frame.
    mask: draw from the episodes of this mask only (None = all).
    """

    def __init__(self, arrays: EpisodeArrays, chunk: int, n: int, gamma: float, mask: str | None = None):
        self.arrays, self.chunk, self.n, self.gamma = arrays, chunk, n, gamma
        self.frames = arrays.frames(arrays.chosen(mask))  # (G,) every frame that may be drawn
        self._episode = arrays.episode_of_frame  # (F,) and so below
        first = arrays.starts[self._episode]
        self._length = arrays.lengths[self._episode]
        self._frame = np.arange(len(self._episode)) - first
        self._last = first + self._length - 1
        self._next = first + (self._frame + n) % self._length
        self._return = returns_to_go(arrays, gamma)
        self._reward, self._discount, self._td_valid = self._transitions()
        self._stage = stages_before(arrays)

    def __len__(self) -> int:
        return len(self.frames)

    def batch(self, seed: int, step: int, rank: int, world: int, batch_size: int) -> PairedWindow:
        """The windows of one step: batch_size observations over all ranks, batch_size / 2 / world pairs for this rank.

        The draw is a function of (seed, step) alone: the ranks' batches, one after the other, are the batch of one
        rank. Raises UsageError where batch_size does not divide.
        """
        if batch_size % (2 * world):
            raise UsageError(
                f"A batch of {batch_size} observations does not divide into pairs on {world} processes; "
                f"choose a multiple of {2 * world}."
            )
        pairs = batch_size // 2 // world
        draw = self.draw(seed, step, batch_size // 2)
        return self.gather(draw[rank * pairs : (rank + 1) * pairs])

    def draw(self, seed: int, step: int, pairs: int) -> np.ndarray:
        """(pairs,) int64 frames for one step, uniform with replacement, for all ranks together."""
        generator = np.random.Generator(np.random.Philox(derive_seed(seed, step, "windows")))
        return self.frames[generator.integers(0, len(self.frames), pairs)]

    def gather(self, at: np.ndarray) -> PairedWindow:
        """The windows that begin at the frames `at` (B,) of the whole data."""
        after = self._next[at]
        actions, action_mask = self._chunks(at)
        next_actions, next_action_mask = self._chunks(after)
        episode = self._episode[at]
        return PairedWindow(
            obs=self._observation(at),
            next_obs=self._observation(after),
            actions=actions,
            action_mask=action_mask,
            next_actions=next_actions,
            next_action_mask=next_action_mask,
            reward=torch.from_numpy(self._reward[at]),
            discount=torch.from_numpy(self._discount[at]),
            td_valid=torch.from_numpy(self._td_valid[at]),
            return_to_go=torch.from_numpy(self._return[at].astype(np.float32)),
            next_return_to_go=torch.from_numpy(self._return[after].astype(np.float32)),
            steps_to_go=torch.from_numpy((self._last[at] - at + 1).astype(np.float32)),
            success=torch.from_numpy(self.arrays.success[episode]),
            stage=torch.from_numpy(self._stage[at]),
            episode=torch.from_numpy(episode),
            frame=torch.from_numpy(self._frame[at]),
        )

    def _observation(self, at: np.ndarray) -> Observation:
        return Observation({key: torch.from_numpy(values[at]) for key, values in self.arrays.obs.items()}, {})

    def _chunks(self, at: np.ndarray) -> tuple[Tensor, Tensor]:
        """Actions (B, h, A) from `at` and their mask (B, h), the last action repeated past the episode's end."""
        wanted = at[:, None] + np.arange(self.chunk)
        last = self._last[at][:, None]
        chunk = self.arrays.actions[np.minimum(wanted, last)]  # (B, h, A)
        return torch.from_numpy(chunk), torch.from_numpy(wanted <= last)

    def _transitions(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Per frame: the n-step reward and discount, float32, and whether they may be used, bool; (F,) each.

        The sum of n rewards is the difference of two returns: G_t - gamma^n G_{t+n}, in float64.
        """
        exists = self._frame + self.n < self._length  # s_{t+n} is in the episode
        ahead = np.where(exists, self._return[self._next], 0.0)
        decay = self.gamma**self.n
        reward = (self._return - decay * ahead).astype(np.float32)
        discount = np.where(exists, decay, 0.0).astype(np.float32)
        return reward, discount, exists | self.arrays.terminal[self._episode]


def returns_to_go(arrays: EpisodeArrays, gamma: float) -> np.ndarray:
    """(F,) float64, G_t = r_t + gamma G_{t+1} within each episode; all episodes step back one frame at a time."""
    returns = arrays.rewards.astype(np.float64)
    longest_first = np.argsort(-arrays.lengths, kind="stable")
    lengths, starts = arrays.lengths[longest_first], arrays.starts[:-1][longest_first]
    for frame in range(int(lengths[0]) - 2, -1, -1):
        reaching = np.searchsorted(-lengths, -(frame + 1), side="left")  # episodes that have a frame after this one
        at = starts[:reaching] + frame
        returns[at] += gamma * returns[at + 1]
    return returns


def stages_before(arrays: EpisodeArrays) -> np.ndarray:
    """(F,) int64, stages completed before each frame's action: `stages` is stored after it."""
    completed = arrays.stages.sum(1, dtype=np.int64)
    before = np.concatenate(([0], completed[:-1]))
    before[arrays.starts[:-1]] = 0
    return before
