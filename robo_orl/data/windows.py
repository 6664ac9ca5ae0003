"""Batches of paired windows (types.PairedWindow) by one vectorised gather.

All that depends on a frame alone (returns, n-step rewards, where the pair's other half is) is computed once, so that a
batch is a row lookup. The paired batch makes a critic nearly free: B pairs are 2B observations for behaviour cloning
and B transitions for temporal differences, with one backbone pass (DESIGN.md, paired windows).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from robo_orl.base.errors import UsageError
from robo_orl.base.seeds import raw_bits
from robo_orl.base.types import Observation, PairedWindow
from robo_orl.data.cache import EpisodeArrays


class PairedWindows:
    """Draws pairs of frames (t, t+n) of the same episode, each with its chunk of h actions.

    arrays: from `open_cache`. chunk: h. n: frames between the two halves. gamma: discount per frame.
    mask: draw from the episodes of this mask only (None = all). history: k, frames that an observation holds (the first
    one of the episode repeated before it). instructions: ids and mask (N, L) of N sentences, one drawn for each pair.
    cut_short: near the end of an episode that a timeout ended, t+n is its last frame, fewer than n after t.
    chosen_by: of the mask's episodes those to draw from, (M,) bool, given their discounted returns (M,); None = all.
    part: (F,) bool, the frames to draw from, None = all: pairs and chunks then stay within a run of such frames.
    """

    def __init__(
        self,
        arrays: EpisodeArrays,
        chunk: int,
        n: int,
        gamma: float,
        mask: str | None = None,
        history: int = 1,
        instructions: tuple[Tensor, Tensor] | None = None,
        cut_short: bool = False,
        chosen_by: Callable[[np.ndarray], np.ndarray] | None = None,
        part: np.ndarray | None = None,
    ):
        self.arrays, self.chunk, self.n, self.gamma = arrays, chunk, n, gamma
        self.instructions, self._behind = instructions, np.arange(history)[::-1]
        self.sentences = 1 if instructions is None else len(instructions[0])  # N
        episode = arrays.episode_of_frame  # (F,) and so below
        first, length = arrays.starts[episode], arrays.lengths[episode]
        frame = np.arange(len(episode)) - first
        run, size = (first, length) if part is None else _runs(arrays, part)  # (F,) its first frame, and its length
        last, at = run + size - 1, np.arange(len(episode)) - run
        terminal = arrays.terminal[episode] & (last == first + length - 1)
        left = size - 1 - at
        ahead = np.where(cut_short & ~terminal & (left > 0), np.minimum(left, n), n)
        after, returns = run + (at + ahead) % size, returns_to_go(arrays, gamma)
        chosen = arrays.chosen(mask).copy()
        if chosen_by is not None:
            chosen[chosen] = chosen_by(returns[arrays.starts[:-1][chosen]])
        frames = arrays.frames(chosen)
        self.frames = frames if part is None else frames[part[frames]]  # (G,) every frame that may be drawn
        decay = gamma ** (ahead if cut_short else n)
        transitions = _transitions(returns, after, at + ahead < size, terminal, decay)
        # One row a frame: a random row misses the processor's cache once, random elements of six columns six times.
        self._counts = np.stack((episode, frame, stages_before(arrays), last, after), axis=1)  # (F, 5) int64
        self._numbers = np.stack((returns, returns[after], length - frame, *transitions), axis=1, dtype=np.float32)
        self._ahead, self._first = np.arange(chunk), first
        ends = np.cumsum(list(arrays.spec.values()), dtype=int).tolist()
        self._places = {key: slice(end - arrays.spec[key], end) for key, end in zip(arrays.spec, ends, strict=True)}

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def return_range(self) -> tuple[float, float]:
        """The lowest and the highest discounted return of a frame that may be drawn."""
        returns = self._numbers[self.frames, 0]
        return float(returns.min()), float(returns.max())

    def batch(self, seed: int, step: int, rank: int, world: int, batch_size: int) -> PairedWindow:
        """The windows of one step: batch_size observations over all ranks, batch_size / 2 / world pairs for this rank.

        The draw is a function of (seed, step) alone: the ranks' batches, one after the other, are the batch of one
        rank. Raises UsageError where batch_size does not divide.
        """
        check_divides(batch_size, world)
        pairs = batch_size // 2 // world
        mine = slice(rank * pairs, (rank + 1) * pairs)
        draw = self.draw(seed, step, batch_size // 2)[mine]
        return self.gather(draw, self.draw_sentences(seed, step, batch_size // 2)[mine])

    def draw(self, seed: int, step: int, pairs: int) -> np.ndarray:
        """(pairs,) int64 frames for one step, uniform with replacement, for all ranks together."""
        bits = raw_bits(pairs, seed, step, "windows")
        return self.frames.take((bits % np.uint64(len(self.frames))).astype(np.int64))

    def draw_sentences(self, seed: int, step: int, pairs: int) -> np.ndarray:
        """(pairs,) int64: the sentence of each pair, uniform."""
        if self.sentences == 1:
            return np.zeros(pairs, np.int64)
        bits = raw_bits(pairs, seed, step, "instructions")
        return (bits % np.uint64(self.sentences)).astype(np.int64)

    def gather(self, at: np.ndarray, sentences: np.ndarray | None = None) -> PairedWindow:
        """The windows that begin at the frames `at` (B,) of the whole data; sentences (B,): by default the first one.

        Rows are looked up with `take` (a third of the cost of indexing) and cut apart in numpy, not in torch: with 64
        pairs the time goes into the calls, and torch's are dearer.
        """
        pairs, tensor = len(at), torch.from_numpy
        episode, frame, stage, last, after = np.ascontiguousarray(self._counts.take(at, axis=0).T)
        numbers = np.ascontiguousarray(self._numbers.take(at, axis=0).T)
        returns, next_returns, steps_to_go, reward, discount, td_valid = numbers
        told = sentences if sentences is not None else np.zeros(pairs, np.int64)
        actions, mask = self._chunks(np.concatenate((at, after)), np.concatenate((last, last)))
        return PairedWindow(
            obs=self._observation(self._seen(at), told),
            next_obs=self._observation(self._seen(after), told),
            actions=tensor(actions[:pairs]),
            action_mask=tensor(mask[:pairs]),
            next_actions=tensor(actions[pairs:]),
            next_action_mask=tensor(mask[pairs:]),
            reward=tensor(reward),
            discount=tensor(discount),
            td_valid=tensor(td_valid > 0),
            return_to_go=tensor(returns),
            next_return_to_go=tensor(next_returns),
            steps_to_go=tensor(steps_to_go),
            success=tensor(self.arrays.success.take(episode)),
            stage=tensor(stage),
            episode=tensor(episode),
            frame=tensor(frame),
        )

    def _seen(self, at: np.ndarray) -> np.ndarray:
        """The frames (M,), or with a history (M, k), that the observation at each frame (M,) holds, oldest first."""
        if len(self._behind) == 1:
            return at
        return np.maximum(at[:, None] - self._behind, self._first.take(at)[:, None])

    def _observation(self, at: np.ndarray, sentences: np.ndarray) -> Observation:
        """The observations that hold the frames `at` (M,) or (M, k), told the sentences (M,).

        Pictures stay (..., H, W, 3) in memory, the layout that convolutions are fastest on, and are only seen the other
        way round.
        """
        rows = self.arrays.observations.take(at, axis=0)  # (..., W), the keys side by side
        low_dim = {key: torch.from_numpy(rows[..., place]) for key, place in self._places.items()}
        images = {
            camera: torch.from_numpy(pictures.take(at, axis=0)).movedim(-1, -3)  # (..., 3, H, W)
            for camera, pictures in self.arrays.images.items()
        }
        if self.instructions is None:
            return Observation(low_dim, images)
        told = torch.from_numpy(sentences)
        return Observation(low_dim, images, *(table[told] for table in self.instructions))

    def _chunks(self, at: np.ndarray, last: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Actions (B, h, A) from `at` and their mask (B, h), the last action of the episode repeated past its end."""
        frames, last = at[:, None] + self._ahead, last[:, None]
        return self.arrays.actions.take(np.minimum(frames, last), axis=0), frames <= last


