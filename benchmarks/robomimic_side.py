"""Our environment and our policy behind robomimic's interfaces, for robomimic's own rollout function to drive.

robomimic 0.3.0's wrapper of robosuite cannot be imported beside robosuite 1.5; this one does for our scenes what it
does: robosuite's own stepping, an observation dictionary per step, success asked for after every step.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import robomimic.utils.obs_utils as obs_utils
from robomimic.envs.env_base import EnvBase, EnvType
from torch import Tensor

from robo_orl.config import TaskConfig
from robo_orl.envs.task_env import Step, TaskEnv
from robo_orl.evaluate.acting import Actor
from robo_orl.evaluate.rollouts import Ask


class RobomimicEnv(EnvBase):
    """A task with robosuite's own stepping; `reset` takes the start states of a bank in turn, from `episode` on."""

    def __init__(self, task: TaskConfig, bank: Any, loop: str = "stock"):
        self._env, self._bank, self.episode = TaskEnv(task, loop), bank, 0
        self._step: Step | None = None
        self._obs: dict[str, np.ndarray] = {}
        obs_utils.initialize_obs_utils_with_obs_specs({"obs": {"low_dim": list(self._env.spec)}})

    def step(self, action: np.ndarray) -> tuple[dict[str, np.ndarray], float, bool, dict]:
        """One decision."""
        self._step = self._env.step(action)
        self._obs = self._step.obs
        return self.get_observation(), self.get_reward(), self.is_done(), {}

    def reset(self) -> dict[str, np.ndarray]:
        """The next start state; costs what ours costs, which is less than robosuite's own reset."""
        self._step, self._obs = None, self._env.reset(self._bank[self.episode])
        self.episode += 1
        return self.get_observation()

    def get_observation(self) -> dict[str, np.ndarray]:
        """Copies, as robomimic's wrapper makes them."""
        return {key: np.array(value) for key, value in self._obs.items()}

    def get_reward(self) -> float:
        """Of the last decision."""
        return self._step.reward if self._step else 0.0

    def is_done(self) -> bool:
        """Whether the episode is over."""
        return self._step is not None and (self._step.terminated or self._step.truncated)

    def is_success(self) -> dict[str, bool]:
        """Whether the task is solved now."""
        return {"task": bool(self._step is not None and self._step.stages[-1])}

    def get_state(self) -> dict[str, np.ndarray]:
        """robosuite's flattened state."""
        return {"states": self._env.state()}

    def reset_to(self, state: dict[str, Any]) -> dict[str, np.ndarray]:
        """Begin at a start state."""
        self._step, self._obs = None, self._env.reset(state["start"])
        return self.get_observation()

    def render(self, mode: str = "human", height: int = 512, width: int = 512, camera_name: str = "agentview") -> Any:
        """A picture."""
        return self._env.render(camera_name, height)

    def get_goal(self) -> None:
        """There are no goals."""

    def set_goal(self, **_: Any) -> None:
        """There are no goals."""

    @property
    def action_dimension(self) -> int:
        """A: numbers in an action."""
        return self._env.action_dim

    @property
    def name(self) -> str:
        """The task's name."""
        return self._env.task.name

    @property
    def type(self) -> int:
        """robosuite's."""
        return EnvType.ROBOSUITE_TYPE

    def serialize(self) -> dict[str, Any]:
        """robomimic's description."""
        return self._env.env_args()

    @classmethod
    def create_for_data_processing(cls, *_: Any, **__: Any) -> EnvBase:
        """Data come from elsewhere."""
        raise NotImplementedError("This environment is for rollouts only.")

    @property
    def rollout_exceptions(self) -> tuple[type[BaseException], ...]:
        """None is passed over in silence: an unstable simulation is an outcome here."""
        return ()


class ChunkPolicy:
    """What robomimic's RolloutPolicy asks of an algorithm: our agent, a chunk's actions handed out in turn."""

    def __init__(self, actor: Actor):
        self.actor, self.device, self.episode = actor, actor.device, -1
        self.policy_calls = 0
        self._queue: list[np.ndarray] = []
        self._decision = 0

    def set_eval(self) -> None:
        """It always acts as in evaluation."""

    def reset(self) -> None:
        """The next episode."""
        self.episode, self._decision, self._queue = self.episode + 1, 0, []

    def get_action(self, obs_dict: dict[str, Tensor], goal_dict: None = None) -> Tensor:
        """obs_dict: key -> (1, D). Returns (1, A)."""
        import torch

        if not self._queue:
            obs = {key: value[0].cpu().numpy() for key, value in obs_dict.items()}
            self._queue = list(self.actor([Ask(self.episode, self._decision, obs)])[0])
            self._decision += 1
            self.policy_calls += 1
        return torch.from_numpy(self._queue.pop(0)[None])
