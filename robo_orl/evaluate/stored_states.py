"""Instants of recorded episodes as start states: an episode begins where an operator was, and a policy goes on.

numpy only: simulator processes import this. A stored state holds neither what the controllers remember nor the stages
that were counted, so the episode is played again from its start, with its own actions, up to the instant.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from robo_orl.base.errors import RunError
from robo_orl.config import Loop, TaskConfig, View
from robo_orl.data.recording import read_recording
from robo_orl.rollout.env_spec import Environment, Frame, TimeStep


@dataclass(frozen=True, slots=True)
class Instant:
    """Before the action number `frame` of a recorded episode."""

    demo: str
    frame: int


@dataclass(frozen=True)
class StoredInstants:
    """A bank of instants, with the interface of start states; sha256: of the file that they are of."""

    instants: tuple[Instant, ...]
    sha256: str

    def __len__(self) -> int:
        return len(self.instants)

    def __getitem__(self, index: int) -> Instant:
        return self.instants[index]


class ReplayedEnv:
    """An environment whose episodes begin at an instant of a recorded one; everything else is the environment's own."""

    def __init__(self, environment: Environment, path: Path):
        self._environment, self._path = environment, path
        self.spec, self.action_dim = environment.spec, environment.action_dim
        self.loop = environment.loop

    @property
    def stages(self) -> Sequence[str]:
        """The names of the stages."""
        return self._environment.stages

    def reset(self, start: Instant) -> Frame:
        """Play the recorded episode up to the instant; the observation there.

        Raises RunError where the replay ends before it, as it does in another version of the simulator.
        """
        recording = read_recording(self._path, start.demo)
        obs = recording.begin(self._environment)
        for action in recording.actions[: start.frame]:
            step = self._environment.step(action)
            if step.terminated or step.truncated:
                raise RunError(
                    f"{self._path}, {start.demo}: played again it ends before frame {start.frame}; `robo-orl data "
                    "replay` says how far the replay leaves the recording."
                )
            obs = step.obs
        return obs

    def step(self, action: np.ndarray) -> TimeStep:
        """Carry out one action (A,)."""
        return self._environment.step(action)

    def snapshot(self) -> Any:
        """The present instant."""
        return self._environment.snapshot()

    def resume(self, state: Any) -> None:
        """Go on from an instant that `snapshot` gave."""
        self._environment.resume(state)

    def see(self, view: View) -> Frame:
        """The pictures of a view now."""
        return self._environment.see(view)

    def fingerprint(self, view: View) -> dict[str, Any]:
        """What makes the pictures of a view."""
        return self._environment.fingerprint(view)

    def render(self, camera: str, size: int) -> np.ndarray:
        """(size, size, 3) uint8: a frame of a video."""
        return self._environment.render(camera, size)


@dataclass(frozen=True)
class StoredInstantsSpec:
    """The specification of environments that begin at the instants of a data file of `task`."""

    task: TaskConfig
    path: Path
    bank: StoredInstants
    loop: Loop = "exact"
    view: View | None = None
    history: int = 1
    keys: tuple[str, ...] = ()

    def make_env(self) -> ReplayedEnv:
        """A new environment of the task."""
        from robo_orl.envs.task_env import TaskEnv

        return ReplayedEnv(TaskEnv(self.task, self.loop, self.keys), self.path)

    def start_states(self) -> StoredInstants:
        """The instants; episode i begins at number i."""
        return self.bank
