"""Random draws that are a function of (seed, step, stream) alone, so that resuming needs no state and N processes
draw what one process would."""

from __future__ import annotations

import torch
from torch import Tensor

from robo_orl.base.seeds import derive_seed

__all__ = ["Draws", "FixedDraws", "ScaledDraws", "derive_seed"]


class Draws:
    """The random numbers of one training step.

    Every call names its stream ("policy", "critic", ...): streams are independent, so that adding a critic leaves the
    policy's draws untouched. A draw is made for the global batch and sliced by rank; drawing the same stream again in
    one step gives new numbers.
    """

    def __init__(self, seed: int, step: int, rank: int = 0, world: int = 1, device: torch.device | str = "cpu"):
        self.seed, self.step, self.rank, self.world, self.device = seed, step, rank, world, device
        self._generators: dict[str, torch.Generator] = {}

    def _generator(self, stream: str) -> torch.Generator:
        if stream not in self._generators:
            self._generators[stream] = torch.Generator().manual_seed(derive_seed(self.seed, self.step, stream))
        return self._generators[stream]

    def normal(self, stream: str, *shape: int) -> Tensor:
        """Standard normal numbers of `shape`, whose first axis is this rank's part of the batch."""
        whole = torch.randn(shape[0] * self.world, *shape[1:], generator=self._generator(stream))
        return whole[self.rank * shape[0] : (self.rank + 1) * shape[0]].to(self.device)

    def uniform(self, stream: str, *shape: int) -> Tensor:
        """Uniform numbers in [0, 1) of `shape`, whose first axis is this rank's part of the batch."""
        whole = torch.rand(shape[0] * self.world, *shape[1:], generator=self._generator(stream))
        return whole[self.rank * shape[0] : (self.rank + 1) * shape[0]].to(self.device)


class ScaledDraws:
    """Other draws, of which the normal numbers of one stream are times `scale`; no stream moves by more or less."""

    def __init__(self, draws: Draws, stream: str, scale: float):
        self.draws, self.stream, self.scale = draws, stream, scale

    def normal(self, stream: str, *shape: int) -> Tensor:
        """Normal numbers of `shape`, of standard deviation `scale` in the scaled stream and 1 in the others."""
        numbers = self.draws.normal(stream, *shape)
        return self.scale * numbers if stream == self.stream else numbers

    def uniform(self, stream: str, *shape: int) -> Tensor:
        """Uniform numbers in [0, 1) of `shape`, as they are."""
        return self.draws.uniform(stream, *shape)


class FixedDraws:
    """Other draws, of which the normal numbers of one stream are the same for every row, at every decision.

    They are a function of `seed` and the shape of a row; no stream moves by more or less.
    """

    def __init__(self, draws: Draws, stream: str, seed: int):
        self.draws, self.stream, self.seed = draws, stream, seed

    def normal(self, stream: str, *shape: int) -> Tensor:
        """Normal numbers of `shape`: in the fixed stream one draw of shape[1:], repeated."""
        numbers = self.draws.normal(stream, *shape)
        if stream != self.stream:
            return numbers
        generator = torch.Generator().manual_seed(derive_seed(self.seed, "fixed noise"))
        return torch.randn(*shape[1:], generator=generator).to(numbers).expand(shape)

    def uniform(self, stream: str, *shape: int) -> Tensor:
        """Uniform numbers in [0, 1) of `shape`, as they are."""
        return self.draws.uniform(stream, *shape)
