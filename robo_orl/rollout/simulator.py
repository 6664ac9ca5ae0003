"""The simulator process of an evaluation: the environments of its slots, and the episodes that it plays in them.

numpy only. torch is never imported here, so that a process starts quickly and stays small, and the policy's process in
turn never imports a simulator nor opens a GL context.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from robo_orl.config import View
from robo_orl.rollout.branches import Branches, Follow, Tried, Try
from robo_orl.rollout.env_spec import Environment, EnvSpec, Frame, Frames, TimeStep

# ------------------------------------------------------------------------------------------------------------- messages


@dataclass(frozen=True)
class Begin:
    """Start an episode in `slot`; `video` is the mp4 to write, if any.

    start_seed: begin at the start state that is drawn with it, and not at one of the bank; the outcome then comes with
    the trajectory. lasting: go on after a success until the task's time is over.
    """

    slot: int
    start: int
    gamma: float
    video: Path | None = None
    start_seed: int | None = None
    lasting: bool = False


@dataclass(frozen=True)
class Act:
    """Execute `actions` (c, A) in `slot`, one a decision, until they are used up or the episode ends."""

    slot: int
    actions: np.ndarray


@dataclass(frozen=True)
class SimulatorInfo:
    """The description of the first environment of a process, and of its start states.

    starts, starts_sha256: number and hash of the start states. spec: key -> size of the observations. loop: the physics
    loop really in use. render: the fingerprint of the renderer, where the policy sees pictures.
    """

    starts: int
    starts_sha256: str
    spec: dict[str, int]
    action_dim: int
    stages: list[str]
    loop: str
    render: dict[str, Any] | None = None


@dataclass(frozen=True)
class Outcome:
    """A finished episode.

    stage_steps: per stage the decisions taken when it was first reached, or None. fingerprint: a hash of every action
    and observation, equal only for the same episode, bit by bit.
    """

    success_once: bool
    success_at_end: bool
    stage_steps: list[int | None]
    length: int
    discounted_return: float
    fingerprint: str


@dataclass(frozen=True)
class Trajectory:
    """All that an episode of T decisions has to learn from.

    obs: per key (T, D) float32, seen before each action. actions: (T, A) float32. rewards: (T,) float32. stages: (T, S)
    uint8, completed after each action. terminated: it ended in a terminal, and not because the time was over.
    pictures: per "<camera>_image" (T, H, W, 3) uint8, seen before each action, where the policy sees some.
    """

    obs: dict[str, np.ndarray]
    actions: np.ndarray
    rewards: np.ndarray
    stages: np.ndarray
    terminated: bool
    pictures: dict[str, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True)
class Reply:
    """The answer to a Begin or an Act: the observation to act on, or the outcome. busy_s: seconds spent on it.

    trajectory: of an episode that ended and was to be kept.
    """

    slot: int
    obs: Frame
    outcome: Outcome | None
    busy_s: float
    trajectory: Trajectory | None = None


# ------------------------------------------------------------------------------------------------------------- episodes


@dataclass
class Rollout:
    """An episode under way. lasts: decisions after which it ends, None where it ends with a success."""

    environment: Environment
    gamma: float
    view: View | None = None
    history: int = 1
    lasts: int | None = None
    recorder: Any = None
    length: int = 0
    discounted_return: float = 0.0
    rewarded: float = 0.0
    success_once: bool = False
    stage_steps: list[int | None] = field(default_factory=list)
    trace: Any = field(default_factory=lambda: hashlib.blake2b(digest_size=8))
    kept: list[tuple[Frame, Frame, np.ndarray, TimeStep]] | None = None

    def __post_init__(self) -> None:
        self.frames = Frames(self.history)
        self.now: Frame = {}
        self.pictures: Frame = {}

    def advance(self, actions: np.ndarray) -> tuple[Frame, Outcome | None]:
        """Step through `actions` (c, A); the frames that the policy decides on next, and the outcome of an episode that
        ended.

        Pictures are taken of the frames that the policy will see, and of no others; where the episode is kept, of every
        frame that it has acted on: any of them may be drawn.
        """
        every = self.kept is not None and self.view is not None
        for left, action in zip(range(len(actions) - 1, -1, -1), actions, strict=True):
            step = self.environment.step(action)
            if self.kept is not None:
                self.kept.append((self.now, self.pictures, action, step))
            self.now = step.obs
            self._count(action, step)
            if self._over(step):
                return step.obs, self._outcome(bool(step.stages[-1]))
            if every or left < self.history:
                self.observe(step.obs)
        return self.frames.stacked(), None

    def observe(self, obs: Frame) -> None:
        """Keep this instant as the newest frame, with the pictures that the policy sees of it."""
        self.now, seen = obs, self.seen(obs)
        self.frames.add(seen)
        if self.kept is not None:  # copies: an environment of a user's own may draw into the same array again
            self.pictures = {key: value.copy() for key, value in seen.items() if key not in obs}

    def trajectory(self) -> Trajectory | None:
        """What was kept of an episode that ended; None where nothing was to be kept."""
        if self.kept is None:
            return None
        seen, pictures, actions, steps = zip(*self.kept, strict=True)
        return Trajectory(
            obs={key: np.stack([obs[key] for obs in seen]).astype(np.float32) for key in seen[0]},
            actions=np.stack(actions).astype(np.float32),
            rewards=np.array([step.reward for step in steps], np.float32),
            stages=np.stack([step.stages for step in steps]).astype(np.uint8),
            terminated=bool(steps[-1].terminated) and self.lasts is None,
            pictures={key: np.stack([of_frame[key] for of_frame in pictures]) for key in pictures[0]},
        )

    def _over(self, step: TimeStep) -> bool:
        if self.lasts is None:
            return step.terminated or step.truncated
        return self.length >= self.lasts or step.truncated

    def seen(self, obs: Frame) -> Frame:
        """The observation of this instant, with its pictures where the policy sees some."""
        return obs | self.environment.see(self.view) if self.view is not None else obs

    def _count(self, action: np.ndarray, step: TimeStep) -> None:
        self.discounted_return += self.gamma**self.length * float(step.reward)
        self.rewarded += float(step.reward)
        self.length += 1
        self.success_once |= bool(step.stages[-1])
        for index, reached in enumerate(step.stages):
            if reached and self.stage_steps[index] is None:
                self.stage_steps[index] = self.length
        for values in (action, *step.obs.values()):
            self.trace.update(np.ascontiguousarray(values).tobytes())
        if self.recorder is not None:
            self.recorder.frame(self.stage_steps, self.length)

    def _outcome(self, success_at_end: bool) -> Outcome:
        if self.recorder is not None:
            self.recorder.close()
        trace = self.trace.hexdigest()
        return Outcome(self.success_once, success_at_end, self.stage_steps, self.length, self.discounted_return, trace)


class EpisodeServer:
    """The work of one process: a Begin or an Act -> a Reply, a Try or a Follow -> a Tried.

    One environment per slot, built when first needed. An Act ends the branches of its slot.
    """

    def __init__(self, spec: EnvSpec):
        self.spec = spec
        self.bank = spec.start_states()
        self.environments = {0: spec.make_env()}
        self.rollouts: dict[int, Rollout] = {}
        self.branches: dict[int, Branches] = {}

    def info(self) -> SimulatorInfo:
        """Size and hash of the bank, sizes of the environment's observations and actions."""
        env, render = self.environments[0], None
        if self.spec.view is not None:
            render = env.fingerprint(self.spec.view)
        starts = len(self.bank), self.bank.sha256
        return SimulatorInfo(*starts, dict(env.spec), env.action_dim, list(env.stages), env.loop, render)

    def __call__(self, message: Begin | Act | Try | Follow) -> Reply | Tried:
        """Carry out one message."""
        began = perf_counter()
        if isinstance(message, Try | Follow):
            return self._branch(message, began)
        if isinstance(message, Begin):
            return Reply(message.slot, self._begin(message), None, perf_counter() - began)
        if message.slot in self.branches:
            self.branches.pop(message.slot).close()
        rollout = self.rollouts[message.slot]
        obs, outcome = rollout.advance(message.actions)
        kept = rollout.trajectory() if outcome is not None else None
        return Reply(message.slot, obs, outcome, perf_counter() - began, kept)

    def _branch(self, message: Try | Follow, began: float) -> Tried:
        rollout, count = self.rollouts[message.slot], len(message.chunks)
        if isinstance(message, Try):
            self.branches[message.slot] = Branches(rollout, count)
        indices = message.branches if isinstance(message, Follow) else range(count)
        branches = self.branches[message.slot]
        states = [branches.advance(index, chunk) for index, chunk in zip(indices, message.chunks, strict=True)]
        stage = sum(step is not None for step in rollout.stage_steps)
        return Tried(message.slot, states, stage, perf_counter() - began)

    def _begin(self, message: Begin) -> Frame:
        self.branches.pop(message.slot, None)
        if message.slot not in self.environments:
            self.environments[message.slot] = self.spec.make_env()
        env = self.environments[message.slot]
        drawn = message.start_seed is not None
        obs = env.reset(env.draw_start(message.start_seed) if drawn else self.bank[message.start])
        stage_steps: list[int | None] = [None] * len(env.stages)
        lasts = self.spec.task.horizon if message.lasting else None
        rollout = Rollout(env, message.gamma, self.spec.view, self.spec.history, lasts, stage_steps=stage_steps)
        rollout.kept = [] if drawn else None
        rollout.observe(obs)
        if message.video is not None:
            from robo_orl.rollout.video import Recorder

            rollout.recorder = Recorder(message.video, env, self.spec.task.control_hz)
            rollout.recorder.frame(rollout.stage_steps, 0)
        self.rollouts[message.slot] = rollout
        return rollout.frames.stacked()


def serve_episodes(spec: EnvSpec) -> tuple[EpisodeServer, SimulatorInfo]:
    """The `Prepare` of a pool that plays episodes of `spec`."""
    server = EpisodeServer(spec)
    return server, server.info()
