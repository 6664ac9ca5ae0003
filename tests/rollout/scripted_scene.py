"""A scene without a simulator: a point on a line that must pass 0.5 and then stop at 1, and that breaks on request."""

import os
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from robo_orl.base.errors import RunError
from robo_orl.config import TaskConfig

TASK = TaskConfig(name="line", env="line", stages=["half", "goal"], max_seconds=2.0, control_hz=20)


@dataclass
class TimeStep:
    obs: dict
    reward: float
    terminated: bool
    truncated: bool
    stages: np.ndarray


@dataclass
class Bank:
    sha256: str = "b" * 64
    size: int = 40

    def __len__(self):
        return self.size

    def __getitem__(self, index):
        return index


class Line:
    """`position` moves by an eighth of the action; start i begins at -i/3, and for tuning a tenth lower."""

    spec = {"position": 1}
    action_dim = 1
    stages = ["half", "goal"]

    def __init__(self, scene):
        self.scene, self.loop = scene, scene.loop

    def _obs(self):
        return {"position": np.array([self.position], np.float32)}

    def reset(self, start):
        self.scene.fault("reset", start)
        self.start, self.position, self.taken, self.reached = start, -start / 3, 0, np.zeros(2, bool)
        self.position -= 0.1 * (self.scene.bank == "tuning")
        return self._obs()

    def step(self, action):
        assert action.shape == (1,) and np.abs(action).max() <= 1
        self.scene.fault("step", self.start)
        time.sleep(self.scene.seconds)
        self.position += float(action[0]) / 8
        self.taken += 1
        self.reached |= np.array([self.position >= 0.5, self.position >= 1.0])
        done = bool(self.reached[-1])
        return TimeStep(self._obs(), float(done), done, self.taken >= TASK.horizon and not done, self.reached.copy())

    def draw_start(self, seed):
        return seed % 8000 / 1000

    def snapshot(self):
        return self.position, self.taken, self.reached.copy()

    def resume(self, state):
        self.position, self.taken, reached = state
        self.reached = reached.copy()

    def render(self, camera, size):
        self.scene.fault("render", self.start)
        return np.full((size, size, 3), 60 + self.taken, np.uint8)


@dataclass(frozen=True)
class LineScene:
    """fault_at: (place, start index); kind: what goes wrong there; marks: folder that counts how often it did."""

    marks: Path
    fault_at: tuple[str, int] = ("", -1)
    kind: str = ""
    times: int = 1
    seconds: float = 0.0
    task: TaskConfig = TASK
    bank: str = "test"
    view: None = None
    history: int = 1
    loop: str = ""

    def make_env(self):
        return Line(self)

    def start_states(self):
        return Bank(sha256={"test": "b", "tuning": "c"}[self.bank] * 64)

    def fault(self, place, start):
        done = len(list(self.marks.glob("fault-*")))
        if (place, start) != self.fault_at or done >= self.times:
            return
        (self.marks / f"fault-{done}").touch()
        if self.kind == "exit":
            os._exit(7)
        if self.kind == "raise":
            raise ValueError("the cube fell through the table")
        if self.kind == "hang":
            time.sleep(60)
        if self.kind == "refuse":
            raise RunError("No renderer here.")


@dataclass(frozen=True)
class BareScene:
    """A scene that tells which heavy modules its process has loaded, by the hash of its bank."""

    task: TaskConfig = TASK
    view: None = None
    history: int = 1

    def make_env(self):
        return Line(LineScene(Path("/nowhere")))

    def start_states(self):
        import sys

        heavy = {"torch", "robosuite", "mujoco"} & set(sys.modules)
        return Bank(sha256=",".join(sorted(heavy)) + "|" + os.environ.get("OMP_NUM_THREADS", ""))
