"""The specification of the environments that a simulator process makes, and the interfaces that it relies on.

numpy only: simulator processes import this.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from robo_orl.config import Loop, TaskConfig, View


class TimeStep(Protocol):
    """The result of one decision; see `robo_orl.envs.task_env.TimeStep`."""

    obs: Frame
    reward: float
    terminated: bool
    truncated: bool
    stages: np.ndarray


class Environment(Protocol):
    """The part of `robo_orl.envs.task_env.TaskEnv` that an evaluation uses.

    spec: key -> size of the observations. loop: the physics loop really in use, empty where there is no simulator.
    """

    spec: dict[str, int]
    action_dim: int
    stages: Sequence[str]
    loop: str

    def reset(self, start: Any) -> Frame:
        """Begin an episode; the first observation."""

    def step(self, action: np.ndarray) -> TimeStep:
        """Carry out one action (A,)."""

    def draw_start(self, seed: int) -> Any:
        """A start state that is not of the bank, the same for the same seed; asked where episodes are collected."""

    def snapshot(self) -> Any:
        """The present instant of the episode; asked of an environment whose episodes are searched alone."""

    def resume(self, state: Any) -> None:
        """Go on from an instant that `snapshot` gave, bit-equal to what followed it."""

    def see(self, view: View) -> Frame:
        """The pictures of a view now."""

    def fingerprint(self, view: View) -> dict[str, Any]:
        """What makes the pictures of a view; asked where a policy sees some."""

    def render(self, camera: str, size: int) -> np.ndarray:
        """(size, size, 3) uint8: a frame of a video."""


class StartStates(Protocol):
    """A bank of start states; sha256 is a hash of its content."""

    sha256: str

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Any: ...


class EnvSpec(Protocol):
    """The specification from which a simulator process makes its environments; it is pickled to the process.

    view, history: the pictures and the number of frames up to now that the policy decides on; None and 1 by default.
    """

    task: TaskConfig
    view: View | None
    history: int

    def make_env(self) -> Environment:
        """A new environment."""

    def start_states(self) -> StartStates:
        """The start states; episode i begins at the one number i."""


@dataclass(frozen=True)
class TaskEnvSpec:
    """The environment of a task and one of its stored banks of start states.

    keys: the low-dim keys that the policy reads.
    """

    task: TaskConfig
    loop: Loop = "exact"
    view: View | None = None
    history: int = 1
    bank: str = "test"
    keys: tuple[str, ...] = ()

    def make_env(self) -> Environment:
        """A new environment."""
        from robo_orl.envs.making import make_env

        return make_env(self.task, self.loop, self.keys)

    def start_states(self) -> StartStates:
        """The bank that every method is evaluated from, or tuned on."""
        from robo_orl.envs.start_banks import stored_bank

        return stored_bank(self.task, self.bank)

    def first_work(self) -> str:
        """What the first simulator does before it can answer, which takes a minute; empty where nothing is to do."""
        from robo_orl.envs.start_banks import bank_file

        path = bank_file(self.task, self.bank)
        return "" if path.is_file() else f"drawing the start states of {self.task.name}, once; they are kept as {path}."


Frame = dict[str, np.ndarray]


class Frames:
    """The newest `history` frames of an episode; its first one stands for those before it too."""

    def __init__(self, history: int):
        self._frames: deque[Frame] = deque(maxlen=history)

    def add(self, frame: Frame) -> None:
        """Make this instant the newest frame."""
        self._frames.extend([frame] * (1 if self._frames else self._frames.maxlen))

    def copy(self) -> Frames:
        """The same frames, to which others can be added."""
        twin = Frames(self._frames.maxlen)
        twin._frames.extend(self._frames)
        return twin

    def stacked(self) -> Frame:
        """The newest frame; with a history of k > 1, per key the newest k stacked, (k, ...), oldest first."""
        newest = self._frames[-1]
        if self._frames.maxlen == 1:
            return newest
        return {key: np.stack([frame[key] for frame in self._frames]) for key in newest}
