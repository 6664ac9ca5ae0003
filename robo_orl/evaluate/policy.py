"""A trained agent that acts: in batches of episodes for an evaluation, and on one observation at a time.

`AgentPolicy` is the policy of `Rollouts`: one batched call, in which no episode depends on another. `Policy` is the
same as a Python object, which `load_policy` gives. `SearchedPolicy` has its samples tried in the simulator.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from einops import rearrange
from torch import Tensor, nn

from robo_orl.agent.acting import acting_dtype
from robo_orl.base.errors import RunError, UsageError
from robo_orl.base.files import read_json
from robo_orl.base.rng import derive_seed
from robo_orl.base.types import Observation
from robo_orl.config import PolicyConfig, RunConfig, SelectionConfig, TaskConfig
from robo_orl.data.hdf5_schema import IMAGE
from robo_orl.engine.checkpoint import load_agent
from robo_orl.engine.run_folder import read_spec
from robo_orl.engine.task_data import task_number
from robo_orl.evaluate.recorded_acting import RecordedActing, records_acting
from robo_orl.models.backbones import BACKBONES
from robo_orl.rollout.episodes import PolicyQuery
from robo_orl.rollout.look_ahead import Proposals


class EpisodeDraws:
    """The random numbers of one decision in each of B episodes, with the interface of `rng.Draws`.

    An episode's numbers are a function of (seed, episode, decision, stream): who else is in the batch, how many
    processes simulate and which episodes a crash repeated change nothing.
    """

    def __init__(self, seed: int, queries: list[PolicyQuery], device: torch.device | str, dtype: torch.dtype):
        self.seed, self.queries, self.device, self.dtype = seed, queries, device, dtype
        self._generators: dict[str, list[torch.Generator]] = {}

    def _rows(self, draw: Callable[..., Tensor], stream: str, shape: tuple[int, ...]) -> Tensor:
        """shape[0] rows, an equal share for each episode, in the order of the batch."""
        share, rest = divmod(shape[0], len(self.queries))
        if rest:
            raise ValueError(f"{shape[0]} rows cannot be shared by {len(self.queries)} episodes")
        if stream not in self._generators:
            self._generators[stream] = [
                torch.Generator().manual_seed(derive_seed(self.seed, query.episode, query.decision, stream))
                for query in self.queries
            ]
        rows = [draw(share, *shape[1:], generator=generator) for generator in self._generators[stream]]
        return torch.cat(rows).to(self.device, self.dtype)

    def normal(self, stream: str, *shape: int) -> Tensor:
        """Standard normal numbers of `shape`."""
        return self._rows(torch.randn, stream, shape)

    def uniform(self, stream: str, *shape: int) -> Tensor:
        """Uniform numbers in [0, 1) of `shape`."""
        return self._rows(torch.rand, stream, shape)


# Rounding of a matrix product depends on the size of the batch, and contacts amplify a last bit into another episode.
# In float64 those differences are far below the grid on which actions are sent, so they vanish.
ACTION_GRID = 2.0**-16


class AgentPolicy:
    """A trained agent as the policy of `Rollouts`: `execute` actions (c, A) a decision, within [-1, 1].

    dtype: default float64, and float32 for agents of more than FLOAT64_PARAMETERS. action_dim: A. instructions: ids and
    mask (N, L) of the sentences that the policy reads, in episode i the one number i modulo N.
    """

    def __init__(
        self,
        agent: nn.Module,
        execute: int,
        seed: int,
        dtype: torch.dtype | None = None,
        instructions: tuple[Tensor, Tensor] | None = None,
    ):
        self.device = next(agent.parameters()).device
        self.dtype = dtype or acting_dtype(sum(p.numel() for p in agent.parameters()))
        self.agent = agent.to(self.dtype).eval()
        self.action_dim: int | None = getattr(agent, "action_dim", None)
        self.execute, self.seed, self.instructions = execute, seed, instructions
        self.act = RecordedActing(self.agent) if records_acting(agent, self.device) else self.agent.act

    def __call__(self, queries: list[PolicyQuery]) -> np.ndarray:
        """(B, c, A) for B episodes. Raises RunError where an action is not finite."""
        observation = self.observation(queries)
        draws = EpisodeDraws(self.seed, queries, self.device, self.dtype)
        with torch.inference_mode():
            chunks = self.act(observation, draws)  # (B, h, A)
        return self.sent(chunks)

    def sent(self, chunks: Tensor) -> np.ndarray:
        """Chunks (..., h, A) as the actions (..., c, A) that are carried out. RunError where one is not finite."""
        actions = chunks[..., : self.execute, :].double().cpu().numpy()
        if not np.isfinite(actions).all():
            raise RunError("The policy's actions are not finite: training has diverged.")
        return np.clip(np.round(actions / ACTION_GRID) * ACTION_GRID, -1.0, 1.0)

    def observation(self, queries: list[PolicyQuery]) -> Observation:
        """The observations of B episodes, per key one tensor: vectors in `dtype`, pictures (B, ..., 3, H, W) uint8."""
        low_dim, images = {}, {}
        for key in queries[0].obs:
            values = torch.from_numpy(np.stack([query.obs[key] for query in queries])).to(self.device)
            if values.dtype == torch.uint8:
                images[key.removesuffix(IMAGE)] = rearrange(values, "... h w c -> ... c h w")
            else:
                low_dim[key] = values.to(self.dtype)
        if self.instructions is None:
            return Observation(low_dim, images)
        rows = torch.tensor([query.episode % len(self.instructions[0]) for query in queries])
        return Observation(low_dim, images, *(table[rows].to(self.device) for table in self.instructions))


# -------------------------------------------------------------------------------------------- one observation at a time


class Policy:
    """A trained policy that acts on one observation at a time.

    Attributes:
        config: the resolved policy. task: the task that it acts on.
        low_dim: the vectors that it reads, key -> size. cameras: the pictures that it reads, key -> pixels per side.
        execute: actions of a chunk to execute before the next call of `act`.
        action_names: of the numbers of an action, none where its data did not say. action_range: low and high (A,) of
        what the actions of its data were scaled to [-1, 1] from, None where they were not; `to_robot` undoes it.
    """

    def __init__(
        self,
        actor: AgentPolicy,
        config: PolicyConfig,
        task: TaskConfig,
        low_dim: dict[str, int],
        actions: dict[str, Any],
    ):
        self.config, self.task, self.low_dim, self.execute = config, task, low_dim, config.action_head.execute
        self.action_names = tuple(actions.get("names", ()))
        self.action_range = np.array(actions["range"]) if actions.get("range") else None
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

    def to_robot(self, actions: np.ndarray) -> np.ndarray:
        """Actions (..., A) within [-1, 1] in the units that the robot's data had before they were scaled."""
        if self.action_range is None:
            return actions
        low, high = self.action_range
        return low + (np.asarray(actions) + 1) / 2 * (high - low)

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
    number = task_number(config, task)
    chosen = config.tasks[number].task
    actor = AgentPolicy(agent, config.policy.action_head.chunk, seed, instructions=instruction_of(config, chosen))
    return Policy(actor, config.policy, chosen, dict(read_spec(Path(run)).obs), _actions(Path(run), number))


