"""What an update draws: pairs of the run's data and of the replay, mixed as the policy's `online.replay` says."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from robo_orl.base.seeds import raw_bits
from robo_orl.base.types import PairedWindow
from robo_orl.config import PolicyConfig, RunConfig
from robo_orl.data.windows import PairedWindows, check_divides
from robo_orl.engine.task_data import joined, make_windows
from robo_orl.objectives import OBJECTIVES
from robo_orl.online.imitation.reward import Imitation, RewardedWindows
from robo_orl.online.replay import Replay


@dataclass(frozen=True)
class Experience:
    """The interface of PairedWindows over data, collected episodes or both. mix: as in ReplayConfig.

    half takes every second pair from either; where nothing is collected yet, all pairs are of the data. A mix of data
    is never given collected windows. imitation: what rewards the pairs, None where the task does.
    """

    data: PairedWindows | RewardedWindows | None
    collected: PairedWindows | RewardedWindows | None
    mix: str
    imitation: Imitation | None = None

    def learn(self, seed: int, step: int) -> dict[str, Tensor]:
        """One update of the rewards, before the pairs of the step are drawn; returns metrics."""
        return {} if self.imitation is None else self.imitation.learn(seed, step)

    def batch(self, seed: int, step: int, rank: int, world: int, batch_size: int) -> PairedWindow:
        """As PairedWindows.batch: a function of (seed, step), and the ranks' batches are the batch of one rank."""
        check_divides(batch_size, world)
        pairs = batch_size // 2
        mine = slice(rank * (pairs // world), (rank + 1) * (pairs // world))
        of_data, place = (part[mine] for part in self._draw(seed, step, pairs))
        parts, order = [], []
        for windows, chosen in ((self.data, of_data), (self.collected, ~of_data)):
            at = np.flatnonzero(chosen)
            if windows is not None and len(at):
                sentences = windows.draw_sentences(seed, step, pairs)[mine][at]
                parts.append(windows.gather(windows.frames[place[at] % len(windows)], sentences))
                order.append(at)
        back = torch.from_numpy(np.argsort(np.concatenate(order), kind="stable"))
        return joined(parts).map(lambda t: t[back]) if len(parts) > 1 else parts[0]

    def _draw(self, seed: int, step: int, pairs: int) -> tuple[np.ndarray, np.ndarray]:
        """(pairs,) bool: whether a pair is of the data; (pairs,) int64: its place there, to be taken modulo its size.

        Raw bits modulo a number of frames, as in PairedWindows.draw.
        """
        bits = raw_bits(pairs, seed, step, "experience")
        data, collected = len(self.data or ()), len(self.collected or ())
        if not data or not collected:
            return np.full(pairs, bool(data)), (bits % np.uint64(data or collected)).astype(np.int64)
        if self.mix == "half":
            of_data = np.arange(pairs) % 2 == 0
            return of_data, np.where(of_data, bits % np.uint64(data), bits % np.uint64(collected)).astype(np.int64)
        place = (bits % np.uint64(data + collected)).astype(np.int64)
        return place < data, np.where(place < data, place, place - data)


def successes_alone(policy: PolicyConfig) -> bool:
    """True where failures that are collected are not drawn."""
    return policy.online.replay.outcomes == "success" or OBJECTIVES[policy.objective.name].needs_success


def collected_windows(run: RunConfig, replay: Replay, keys: list[str], episodes: int) -> PairedWindows | None:
    """The windows of the first `episodes` episodes, of the successes alone where the policy says so.

    None without any, and where the policy learns from data alone.

    keys: the vectors that training reads. Raises UsageError where returns leave the range of the value head.
    """
    success = successes_alone(run.policy)
    if run.policy.online.replay.mix == "data" or not any(
        episode.success or not success for episode in replay.episodes[:episodes]
    ):
        return None
    source = run.tasks[0].model_copy(update={"filter": "success" if success else None})
    arrays = replay.arrays(keys, source.task, episodes)
    return make_windows(run.model_copy(update={"tasks": [source]}), [arrays])
