"""A bandit with two contexts, without a simulator: one decision an episode, and success where it has the right sign.

The policy is that of the package, and so are the round, its credit and the update; the episodes are made here.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
import toy_agents as toy
import toy_rounds as rounds

from robo_orl.agent.agent import Agent, build_agent
from robo_orl.base.rng import Draws
from robo_orl.base.types import Observation
from robo_orl.config import PolicyConfig, deep_merge
from robo_orl.data.windows import PairedWindows
from robo_orl.engine.optimizer import make_optimizer
from robo_orl.online.collection import CollectingPolicy, acting_seed
from robo_orl.online.replay import CollectedEpisode
from robo_orl.online.rounds import Round, RoundPlan
from robo_orl.rollout.episodes import PolicyQuery

EPISODES, GROUP, BOUND = 64, 8, 0.3
SPEC = {"context": 1}


def policy(name: str, head: str | None = None, **params: object) -> PolicyConfig:
    """A method on chunks of one action."""
    params = ({"lowest_std": 0.1, "highest_std": 0.5} if name == "reinflow" else {}) | params
    config = rounds.policy(name, head, "shared", **params)
    over = {
        "action_head": {"chunk": 1, "execute": 1, "min_std": 0.2} if config.action_head.kind == "gaussian" else
        {"chunk": 1, "execute": 1, "bins": 11} if config.action_head.kind == "bins" else {"chunk": 1, "execute": 1},
        "optim": {"batch_size": 64, "lr": 1e-3, "schedule": "constant", "warmup_steps": 0},
        "online": {"collection": {"episodes": EPISODES, "group": GROUP}, "epochs": 4},
    }  # fmt: skip
    return PolicyConfig.model_validate(deep_merge(config.model_dump(mode="json"), over))


@dataclass
class Bandit:
    """The rounds of a policy. success: share of each round."""

    config: PolicyConfig
    updates: int = 0
    episodes: int = 0
    success: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.agent: Agent = build_agent(self.config, SPEC, 1, gamma=1.0, statistics=None, seed=0)
        self.optimizer = make_optimizer(self.agent, self.config.optim)
        if self.config.action_head.kind == "flow":
            self.clone()

    def clone(self, steps: int = 150) -> None:
        """Clone actions around 0 in both contexts: an untrained flow ends in one place whatever it begins with."""
        g, whole = torch.Generator().manual_seed(0), torch.ones(128, 1, dtype=torch.bool)
        optimizer = torch.optim.AdamW(self.agent.parameters(), lr=2e-3)
        for step in range(steps):
            context = torch.randn(128, 1, generator=g).sign()
            actions = (0.4 * torch.randn(128, 1, 1, generator=g)).clamp(-1, 1)
            tokens = self.agent.backbone(Observation({"context": context}, {}))
            loss = self.agent.action_head.loss(tokens, actions, whole, Draws(0, step), ("policy",)).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    def round(self) -> Round:
        """Collect one, and what is kept of it."""
        numbers = range(self.episodes, self.episodes + EPISODES)
        context = np.array([1.0 if (i // GROUP) % 2 else -1.0 for i in numbers], np.float32)[:, None]
        actor = CollectingPolicy(self.agent, self.config, 0, None, "cpu")
        queries = [PolicyQuery(i, 0, {"context": row}) for i, row in zip(numbers, context, strict=True)]
        actions = actor(queries)[:, 0]  # (E, 1)
        success = (actions * context)[:, 0] > BOUND
        self.success.append(float(success.mean()))
        arrays = toy.arrays(SPEC, [1] * EPISODES, [True] * EPISODES, context, actions, success)
        blank = {"start_seed": 0, "simulation_s": 0.0, "restarts": 0, "fingerprint": "", "rows": ""}
        lines = [
            CollectedEpisode(episode=i, length=1, success=bool(s), terminal=True, **blank)
            for i, s in zip(numbers, success, strict=True)
        ]
        self.episodes += EPISODES
        windows = PairedWindows(arrays, 1, 1, 1.0, cut_short=True)
        made = Round(RoundPlan.of(self.config), windows, lines, self.agent, acting_seed(0), self.updates)
        made.lines = lines
        return made

    def learn(self, made: Round) -> None:
        """The updates of a round."""
        for _ in range(made.plan.updates(made.lines)):
            window = made.batch(0, self.updates, 0, 1, self.config.optim.batch_size)
            loss, _ = self.agent(window, Draws(0, self.updates))
            self.optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.agent.parameters(), 1.0)
            self.optimizer.step()
            self.updates += 1
