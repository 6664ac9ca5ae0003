"""Acting as one recorded call: backbone, the samples of a flow, and the choice among them by the critic.

At batch 1, which is the latency that a robot sees, nearly all of an act is the starting of kernels. `optim.capture: on`
records it once per number of observations, as a training step; observations and draws are copied into their places.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor, nn

from robo_orl.base.types import Observation
from robo_orl.config import SelectionConfig
from robo_orl.engine.captured_step import PlacedDraws, Request, as_cuda_graph

Act = Callable[[], dict[str, Tensor]]
Record = Callable[[Act], Act]  # as of a training step
MOST = 8  # recordings at once: episodes of an evaluation end one after the other, and each number of them is another


class AnyDraws(Protocol):
    """The interface of `rng.Draws`."""

    def normal(self, stream: str, *shape: int) -> Tensor: ...
    def uniform(self, stream: str, *shape: int) -> Tensor: ...


def records_acting(agent: nn.Module, device: torch.device) -> bool:
    """Whether acting is recorded: on a GPU with `optim.capture: on`, of a native backbone."""
    if device.type != "cuda":
        return False
    return agent.policy.optim.capture == "on" and agent.policy.backbone.kind == "transformer"


class NotedDraws:
    """Other draws, whose requests and numbers are kept."""

    def __init__(self, draws: AnyDraws):
        self.draws, self.requests, self.numbers = draws, [], []

    def normal(self, stream: str, *shape: int) -> Tensor:
        """As those of `Draws`."""
        return self._noted("normal", stream, shape)

    def uniform(self, stream: str, *shape: int) -> Tensor:
        """As those of `Draws`."""
        return self._noted("uniform", stream, shape)

    def _noted(self, kind: str, stream: str, shape: tuple[int, ...]) -> Tensor:
        numbers = getattr(self.draws, kind)(stream, *shape)
        self.requests.append((kind, stream, shape))
        self.numbers.append(numbers)
        return numbers


@dataclass
class Recording:
    """One recorded act, for observations of one shape and one selection."""

    selection: SelectionConfig
    obs: Observation
    draws: PlacedDraws
    replay: Act

    def run(self, obs: Observation, draws: AnyDraws) -> Tensor:
        """The actions, in memory of the caller's own."""
        for place, value in zip(tensors_of(self.obs), tensors_of(obs), strict=True):
            place.copy_(value, non_blocking=True)
        self.draws.put(joined(self.draws.requests, draws))
        return self.replay()["actions"].clone()


@dataclass
class RecordedActing:
    """`agent.act`, recorded at the second act of a shape. The agent's weights may change in their places, not move."""

    agent: nn.Module
    record: Record = as_cuda_graph
    recordings: dict[tuple, Recording | None] = field(default_factory=dict)

    def __call__(self, obs: Observation, draws: AnyDraws) -> Tensor:
        """As `Agent.act`: B raw observations -> (B, h, A) raw actions."""
        selection, shape = self.agent.selection, tuple((tuple(t.shape), t.dtype) for t in tensors_of(obs))
        if selection.noise_seed is not None:  # noise that the processor makes at every act
            return self.agent.act(obs, draws)
        recording = self.recordings.get(shape)
        if recording is not None and recording.selection == selection:
            return recording.run(obs, draws)
        if shape not in self.recordings and len(self.recordings) < MOST:
            self.recordings[shape] = None  # kernels are chosen in the first act, and recorded in the second
            return self.agent.act(obs, draws)
        return self._recorded(obs, draws, selection, shape) if shape in self.recordings else self.agent.act(obs, draws)

    def _recorded(self, obs: Observation, draws: AnyDraws, selection: SelectionConfig, shape: tuple) -> Tensor:
        noted, places = NotedDraws(draws), obs.map(torch.clone)
        actions = self.agent.act(obs, noted)
        whole = torch.cat([numbers.flatten() for numbers in noted.numbers]) if noted.numbers else None
        placed = PlacedDraws(noted.requests, whole)
        placed.put(whole)
        replay = self.record(lambda: {"actions": self.agent.act(places, placed.restart())})
        self.recordings[shape] = Recording(selection, places, placed, replay)
        return actions


def joined(requests: list[Request], draws: AnyDraws) -> Tensor | None:
    """The numbers of all requests side by side."""
    made = [getattr(draws, kind)(stream, *shape).reshape(math.prod(shape)) for kind, stream, shape in requests]
    return torch.cat(made) if made else None


def tensors_of(obs: Observation) -> list[Tensor]:
    """The tensors of an observation in a fixed order."""
    found: list[Tensor] = []
    obs.map(lambda tensor: found.append(tensor) or tensor)
    return found
