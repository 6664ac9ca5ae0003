"""An environment with the interface of gymnasium as the environment of a task. gymnasium itself is not needed.

The class that a package registers (docs: 'Own task'):

    reset(seed)             an observation, or (observation, info); the seed decides everything
    step(action)            (observation, reward, terminated, truncated, info); action (A,) as `action_space` has it
    action_space            with `shape` (A,), and `low` and `high` where actions are not within [-1, 1] already
    info                    a bool under the name of each stage that the task lists; `is_success` is `success` too
    render()                (H, W, 3) uint8, for videos; optional
    snapshot(), resume(x)   the state of an instant, for searches; optional

An observation is a dictionary of numbers, vectors, and pictures `CAMERA_image` (H, W, 3) uint8; an array alone is
called `state`. Rewards of a task are those of its stages, and not what `step` returns.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from robo_orl.base.errors import RunError, UsageError
from robo_orl.config import Loop, TaskConfig, View
from robo_orl.envs.registry import scene_entry, scene_params
from robo_orl.envs.start_states import StartState
from robo_orl.envs.task_env import TimeStep

IMAGE = "_image"  # how the name of a picture ends
ROBOMIMIC_GYM = 2  # robomimic's EnvType.GYM_TYPE
LARGEST_SEED = 2**31  # what every library takes


@dataclass(frozen=True)
class OwnInstant:
    """An instant of an episode: the environment's own state, and what the task counts beside it."""

    state: Any
    completed: int
    active: int


