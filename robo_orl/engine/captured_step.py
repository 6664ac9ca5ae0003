"""The whole training step as one recorded call: forward, backward, clip, update and slow copies.

A small policy takes as long as its launches do. On a GPU the step is recorded once as a CUDA graph and then replayed:
one call of the processor starts all of its kernels. The recording reads and writes the same memory in every step, so
that windows, draws and learning rates are copied into their places first.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from robo_orl.base.errors import RunError, UsageError
from robo_orl.base.rng import PlannedDraws
from robo_orl.base.types import PairedWindow
from robo_orl.config import PolicyConfig
from robo_orl.engine.packed import PackedWindow

Metrics = dict[str, Tensor]
Body = Callable[[], Metrics]
Record = Callable[[Body], Callable[[], Metrics]]  # a body, run before -> a call that repeats it into the same tensors
Request = tuple[str, str, tuple[int, ...]]  # of a draw: kind, stream, shape
REMEDY = "set optim.capture to off"
WARM_UP = 3  # steps that run as usual before the recording: moments are allocated, kernels chosen

# (device, engine) on which a recorded step was measured against the step as usual, by benchmarks/capture.py on a GPU:
# `optim.capture: auto` records there. None is measured yet.
EVIDENCE: frozenset[tuple[str, str]] = frozenset()


def why_not_captured(policy: PolicyConfig, alone: bool) -> str | None:
    """The reason why a policy's step cannot be recorded, None where it can. alone: one process, without DeepSpeed."""
    if not alone:
        return "several processes, or DeepSpeed, exchange gradients in a step"
    if policy.optim.accumulation > 1:
        return "its batch is read in parts (optim.accumulation)"
    if policy.optim.policy_ema:
        return "the rate of an averaged policy changes from step to step (optim.policy_ema)"
    if policy.backbone.kind != "transformer":
        return "the masks of a vlm are read by the processor"
    return "compiled blocks have recordings of their own (backbone.compile)" if policy.backbone.compile else None


def captures(policy: PolicyConfig, device: torch.device, alone: bool) -> bool:
    """Whether the step is recorded. UsageError where the policy wants it (`optim.capture: on`) and it cannot be."""
    why_not = why_not_captured(policy, alone) if device.type == "cuda" else "there is no GPU"
    if policy.optim.capture == "on" and why_not is not None:
        raise UsageError(f"The training step of '{policy.name}' cannot be recorded, since {why_not}: {REMEDY}.")
    if policy.optim.capture in ("off", "compile") or why_not is not None:
        return False
    return policy.optim.capture == "on" or (torch.cuda.get_device_name(device), "single") in EVIDENCE


class PlacedDraws:
    """The draws of a step in memory that stays where it is: a recording reads the numbers of the step that replays."""

    def __init__(self, requests: Sequence[Request], whole: Tensor | None):
        """requests: (kind, stream, shape) of each draw in its order. whole: all of their numbers, for their type."""
        self.requests = list(requests)
        self.whole = None if whole is None else torch.empty_like(whole)
        self.served = self.at = 0

    @classmethod
    def of(cls, draws: PlannedDraws) -> PlacedDraws:
        """For steps that draw what `draws` are planned for."""
        return cls(draws.planned, draws.whole)

    def load(self, draws: PlannedDraws) -> None:
        """Put the numbers of a step in place, and leave the plan to the next one."""
        draws.plan.requests = list(self.requests)
        self.put(draws.whole)

    def put(self, whole: Tensor | None) -> None:
        """Put numbers in place."""
        if self.whole is not None:
            self.whole.copy_(whole, non_blocking=True)

    def restart(self) -> PlacedDraws:
        """From the first draw on."""
        self.served = self.at = 0
        return self

    def normal(self, stream: str, *shape: int) -> Tensor:
        """As those of `Draws`."""
        return self._next(("normal", stream, shape))

    def uniform(self, stream: str, *shape: int) -> Tensor:
        """As those of `Draws`."""
        return self._next(("uniform", stream, shape))

    def _next(self, request: tuple) -> Tensor:
        if self.requests[self.served : self.served + 1] != [request]:
            raise RunError(f"A recorded step draws what its first steps drew, and not {request}: {REMEDY}.")
        first, self.at, self.served = self.at, self.at + math.prod(request[2]), self.served + 1
        return self.whole[first : self.at].view(request[2])


@dataclass
class Recording:
    """The recorded step of one agent. `body(window, draws)` is the step without its learning rate."""

    body: Callable[[PairedWindow, Any], Metrics]
    device: torch.device
    record: Record
    steps: int = 0
    replay: Callable[[], Metrics] | None = None
    places: PackedWindow | None = None
    window: PairedWindow | None = None
    draws: PlacedDraws | None = None

    def run(self, window: PairedWindow, draws: PlannedDraws) -> Metrics:
        """One step on a window of this device or of the host; its metrics are the caller's."""
        self.steps += 1
        if self.steps <= WARM_UP:
            return self._as_usual(window, draws)
        if self.replay is None:
            self.places, self.draws = PackedWindow.of(window), PlacedDraws.of(draws)
        if not self.places.fits(window):
            raise RunError(f"A recorded step reads windows of one shape, and this one has another: {REMEDY}.")
        self.window = self.places.send(window, self.device, static=True)
        self.draws.load(draws)
        if self.replay is None:
            self.replay = self.record(lambda: self.body(self.window, self.draws.restart()))
        return {name: value.clone() for name, value in self.replay().items()}

    def _as_usual(self, window: PairedWindow, draws: PlannedDraws) -> Metrics:
        window = window.to(self.device)
        if self.device.type != "cuda":
            return self.body(window, draws)
        side = torch.cuda.Stream(self.device)  # autograd remembers the stream of its first pass
        side.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(side):
            metrics = self.body(window, draws)
        torch.cuda.current_stream(self.device).wait_stream(side)
        return metrics


def as_cuda_graph(body: Body) -> Callable[[], Metrics]:
    """Record a body as a CUDA graph; the call replays it. RunError where the body waits for the device."""
    graph = torch.cuda.CUDAGraph()
    try:
        with torch.cuda.graph(graph):
            metrics = body()
    except RuntimeError as error:
        raise RunError(f"Kernels cannot be recorded here ({str(error).splitlines()[0]}): {REMEDY}.") from error

    def replay() -> Metrics:
        graph.replay()
        return metrics

    return replay


def learning_rates_in_place(optimizer: torch.optim.Optimizer, device: torch.device) -> None:
    """Keep learning rates as tensors, which a recording reads anew in every step.

    On a CPU they have the precision of the number that a step that is not recorded takes, and updates are the same
    bits: a rate in float32 differs in its last bit, which products in bf16 enlarge. CUDA's fused AdamW reads float32.
    """
    precision = torch.float32 if device.type == "cuda" else torch.float64
    for group in optimizer.param_groups:
        if not isinstance(group["lr"], Tensor):
            group["lr"] = torch.tensor(float(group["lr"]), dtype=precision, device=device)
        group["capturable"] = device.type == "cuda"
