"""The policy's side of an evaluation: one batched call, whose answer for an episode depends on that episode alone."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import Tensor

from robo_orl.evaluate.rollouts import Ask
from robo_orl.rng import derive_seed
from robo_orl.types import Observation


class EpisodeDraws:
    """The random numbers of one decision in each of B episodes, with the interface of `rng.Draws`.

    An episode's numbers are a function of (seed, episode, decision, stream): who else is in the batch, how many
    processes simulate and what was run again after a crash change nothing.
    """

    def __init__(self, seed: int, asks: list[Ask], device: torch.device | str, dtype: torch.dtype):
        self.seed, self.asks, self.device, self.dtype = seed, asks, device, dtype
        self._generators: dict[str, list[torch.Generator]] = {}

    def _rows(self, draw: Callable[..., Tensor], stream: str, shape: tuple[int, ...]) -> Tensor:
        """shape[0] rows, an equal share for each episode, in the order of the batch."""
        share, rest = divmod(shape[0], len(self.asks))
        if rest:
            raise ValueError(f"{shape[0]} rows cannot be shared by {len(self.asks)} episodes")
        if stream not in self._generators:
            self._generators[stream] = [
                torch.Generator().manual_seed(derive_seed(self.seed, ask.episode, ask.decision, stream))
                for ask in self.asks
            ]
        rows = [draw(share, *shape[1:], generator=generator) for generator in self._generators[stream]]
        return torch.cat(rows).to(self.device, self.dtype)

    def normal(self, stream: str, *shape: int) -> Tensor:
        """Standard normal numbers of `shape`."""
        return self._rows(torch.randn, stream, shape)

    def uniform(self, stream: str, *shape: int) -> Tensor:
        """Uniform numbers in [0, 1) of `shape`."""
        return self._rows(torch.rand, stream, shape)
