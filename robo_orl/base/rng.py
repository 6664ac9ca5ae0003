"""Random draws that are a function of (seed, step, stream) alone, so that resuming needs no state and N processes
draw what one process would."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from robo_orl.base.seeds import derive_seed

__all__ = ["DrawPlan", "Draws", "FixedDraws", "PlannedDraws", "ScaledDraws", "derive_seed"]


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


@dataclass
class DrawPlan:
    """The draws of the last step, in their order: those of the next one are likely the same, with other numbers."""

    requests: list[tuple[str, str, tuple[int, ...]]] = field(default_factory=list)


class PlannedDraws(Draws):
    """The numbers of `Draws`, made all at once by a plan and copied to the device in one piece, without waiting for it.

    A step that draws something else than the plan says gets what `Draws` would give it, a copy each, and its own draws
    are the next plan.
    """

    def __init__(
        self, plan: DrawPlan, seed: int, step: int, rank: int = 0, world: int = 1, device: torch.device | str = "cpu"
    ):
        super().__init__(seed, step, rank, world, device)
        self.plan, self.planned, self.served = plan, list(plan.requests), 0
        plan.requests = []
        made = [self._drawn(*request) for request in self.planned]
        self.whole = _on_device(torch.cat([numbers.flatten() for numbers in made]), device) if made else None
        self._at = 0

    def normal(self, stream: str, *shape: int) -> Tensor:
        """As those of `Draws`."""
        return self._next("normal", stream, shape)

    def uniform(self, stream: str, *shape: int) -> Tensor:
        """As those of `Draws`."""
        return self._next("uniform", stream, shape)

    def _next(self, kind: str, stream: str, shape: tuple[int, ...]) -> Tensor:
        request = (kind, stream, shape)
        self.plan.requests.append(request)
        if self.served < len(self.planned) and self.planned[self.served] == request:
            self.served += 1
            first, self._at = self._at, self._at + math.prod(shape)
            return self.whole[first : self._at].view(shape)
        if self.served < len(self.planned):  # no plan of this step: the generators go back to where the plan was left
            self._generators.clear()
            self.planned = self.planned[: self.served]
            for served in self.planned:
                self._drawn(*served)
        return _on_device(self._drawn(*request), self.device)

    def _drawn(self, kind: str, stream: str, shape: tuple[int, ...]) -> Tensor:
        make = torch.randn if kind == "normal" else torch.rand
        whole = make(shape[0] * self.world, *shape[1:], generator=self._generator(stream))
        return whole[self.rank * shape[0] : (self.rank + 1) * shape[0]]


def _on_device(numbers: Tensor, device: torch.device | str) -> Tensor:
    """A copy that the processor does not wait for, from pinned memory."""
    if torch.device(device).type == "cuda":
        return numbers.pin_memory().to(device, non_blocking=True)
    return numbers.to(device)


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
