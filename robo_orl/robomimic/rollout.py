"""Our policies and tasks behind robomimic's interfaces, for its own rollouts and other users of those interfaces.

    policy = rollout_policy(Path("runs/mine"))
    env = RobomimicEnv(load_task("lift"))
    run_rollout(policy, env, horizon=160)             # robomimic.utils.train_utils

robomimic 0.3.0's own wrapper of robosuite cannot be imported beside robosuite 1.5 (it imports mujoco_py).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import robomimic.utils.obs_utils as obs_utils
import torch
from robomimic.algo import RolloutPolicy
from robomimic.envs.env_base import EnvBase, EnvType
from torch import Tensor

from robo_orl.base.errors import UsageError
from robo_orl.config import Loop, TaskConfig
from robo_orl.engine.checkpoint import load_agent
from robo_orl.envs.start_banks import eval_bank
from robo_orl.envs.task_env import TaskEnv, TimeStep
from robo_orl.evaluate.policy import AgentPolicy
from robo_orl.rollout.env_spec import Frames
from robo_orl.rollout.episodes import PolicyQuery

if TYPE_CHECKING:
    from collections.abc import Callable


def rollout_policy(run_dir: Path | str, seed: int = 0) -> RolloutPolicy:
    """A trained run as a robomimic policy: `start_episode()`, then an action (A,) per observation.

    Episode i of the object is episode i of `robo-orl eval` with the same seed, draw for draw.

    Raises:
        UsageError: no such run, or none with a checkpoint; a policy that sees pictures or reads an instruction.
    """
    agent, run = load_agent(run_dir)
    seen = run.policy.observation
    if seen.cameras or seen.instruction:
        raise UsageError(f"{run_dir} sees pictures or reads an instruction; robomimic's rollouts here show vectors.")
    agent.select_by(run.policy.selection)
    return RolloutPolicy(ChunkPolicy(AgentPolicy(agent, run.policy.action_head.execute, seed), seen.history))


class ChunkPolicy:
    """The methods of an algorithm that robomimic's RolloutPolicy calls: our agent, a chunk's actions in turn.

    history: frames up to now that the agent decides on.
    """

    def __init__(self, actor: AgentPolicy | Callable[[list[PolicyQuery]], np.ndarray], history: int = 1):
        self.actor, self.device, self.episode = actor, actor.device, -1
        self.policy_calls = 0
        self.history, self._frames = history, Frames(history)
        self._queue: list[np.ndarray] = []
        self._decision = 0

    def set_eval(self) -> None:
        """It always acts as in evaluation."""

    def reset(self) -> None:
        """The next episode."""
        self.episode, self._decision, self._queue = self.episode + 1, 0, []
        self._frames = Frames(self.history)

    def get_action(self, obs_dict: dict[str, Tensor], goal_dict: None = None) -> Tensor:
        """obs_dict: key -> (1, D). Returns (1, A)."""
        self._frames.add({key: value[0].cpu().numpy() for key, value in obs_dict.items()})
        if not self._queue:
            self._queue = list(self.actor([PolicyQuery(self.episode, self._decision, self._frames.stacked())])[0])
            self._decision += 1
            self.policy_calls += 1
        return torch.from_numpy(self._queue.pop(0)[None])


class RobomimicEnv(EnvBase):
    """A task for robomimic's rollouts; `reset` takes the task's stored start states in turn, from `episode` on.

    loop: how the simulator is stepped; stock is robosuite's own stepping. bank: other start states than the task's own.
    """

    def __init__(self, task: TaskConfig, bank: Any = None, loop: Loop = "stock"):
        self._env, self.episode = TaskEnv(task, loop), 0
        self._bank = eval_bank(task) if bank is None else bank
        self._step: TimeStep | None = None
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

    def reset_to(self, state: dict[str, Any]) -> dict[str, np.ndarray]:
        """Begin at a start state of a bank: {"start": bank[i]}."""
        self._step, self._obs = None, self._env.reset(state["start"])
        return self.get_observation()

    def get_observation(self) -> dict[str, np.ndarray]:
        """Per key (D,): copies, as robomimic's wrapper makes them."""
        return {key: np.array(value) for key, value in self._obs.items()}

    def get_reward(self) -> float:
        """Of the last decision."""
        return self._step.reward if self._step else 0.0

    def is_done(self) -> bool:
        """True if the episode is over."""
        return self._step is not None and (self._step.terminated or self._step.truncated)

    def is_success(self) -> dict[str, bool]:
        """True if the task is solved now, and each of its stages."""
        reached = self._env.completed()
        return {"task": bool(reached[-1])} | dict(zip(self._env.stages, map(bool, reached), strict=True))

    def get_state(self) -> dict[str, np.ndarray]:
        """robosuite's flattened state."""
        return {"states": self._env.state()}

    def render(self, mode: str = "human", height: int = 512, width: int = 512, camera_name: str = "agentview") -> Any:
        """A picture of `height` pixels per side, whatever the mode: there is no window."""
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
        """Data come from `robo-orl data generate`."""
        raise NotImplementedError("This environment is for rollouts; `robo-orl data generate` records data.")

    @property
    def rollout_exceptions(self) -> tuple[type[BaseException], ...]:
        """No exception is suppressed: an unstable simulation is an outcome here."""
        return ()
