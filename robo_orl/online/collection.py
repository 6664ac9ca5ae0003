"""Collecting: the episodes of a round, played between the updates of the learner, and appended in order."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from time import perf_counter

import numpy as np
import torch
from torch import Tensor, nn

from robo_orl.base.seeds import derive_seed
from robo_orl.config import OnlineConfig, PolicyConfig, RunConfig
from robo_orl.envs.start_states import training_seed
from robo_orl.evaluate.policy import ACTION_GRID, AgentPolicy, EpisodeDraws
from robo_orl.online.replay import Replay
from robo_orl.rollout.episodes import FinishedEpisode, Fresh, PolicyQuery, Rollouts


class CollectingPolicy(AgentPolicy):
    """A copy of the agent that acts with the weights it was given last, and adds noise to what is carried out."""

    def __init__(
        self,
        agent: nn.Module,
        policy: PolicyConfig,
        seed: int,
        instructions: tuple[Tensor, Tensor] | None,
        device: torch.device | str,
    ):
        own = deepcopy(agent).to(device)
        super().__init__(own, policy.action_head.execute, acting_seed(seed), None, instructions)
        online = policy.online or OnlineConfig()
        self.later = online.collection.selection or policy.selection
        self.first = online.warm_up.selection or self.later
        for selection in (self.first, self.later):  # what an agent cannot do is refused before the first round
            self.agent.select_by(selection)
        self.noise = online.collection.noise
        # In float32 rounding depends on who else is in a batch, and a run is to depend on its seed alone. A model that
        # reads pictures is busy with those of one episode; for one of vectors alone this would cost its speed.
        self.alone = self.dtype != torch.float64 and bool(policy.observation.cameras)
        if self.agent.objective.on_policy:
            self.agent.objective.collects = True

    def choose(self, warm_up: bool) -> None:
        """Choose among samples as in the warm-up, or as after it."""
        self.agent.select_by(self.first if warm_up else self.later)

    def __call__(self, queries: list[PolicyQuery]) -> np.ndarray:
        """(B, c, A) for B episodes."""
        parts = [[query] for query in queries] if self.alone else [queries]
        actions = np.concatenate([super(CollectingPolicy, self).__call__(part) for part in parts])
        if not self.noise:
            return actions
        draws = EpisodeDraws(self.seed, queries, "cpu", torch.float64)
        noisy = actions + self.noise * draws.normal("exploration", *actions.shape).numpy()
        return np.clip(np.round(noisy / ACTION_GRID) * ACTION_GRID, -1.0, 1.0)


def acting_seed(seed: int) -> int:
    """The seed of what the policy of a run draws when it collects."""
    return derive_seed(seed, "collect")


class Collection:
    """The rounds of a run. policy_s: seconds spent on acting in them. ends: as in CollectionConfig."""

    def __init__(self, rollouts: Rollouts, policy: CollectingPolicy, replay: Replay, run: RunConfig):
        self.rollouts, self.policy, self.replay, self.task, self.seed = rollouts, policy, replay, run.task, run.seed
        collection = run.policy.online.collection
        self.ends, self.group = collection.ends, collection.group
        self.policy_s = 0.0
        self._early: dict[int, FinishedEpisode] = {}
        self._end = 0

    @property
    def done(self) -> bool:
        """True where every episode of the round is in the replay."""
        return len(self.replay.episodes) >= self._end

    def begin(self, first: int, size: int) -> None:
        """Begin the round of the episodes first .. first+size-1; those that the replay holds are not played again."""
        self._end = first + size
        missing = range(max(first, len(self.replay.episodes)), self._end)
        self.rollouts.policy = self._timed
        if missing:
            lasting = self.ends == "time"
            self.rollouts.add([Fresh(number, self.start_seed(number), lasting) for number in missing])

    def start_seed(self, number: int) -> int:
        """The seed of the start state of an episode: one of training, never one of an evaluation."""
        return training_seed(self.task, derive_seed(self.seed, "online starts"), number // self.group)

    def turn(self, wait_s: float | None = None) -> None:
        """Let the simulators go on; wait_s: seconds to wait for them."""
        for finished in self.rollouts.turn(wait_s):
            self._early[finished.episode] = finished
        while (number := len(self.replay.episodes)) in self._early:
            self.replay.add(self._early.pop(number), self.start_seed(number))

    def finish(self) -> None:
        """Wait until the round is collected."""
        while not self.done:
            self.turn()

    def _timed(self, queries: Sequence[PolicyQuery]) -> np.ndarray:
        began = perf_counter()
        actions = self.policy(list(queries))
        self.policy_s += perf_counter() - began
        return actions