class GymEnv:
    """The environment of a task by a class with the interface of gymnasium; the interface is that of TaskEnv.

    Actions are (A,) in [-1, 1], and are stretched to `action_space`. Stages count in order and stay counted.

    Raises:
        UsageError: a class that does not keep to the contract, or a task whose control_hz is not the environment's.
    """

    loop: Loop = "stock"

    def __init__(self, task: TaskConfig):
        self.task = task
        own = scene_entry(task).own_class
        self._says = f"The environment '{task.env}' ({own.__module__}:{own.__qualname__})"
        try:
            self.environment = own(**scene_params(task))
        except TypeError as error:
            raise UsageError(f"{self._says} cannot be made with the params of task {task.name}: {error}.") from error
        rate = getattr(self.environment, "control_hz", task.control_hz)
        if rate != task.control_hz:
            raise UsageError(f"{self._says} decides at {rate} Hz, and task {task.name} at {task.control_hz}: set that.")
        self.action_dim, self._centre, self._reach = self._actions()
        self._limit = round(task.max_seconds * task.control_hz)
        self._pictures: dict[str, np.ndarray] = {}
        first, again = self.reset(StartState({"seed": np.array([0])})), self.reset(StartState({"seed": np.array([0])}))
        if any(not np.array_equal(first[key], again.get(key)) for key in first):
            raise UsageError(f"{self._says} begins otherwise when it is reset with the same seed: have it decide all.")
        self.spec = {key: value.size for key, value in first.items()}

    @property
    def stages(self) -> list[str]:
        """The names of the stages, in order; the last one is success."""
        return list(self.task.stages)

    # ------------------------------------------------------------------------------------------------------ the episode

    def reset(self, start: StartState) -> dict[str, np.ndarray]:
        """Begin an episode at `start`; the first observation, per key (D,) float32."""
        told = self.environment.reset(seed=int(start.entry["seed"][0]))
        observation, info = told if isinstance(told, tuple) else (told, {})
        self._completed = self._active = 0
        self._advance(info, begins=True)
        return self._seen(observation)

    def step(self, action: np.ndarray) -> TimeStep:
        """Carry out one action (A,); values beyond [-1, 1] are clipped. RunError where it holds NaN or infinity."""
        action = np.asarray(action, dtype=np.float64)
        if not np.isfinite(action).all():
            raise RunError("The action holds NaN or infinity: the policy has diverged.")
        told = self.environment.step((self._centre + self._reach * np.clip(action, -1.0, 1.0)).astype(np.float32))
        if not isinstance(told, tuple) or len(told) != 5:
            raise UsageError(f"{self._says}: step returns observation, reward, terminated, truncated and info.")
        observation, _, terminated, truncated, info = told
        self._active += 1
        before, after = self._completed, self._advance(info)
        terminated = bool(terminated) or after == len(self.task.stages)
        truncated = not terminated and (bool(truncated) or self._active >= self._limit)
        return TimeStep(self._seen(observation), self._reward(before, after), terminated, truncated, self.completed())

    def completed(self) -> np.ndarray:
        """(S,) bool: the stages completed so far."""
        return np.arange(len(self.task.stages)) < self._completed

    def _advance(self, info: dict[str, Any], begins: bool = False) -> int:
        """Count the stages that hold, each only after all before it; at a start an environment may not say them."""
        while self._completed < len(self.task.stages):
            name = self.task.stages[self._completed]
            held = info.get(name, info.get("is_success") if name == "success" else None)
            if held is None and not begins:
                raise UsageError(
                    f"{self._says} does not say in info whether the stage '{name}' of task {self.task.name} holds (it "
                    f"says {', '.join(info) or 'nothing'}): name the task's stages as it does."
                )
            if not held:
                break
            self._completed += 1
        return self._completed

    def _reward(self, before: int, after: int) -> float:
        if self.task.reward == "stages":
            return (after - before) / len(self.task.stages)
        return float(after == len(self.task.stages))

    # ------------------------------------------------------------------------------------------- actions, observations

    def _actions(self) -> tuple[int, np.ndarray, np.ndarray]:
        """A, and the middle and half the width (A,) of the range of an action."""
        space = getattr(self.environment, "action_space", None)
        shape = getattr(space, "shape", None)
        if not isinstance(shape, tuple) or len(shape) != 1 or not shape[0]:
            raise UsageError(f"{self._says}: its action_space has no shape (A,); policies here act in such vectors.")
        low, high = (np.broadcast_to(getattr(space, end, sign), shape) for end, sign in (("low", -1), ("high", 1)))
        if not (np.isfinite(low).all() and np.isfinite(high).all() and (low < high).all()):
            raise UsageError(
                f"{self._says}: its action_space has no finite low and high, to which [-1, 1] is stretched."
            )
        return shape[0], (low + high) / 2.0, (high - low) / 2.0

    def _seen(self, observation: Any) -> dict[str, np.ndarray]:
        """Per key (D,) float32; the pictures among them are kept for `see`."""
        values = observation if isinstance(observation, dict) else {"state": observation}
        low_dim: dict[str, np.ndarray] = {}
        for key, value in values.items():
            array = np.asarray(value)
            if array.ndim == 3 and array.dtype == np.uint8 and key.endswith(IMAGE):
                self._pictures[key] = array
            elif array.dtype.kind in "fiub" and array.ndim <= 1:
                low_dim[key] = np.atleast_1d(array).astype(np.float32)
            else:
                raise UsageError(
                    f"{self._says}: '{key}' of its observation is neither numbers (D,) nor a picture called "
                    f"CAMERA{IMAGE} (H, W, 3) of uint8."
                )
        return low_dim

    def see(self, view: View) -> dict[str, np.ndarray]:
        """Per camera of the view "<camera>_image" (size, size, 3) uint8, as the last observation had it."""
        pictures = {}
        for camera in view.cameras:
            picture = self._pictures.get(camera + IMAGE)
            if picture is None or picture.shape != (view.size, view.size, 3):
                has = ", ".join(f"{key} {value.shape}" for key, value in self._pictures.items()) or "no picture"
                raise UsageError(
                    f"{self._says} gives no {camera}{IMAGE} of {view.size} x {view.size} pixels (it has {has})."
                )
            pictures[camera + IMAGE] = picture
        return pictures

    def fingerprint(self, view: View) -> dict[str, Any]:
        """What makes its pictures, as JSON values."""
        own = type(self.environment)
        return {
            "renderer": f"{own.__module__}:{own.__qualname__}", "device": "its own", "look": view.look, "flags": {},
            "versions": {}, "reference_sha256": "",
        }  # fmt: skip

    def render(self, camera: str = "", size: int = 256) -> np.ndarray:
        """(size, size, 3) uint8: the environment's own picture of itself; it chooses the camera."""
        picture = self.environment.render() if hasattr(self.environment, "render") else None
        if not isinstance(picture, np.ndarray) or picture.ndim != 3 or picture.dtype != np.uint8:
            raise RunError(f"{self._says}: render() gives no picture (H, W, 3) of uint8; evaluate without --video.")
        from PIL import Image

        return np.asarray(Image.fromarray(picture).resize((size, size)))

    # ------------------------------------------------------------------------------------------------- starts, instants

    def draw_start(self, seed: int) -> StartState:
        """The start state that a reset with this seed gives."""
        return StartState({"seed": np.array([seed % LARGEST_SEED])})

    def snapshot(self) -> OwnInstant:
        """The present instant of the episode. UsageError where the environment cannot be put back."""
        if not (hasattr(self.environment, "snapshot") and hasattr(self.environment, "resume")):
            raise UsageError(f"{self._says} has no snapshot() and resume(state), which a search in it needs.")
        return OwnInstant(self.environment.snapshot(), self._completed, self._active)

    def resume(self, instant: OwnInstant) -> None:
        """Go on from an instant that `snapshot` gave."""
        self.environment.resume(instant.state)
        self._completed, self._active = instant.completed, instant.active

    def env_args(self) -> dict[str, Any]:
        """robomimic's description of the environment, as JSON values."""
        settings = {"control_freq": self.task.control_hz} | scene_params(self.task)
        return {"env_name": self.task.env, "type": ROBOMIMIC_GYM, "env_kwargs": settings}

    def close(self) -> None:
        """Free the environment."""
        if hasattr(self.environment, "close"):
            self.environment.close()