def check_divides(batch_size: int, world: int) -> None:
    """UsageError where a batch does not divide into pairs on `world` processes."""
    if batch_size % (2 * world):
        raise UsageError(
            f"A batch of {batch_size} observations does not divide into pairs on {world} processes; "
            f"choose a multiple of {2 * world}."
        )


def _transitions(
    returns: np.ndarray, ahead: np.ndarray, exists: np.ndarray, terminal: np.ndarray, decay: float | np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Per frame: the n-step reward, its discount, and whether they may be used; (F,) each.

    ahead: the frame of s_{t+n}; exists: whether the episode has it; terminal: whether the episode ended in a terminal;
    decay: gamma^n, one or (F,). The sum of n rewards is the difference of two returns, G_t - gamma^n G_{t+n} in float64
    """
    discount = np.where(exists, decay, 0.0)
    return returns - discount * returns[ahead], discount, exists | terminal


def _runs(arrays: EpisodeArrays, part: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Per frame the first frame and the length of its run: the longest stretch of one episode that lies in `part`
    (F,) bool, or outside of it; (F,) each."""
    begins = np.concatenate(([True], part[1:] != part[:-1]))
    begins[arrays.starts[:-1]] = True
    starts = np.flatnonzero(begins)
    number = np.cumsum(begins) - 1
    return starts[number], np.diff(starts, append=len(part))[number]


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
