"""A task of robo_orl as a gymnasium environment, with the observations that LeRobot's data sets of it have."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

from lerobot_env_robo_orl.client import TaskProcess

OBJECT = "object"


class RoboOrlTask(gym.Env):
    """Observation: agent_pos (all vectors but the object's), environment_state (the object's), pixels per camera.

    Action (A,) in [-1, 1], clipped beyond, 7 numbers an arm. An episode ends with its success, and is truncated at the
    task's limit; the last info says `is_success`. `reset(seed=i)` begins at start state i of the bank, modulo its size,
    which is where `robo-orl eval` begins its episode i; without a seed the next one follows.
    """

    def __init__(
        self,
        task: str = "lift",
        python: str = "",
        starts: str = "test",
        cameras: tuple[str, ...] = (),
        size: int = 84,
        render_size: int = 256,
        render_mode: str = "rgb_array",
    ):
        self.process = TaskProcess(task, python, starts, tuple(cameras), size)
        about, _ = self.process.ask("describe")
        self.task, self.task_description = about["task"], about["instruction"]
        self.cameras, self.render_mode, self._render_size = tuple(cameras), render_mode, render_size
        self.metadata = {"render_modes": ["rgb_array"], "render_fps": about["hz"]}
        self._max_episode_steps = about["limit"]
        self._keys = [key for key in about["sizes"] if key != OBJECT]
        self._start = -1
        self.action_space = gym.spaces.Box(-1.0, 1.0, (about["action_dim"],), np.float32)
        spaces = {"agent_pos": _vector(sum(about["sizes"][key] for key in self._keys))}
        if OBJECT in about["sizes"]:
            spaces["environment_state"] = _vector(about["sizes"][OBJECT])
        if self.cameras:
            picture = gym.spaces.Box(0, 255, (size, size, 3), np.uint8)
            spaces["pixels"] = gym.spaces.Dict(dict.fromkeys(self.cameras, picture))
        self.observation_space = gym.spaces.Dict(spaces)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[dict, dict]:
        """Begin an episode."""
        super().reset(seed=seed)
        self._start = self._start + 1 if seed is None else seed
        reply, arrays = self.process.ask("reset", index=self._start)
        return self._observation(arrays), {"is_success": False, "start": reply["start"]}

    def step(self, action: np.ndarray) -> tuple[dict, float, bool, bool, dict]:
        """Carry out one decision."""
        reply, arrays = self.process.ask("step", np.asarray(action, np.float64))
        info = {"is_success": bool(reply["terminated"]), "stages": reply["stages"]}
        return self._observation(arrays), reply["reward"], reply["terminated"], reply["truncated"], info

    def render(self) -> np.ndarray:
        """(size, size, 3) uint8: the scene now."""
        return self.process.ask("render", size=self._render_size)[1]["picture"]

    def close(self) -> None:
        """End the simulator."""
        self.process.close()

    def _observation(self, arrays: dict[str, np.ndarray]) -> dict[str, Any]:
        seen: dict[str, Any] = {"agent_pos": np.concatenate([arrays[key] for key in self._keys])}
        if OBJECT in arrays:
            seen["environment_state"] = arrays[OBJECT]
        if self.cameras:
            seen["pixels"] = {camera: arrays[f"{camera}_image"] for camera in self.cameras}
        return seen


def _vector(size: int) -> gym.spaces.Box:
    return gym.spaces.Box(-np.inf, np.inf, (size,), np.float32)
