"""Branches of an episode in its simulator process: what would follow each of several chunks, and the episode untouched.

A branch begins at the present instant of an episode and is played on the episode's own environment; the environment
goes from branch to branch, and back to the episode, by snapshots that restore it bit by bit. numpy only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from robo_orl.rollout.env_spec import Environment, Frame, Frames


class UnderWay(Protocol):
    """The episode that is branched: `robo_orl.rollout.simulator.Rollout`. rewarded: the sum of its rewards so far."""

    environment: Environment
    gamma: float
    history: int
    frames: Frames
    rewarded: float

    def seen(self, obs: Frame) -> Frame:
        """The observation of this instant, with its pictures where the policy sees some."""


@dataclass(frozen=True)
class Try:
    """Begin a branch of the episode in `slot` for each of the `chunks` (N, c, A), and carry it out there."""

    slot: int
    chunks: np.ndarray


@dataclass(frozen=True)
class Follow:
    """Go on in some branches of the episode in `slot`, each with its own of the `chunks` (M, c, A)."""

    slot: int
    branches: tuple[int, ...]
    chunks: np.ndarray


@dataclass(frozen=True)
class BranchState:
    """A branch after its last action.

    obs: what the policy decides on next, None where the episode would have ended. gained: the discounted sum of rewards
    since the branch began. decisions: those since then. to_come: the rewards that an episode may still give at most,
    undiscounted: those of an episode add up to 1.
    """

    branch: int
    obs: Frame | None
    gained: float
    decisions: int
    to_come: float


@dataclass(frozen=True)
class Tried:
    """The answer to a Try or a Follow. stage: stages that the episode itself has reached. busy_s: seconds spent."""

    slot: int
    branches: list[BranchState]
    stage: int
    busy_s: float


@dataclass
class Branch:
    """One branch. state: the environment's, as `Environment.snapshot` gave it."""

    state: Any
    frames: Frames
    to_come: float
    gained: float = 0.0
    decisions: int = 0


class Branches:
    """The branches of one episode under way."""

    def __init__(self, rollout: UnderWay, count: int):
        self._rollout = rollout
        self._origin = rollout.environment.snapshot()
        to_come = 1.0 - rollout.rewarded
        self._branches = [Branch(self._origin, rollout.frames.copy(), to_come) for _ in range(count)]

    def advance(self, index: int, chunk: np.ndarray) -> BranchState:
        """Carry out the actions (c, A) in branch `index`, until they are used up or the episode would end."""
        branch, environment = self._branches[index], self._rollout.environment
        environment.resume(branch.state)
        for left, action in zip(range(len(chunk) - 1, -1, -1), chunk, strict=True):
            step = environment.step(action)
            branch.gained += self._rollout.gamma**branch.decisions * float(step.reward)
            branch.to_come -= float(step.reward)
            branch.decisions += 1
            if step.terminated or step.truncated:
                return BranchState(index, None, branch.gained, branch.decisions, 0.0)
            if left < self._rollout.history:
                branch.frames.add(self._rollout.seen(step.obs))
        branch.state = environment.snapshot()
        return BranchState(index, branch.frames.stacked(), branch.gained, branch.decisions, max(branch.to_come, 0.0))

    def close(self) -> None:
        """Put the environment back to the instant at which the branches began."""
        self._rollout.environment.resume(self._origin)
