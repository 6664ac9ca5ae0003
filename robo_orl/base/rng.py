"""Random draws that are a function of (seed, step, stream) alone, so that resuming needs no state and N processes
draw what one process would."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from robo_orl.base.seeds import derive_seed

__all__ = ["DrawPlan", "Draws", "FixedDraws", "PlannedDraws", "ScaledDraws", "derive_seed"]


class Draws:
    """The random numbers of one training step.

    Every call names its stream ("policy", "critic", ...): streams are independent, so that adding a critic leaves the
    policy's draws untouched. A draw is for the global batch, of which a rank computes its own part; drawing the same
    stream again in one step gives new numbers.
    """

    def __init__(self, seed: int, step: int, rank: int = 0, world: int = 1, device: torch.device | str = "cpu"):
        self.seed, self.step, self.rank, self.world, self.device = seed, step, rank, world, device
        self._streams: dict[str, Stream] = {}

    def normal(self, stream: str, *shape: int) -> Tensor:
        """Standard normal numbers of `shape`, whose first axis is this rank's part of the batch."""
        return self._drawn("normal", stream, shape).to(self.device)

    def uniform(self, stream: str, *shape: int) -> Tensor:
        """Uniform numbers in [0, 1) of `shape`, whose first axis is this rank's part of the batch."""
        return self._drawn("uniform", stream, shape).to(self.device)

    def _drawn(self, kind: str, stream: str, shape: tuple[int, ...]) -> Tensor:
        if stream not in self._streams:
            self._streams[stream] = Stream(derive_seed(self.seed, self.step, stream))
        own, of = math.prod(shape), self._streams[stream]
        draw = of.normal if kind == "normal" else of.uniform
        return draw(self.rank * own, own, self.world * own).view(shape)


VECTOR = 16  # numbers that torch.randn makes together, from as many uniform ones


class Stream:
    """A generator of torch's, of whose next `total` numbers a part is computed: exactly those of the whole draw.

    The bits before the part are passed over, more than half of the time of numbers; those after it only where the
    stream is drawn from again.
    """

    def __init__(self, seed: int):
        self._generator, self._left_out = torch.Generator().manual_seed(seed), 0

    def normal(self, first: int, count: int, total: int) -> Tensor:
        """(count,): those from `first` on of torch.randn(total)."""
        if total < VECTOR:
            return self._draw(torch.randn, 0, total, total)[first : first + count]
        start, end = first - first % VECTOR, min(total, -(-(first + count) // VECTOR) * VECTOR)
        rest = VECTOR if total % VECTOR else 0  # then the last 16 are made anew: to have them, draw to the end
        if rest and end > total - VECTOR:
            start, end = min(start, (total - VECTOR) // VECTOR * VECTOR), total
        drawn = self._draw(torch.randn, start, end - start, total)
        self._left_out += rest if end < total else 0
        return drawn[first - start : first - start + count]

    def uniform(self, first: int, count: int, total: int) -> Tensor:
        """(count,): those from `first` on of torch.rand(total)."""
        return self._draw(torch.rand, first, count, total)

    def _draw(self, make: Callable[..., Tensor], first: int, count: int, total: int) -> Tensor:
        before, self._left_out = self._left_out + first, total - first - count
        if before:
            torch.empty(before, dtype=torch.uint8).random_(generator=self._generator)  # 32 bits each, as a number takes
        return make(count, generator=self._generator)


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
            self._streams.clear()
            self.planned = self.planned[: self.served]
            for served in self.planned:
                self._drawn(*served)
        return _on_device(self._drawn(*request), self.device)


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
