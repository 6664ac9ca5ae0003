"""One simulator process: it steps the episodes it is told to, a chunk of actions per message.

numpy only. torch is never imported here, so that a process starts quickly and stays small, and the policy's process in
turn never imports a simulator nor opens a GL context.
"""

from __future__ import annotations

import hashlib
import os
import sys
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from time import perf_counter
from typing import Any, Protocol

import numpy as np

from robo_orl.base.errors import RunError, UsageError
from robo_orl.config import TaskConfig, View
from robo_orl.rollout.frames import Frame, Frames


class Scene(Protocol):
    """What a simulator process builds its world from; it is pickled to the process."""

    task: TaskConfig

    def environment(self) -> Any:
        """A new environment with the interface of `robo_orl.envs.task_env.TaskEnv`."""

    def starts(self) -> Any:
        """The start states: `len`, `[i]` and `.sha256`."""


@dataclass(frozen=True)
class TaskScene:
    """The robosuite scene of a task and its stored evaluation starts.

    view, history: the pictures and the number of frames up to now that the policy decides on. bank: `test` is what
    results are reported from, `tuning` what hyper-parameters are chosen on.
    """

    task: TaskConfig
    loop: str = "exact"
    view: View | None = None
    history: int = 1
    bank: str = "test"

    def environment(self) -> Any:
        """A new TaskEnv."""
        from robo_orl.envs.task_env import TaskEnv

        return TaskEnv(self.task, self.loop)

    def starts(self) -> Any:
        """The bank that every method is evaluated from, or tuned on."""
        from robo_orl.envs.start_banks import stored_bank

        return stored_bank(self.task, self.bank)


# ------------------------------------------------------------------------------------------------------------- messages


@dataclass(frozen=True)
class Begin:
    """Start an episode in `slot`; `video` is the mp4 to write, if any."""

    slot: int
    start: int
    gamma: float
    video: Path | None = None


@dataclass(frozen=True)
class Act:
    """Execute `actions` (c, A) in `slot`, one a decision, until they are used up or the episode ends."""

    slot: int
    actions: np.ndarray


@dataclass(frozen=True)
class Hello:
    """What a process says once its first environment stands. render: the fingerprint of its renderer, where it sees."""

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
class Reply:
    """What came of a Begin or an Act: the observation to act on, or the outcome. busy_s: seconds spent on it."""

    slot: int
    obs: dict[str, np.ndarray]
    outcome: Outcome | None
    busy_s: float


@dataclass(frozen=True)
class Refusal:
    """The request cannot be carried out here, and would not be by another process either."""

    kind: type[Exception]
    text: str


# -------------------------------------------------------------------------------------------------------------- serving


@dataclass
class Rollout:
    """An episode under way."""

    environment: Any
    gamma: float
    view: View | None = None
    history: int = 1
    recorder: Any = None
    length: int = 0
    discounted_return: float = 0.0
    success_once: bool = False
    stage_steps: list[int | None] = field(default_factory=list)
    trace: Any = field(default_factory=lambda: hashlib.blake2b(digest_size=8))

    def __post_init__(self) -> None:
        self.frames = Frames(self.history)

    def advance(self, actions: np.ndarray) -> tuple[dict[str, np.ndarray], Outcome | None]:
        """Step through `actions` (c, A); what the policy decides on next, and the outcome where the episode ended.

        Pictures are taken of the frames that the policy will see, and of no others.
        """
        for left, action in zip(range(len(actions) - 1, -1, -1), actions, strict=True):
            step = self.environment.step(action)
            self._note(action, step)
            if step.terminated or step.truncated:
                return step.obs, self._outcome(bool(step.stages[-1]))
            if left < self.history:
                self.look(step.obs)
        return self.seen(), None

    def look(self, obs: dict[str, np.ndarray]) -> None:
        """Remember this instant, with the pictures that the policy sees of it."""
        self.frames.add(obs | self.environment.see(self.view) if self.view is not None else obs)

    def seen(self) -> Frame:
        """What the policy decides on."""
        return self.frames.seen()

    def _note(self, action: np.ndarray, step: Any) -> None:
        self.discounted_return += self.gamma**self.length * float(step.reward)
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


class Simulations:
    """The environments of one process, one per slot, built when first needed and reused."""

    def __init__(self, scene: Scene):
        self.scene = scene
        self.bank = scene.starts()
        self.environments = {0: scene.environment()}
        self.rollouts: dict[int, Rollout] = {}
        self.view, self.history = getattr(scene, "view", None), getattr(scene, "history", 1)

    def hello(self) -> Hello:
        """Size and hash of the bank, shapes of the environment."""
        env, render = self.environments[0], None
        if self.view is not None:
            from robo_orl.envs.rendering.fingerprint import render_fingerprint

            render = render_fingerprint(self.view.look)
        loop = getattr(env, "loop", getattr(self.scene, "loop", ""))
        return Hello(len(self.bank), self.bank.sha256, dict(env.spec), env.action_dim, list(env.stages), loop, render)

    def answer(self, message: Begin | Act) -> Reply:
        """Carry out one message."""
        began = perf_counter()
        if isinstance(message, Begin):
            obs, outcome = self._begin(message), None
        else:
            obs, outcome = self.rollouts[message.slot].advance(message.actions)
        return Reply(message.slot, obs, outcome, perf_counter() - began)

    def _begin(self, message: Begin) -> dict[str, np.ndarray]:
        if message.slot not in self.environments:
            self.environments[message.slot] = self.scene.environment()
        env = self.environments[message.slot]
        obs = env.reset(self.bank[message.start])
        rollout = Rollout(env, message.gamma, self.view, self.history, stage_steps=[None] * len(env.stages))
        rollout.look(obs)
        if message.video is not None:
            from robo_orl.rollout.video import Recorder

            rollout.recorder = Recorder(message.video, env, self.scene.task.control_hz)
            rollout.recorder.frame(rollout.stage_steps, 0)
        self.rollouts[message.slot] = rollout
        return rollout.seen()


def serve(connection: Connection, scene: Scene) -> None:
    """Answer messages until None or the end of the pipe. A refusal is told; any other exception ends the process."""
    try:
        simulations = Simulations(scene)
        connection.send(simulations.hello())
        while (message := connection.recv()) is not None:
            connection.send(simulations.answer(message))
    except (UsageError, RunError) as error:
        connection.send(Refusal(type(error), str(error)))
    except ImportError as error:
        text = f"The simulator cannot be imported ({error}); install it with: pip install 'robo-orl[sim]'."
        connection.send(Refusal(RunError, text))
    except (EOFError, ConnectionError):
        pass  # the policy's process is gone


def main() -> None:
    """Serve the pipe whose file descriptor is the first argument; the scene is its first message."""
    connection = Connection(int(sys.argv[1]))
    serve(connection, connection.recv())
    # Simulators and GL contexts are known to crash while Python takes them down; nothing here is left to save.
    os._exit(0)
