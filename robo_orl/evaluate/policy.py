"""A trained policy as a Python object: an observation in, a chunk of actions out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from robo_orl.base.errors import UsageError
from robo_orl.config import PolicyConfig, RunConfig, TaskConfig
from robo_orl.data.hdf5_schema import IMAGE
from robo_orl.engine.checkpoint import load_agent
from robo_orl.engine.run_folder import read_spec
from robo_orl.engine.task_data import task_number
from robo_orl.evaluate.agent_policy import AgentPolicy
from robo_orl.models.backbones import BACKBONES
from robo_orl.rollout.episodes import PolicyQuery


class Policy:
    """A trained policy that acts on one observation at a time.

    Attributes:
        config: the resolved policy. task: the task that it acts on.
        low_dim: the vectors that it reads, key -> size. cameras: the pictures that it reads, key -> pixels per side.
        execute: actions of a chunk to execute before the next call of `act`.
    """

    def __init__(self, actor: AgentPolicy, config: PolicyConfig, task: TaskConfig, low_dim: dict[str, int]):
        self.config, self.task, self.low_dim, self.execute = config, task, low_dim, config.action_head.execute
        seen = config.observation
        self.cameras = {camera + IMAGE: seen.image_size for camera in seen.cameras}
        self._actor, self._episode, self._decision = actor, 0, 0

    def reset(self, episode: int | None = None) -> None:
        """Begin an episode, by default the next one. A policy that samples draws by (seed, episode, decision)."""
        self._episode = self._episode + 1 if episode is None else episode
        self._decision = 0

    def act(self, observation: Mapping[str, np.ndarray]) -> np.ndarray:
        """The chunk (h, A) of actions within [-1, 1] for one observation; execute its first `execute` actions.

        observation: key -> (D,) numbers, camera key -> (H, W, 3) uint8; other keys are not read. A policy with a
        history of k frames reads (k, D) and (k, H, W, 3), oldest first.

        Raises:
            UsageError: a key is missing or has another size than the policy was trained on.
            RunError: an action is not finite.
        """
        actions = self._actor([PolicyQuery(self._episode, self._decision, self._read(observation))])[0]
        self._decision += 1
        return actions

    def _read(self, observation: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The keys that the policy reads, of the types that it was trained on."""
        history = () if self.config.observation.history == 1 else (self.config.observation.history,)
        shapes = {key: (*history, size) for key, size in self.low_dim.items()}
        shapes |= {key: (*history, size, size, 3) for key, size in self.cameras.items()}
        values = {}
        for key, shape in shapes.items():
            if key not in observation:
                raise UsageError(f"The observation has no '{key}', which policy '{self.config.name}' reads.")
            values[key] = np.asarray(observation[key], dtype=np.uint8 if key in self.cameras else np.float32)
            if values[key].shape != shape:
                raise UsageError(f"'{key}' has the shape {values[key].shape}; the policy was trained on {shape}.")
        return values


def load_policy(run: Path | str, task: str | None = None, seed: int = 0) -> Policy:
    """The policy of a run's newest checkpoint, on the GPU where there is one.

    task: one of those that the run was trained on, default the first. seed: of what the policy draws; episode i acts
    as episode i of `robo-orl eval` with the same seed.

    Raises UsageError where `run` is no trained run, RunError for a damaged one.
    """
    import torch

    agent, config = load_agent(run)
    agent.select_by(config.policy.selection)
    if torch.cuda.is_available():
        agent = agent.to("cuda")
    chosen = config.tasks[task_number(config, task)].task
    actor = AgentPolicy(agent, config.policy.action_head.chunk, seed, instructions=_instruction(config, chosen))
    return Policy(actor, config.policy, chosen, dict(read_spec(Path(run)).obs))


def _instruction(run: RunConfig, task: TaskConfig):
    """Ids and mask (1, L) of the task's sentence; None for a policy that reads none."""
    if not run.policy.observation.instruction:
        return None
    return BACKBONES[run.policy.backbone.kind].tokeniser(run.policy.backbone)((task.instruction,))