def _actions(run: Path, task: int) -> dict[str, Any]:
    """What the run's data say of their actions; nothing in an older run."""
    path = run / "data.json"
    return read_json(path)["files"][task].get("actions", {}) if path.exists() else {}


def instruction_of(run: RunConfig, task: TaskConfig):
    """Ids and mask (1, L) of the task's sentence; None for a policy that reads none."""
    if not run.policy.observation.instruction:
        return None
    return BACKBONES[run.policy.backbone.kind].tokeniser(run.policy.backbone)((task.instruction,))


# ------------------------------------------------------------------------------ samples that are tried in the simulator


class SearchedPolicy(AgentPolicy):
    """A trained agent whose samples are tried in the simulator: a Proposer of rollout/look_ahead.py.

    A branch goes on as the policy does where nothing is tried: by its critic's choice, and where the simulator is to
    choose (`selection.look_ahead`) by the first of its samples. Its draws are those that the episode will have at the
    same chunk: a branch is a future that the episode can have, and the best one found can be found again.
    """

    def __init__(self, agent: nn.Module, selection: SelectionConfig, *arguments: Any, **options: Any):
        super().__init__(agent, *arguments, **options)
        self.selection = selection

    def propose(self, queries: list[PolicyQuery]) -> Proposals:
        """The samples of B episodes, and the critic's values of them where there is a critic."""
        chunks, values = self._proposals(queries)  # (B, N, h, A), (B, N)
        return Proposals(self.sent(chunks), None if values is None else values.double().cpu().numpy())

    def __call__(self, queries: list[PolicyQuery]) -> np.ndarray:
        """(B, c, A) for B branches."""
        if self.selection.look_ahead:
            return self.sent(self._proposals(queries)[0][:, 0])
        return super().__call__(queries)

    def _proposals(self, queries: list[PolicyQuery]) -> tuple[Tensor, Tensor | None]:
        draws = EpisodeDraws(self.seed, queries, self.device, self.dtype)
        with torch.inference_mode():
            return self.agent.proposals(self.observation(queries), draws)
