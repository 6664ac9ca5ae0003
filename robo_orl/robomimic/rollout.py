"""Our policies behind robomimic's interface of a policy, for its own rollouts and other users of that interface.

policy = rollout_policy(Path("runs/mine"))
env = RobomimicEnv(load_task("lift"))
run_rollout(policy, env, horizon=160)             # robomimic.utils.train_utils
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from robomimic.algo import RolloutPolicy
from torch import Tensor

from robo_orl.base.errors import UsageError
from robo_orl.engine.checkpoint import load_agent
from robo_orl.evaluate.agent_policy import AgentPolicy
from robo_orl.rollout.episodes import PolicyQuery
from robo_orl.rollout.frames import Frames

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
