"""A round as an on-policy method learns from it: its decisions, with what is kept of each, in minibatches.

Everything is a function of the round's episodes, of the weights that made them and of the seed: what was drawn when
they were made is drawn again, and nothing but the episodes is stored.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from torch import Tensor, nn

from robo_orl.base.seeds import raw_bits
from robo_orl.base.types import DecisionWindow, PairedWindow
from robo_orl.config import PolicyConfig
from robo_orl.data.windows import PairedWindows, check_divides
from robo_orl.evaluate.policy import EpisodeDraws
from robo_orl.objectives import OBJECTIVES
from robo_orl.objectives.credit import Outcomes
from robo_orl.objectives.on_policy import KEPT_AT_ONCE, OnPolicy
from robo_orl.objectives.step import Step
from robo_orl.online.replay import CollectedEpisode
from robo_orl.rollout.episodes import PolicyQuery

SHARES = 4  # processes for which a minibatch is filled up alike


@dataclass(frozen=True)
class RoundPlan:
    """How many updates a round is worth.

    execute: c, actions of a decision. epochs: passes over its decisions. minibatch: decisions of an update. group:
    episodes in a row that begin at one start state.
    """

    objective: OnPolicy
    execute: int
    epochs: int
    minibatch: int
    group: int

    @staticmethod
    def of(policy: PolicyConfig) -> RoundPlan | None:
        """The plan of a policy, None where its objective is not on-policy."""
        kind = OBJECTIVES[policy.objective.name]
        if not kind.on_policy:
            return None
        online, execute = policy.online, policy.action_head.execute
        return RoundPlan(kind(policy), execute, online.epochs, policy.optim.batch_size, online.collection.group)

    def minibatches(self, decisions: int) -> int:
        """Of a pass over so many decisions."""
        return math.ceil(decisions / self.minibatch)

    def updates(self, episodes: Sequence[CollectedEpisode]) -> int:
        """Of a round of these episodes."""
        kept = self.learned_from(episodes)
        decisions = sum(len(self.decisions(e.length, e.terminal)) for e, k in zip(episodes, kept, strict=True) if k)
        return self.epochs * self.minibatches(decisions)

    def decisions(self, length: int, terminal: bool) -> np.ndarray:
        """The frames of an episode at which a chunk began, but for a last frame that a timeout cut: of what it led to
        nothing is known."""
        return np.arange(0, length if terminal else length - 1, self.execute)

    def learned_from(self, episodes: Sequence[CollectedEpisode]) -> np.ndarray:
        """(E,) bool: the episodes whose decisions are drawn."""
        success = np.array([episode.success for episode in episodes], bool)
        return self.objective.learned_from(success, self.group) if len(success) else success

    def discarded(self, episodes: Sequence[CollectedEpisode]) -> dict[str, int]:
        """What was collected and is not learned from, for the account; empty where nothing ever is."""
        if not self.objective.discards or not episodes:
            return {}
        left_out = [episode for episode, kept in zip(episodes, self.learned_from(episodes), strict=True) if not kept]
        steps = sum(episode.length for episode in left_out)
        return {"discarded_groups": len(left_out) // self.group, "discarded_steps": steps}


class Round:
    """The decisions of one round, drawn by minibatches from update `first` on.

    windows: of the round's episodes, cut short at timeouts, its pairs c frames apart. episodes: their lines, in order.
    agent: with the weights that acted. seed: of what the policy drew when it acted.
    """

    def __init__(
        self,
        plan: RoundPlan,
        windows: PairedWindows,
        episodes: Sequence[CollectedEpisode],
        agent: nn.Module,
        seed: int,
        first: int,
    ):
        self.plan, self.windows, self.first = plan, windows, first
        kept = plan.learned_from(episodes)
        parts = [
            (number, frame)
            for number, (episode, whole) in enumerate(zip(episodes, kept, strict=True))
            if whole
            for frame in plan.decisions(episode.length, episode.terminal).tolist()
        ]
        self.episode, frame = np.array(parts, np.int64).reshape(-1, 2).T  # (M,) each
        self.frames = windows.arrays.starts[self.episode] + frame
        numbers = np.array([episode.episode for episode in episodes], np.int64)[self.episode]
        queries = [PolicyQuery(int(e), int(f) // plan.execute, {}) for e, f in zip(numbers, frame, strict=True)]
        self.kept = self._keep(agent, episodes, queries, seed)

    def __len__(self) -> int:
        return len(self.frames)

    @torch.no_grad()
    def _keep(
        self, agent: nn.Module, episodes: Sequence[CollectedEpisode], queries: list[PolicyQuery], seed: int
    ) -> dict[str, Tensor]:
        """name -> (M, ...): what the objective keeps, and the credit of each decision."""
        device, objective, parts, rewards = next(agent.buffers()).device, agent.objective, [], []
        for begin in range(0, len(self), KEPT_AT_ONCE):
            end = begin + KEPT_AT_ONCE
            window = self.windows.gather(self.frames[begin:end])
            draws = EpisodeDraws(seed, queries[begin:end], device, torch.float32)
            parts.append(objective.keep(Step(agent, window.to(device), draws)))
            rewards.append((window.reward.numpy(), window.discount.numpy()))
        if not parts:
            return {}
        kept = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
        reward, discount = (np.concatenate(part).astype(np.float64) for part in zip(*rewards, strict=True))
        success = np.array([episode.success for episode in episodes], bool)
        credit = objective.credit(Outcomes(self.episode, reward, discount, success, self.plan.group), kept)
        return kept | {name: torch.from_numpy(values).float().to(device) for name, values in credit.items()}

    def learn(self, seed: int, step: int) -> dict[str, Tensor]:
        """As Experience.learn: no rewards of its own."""
        return {}

    def batch(self, seed: int, step: int, rank: int, world: int, batch_size: int) -> DecisionWindow:
        """The decisions of update `step`: a function of (seed, step), and the ranks' batches are the batch of one rank.

        A pass takes every decision once, in minibatches of equal size; where one does not divide into the halves of
        SHARES processes' windows, it is filled up with the first decisions of its pass, so that one, two and four
        processes learn from the same ones.
        """
        check_divides(batch_size, world)
        count = self.plan.minibatches(len(self))
        epoch, number = divmod(step - self.first, count)
        bits = raw_bits(len(self), seed, self.first, epoch, "round")
        order = np.argsort(bits, kind="stable")
        chosen = order[len(order) * number // count : len(order) * (number + 1) // count]
        missing = -len(chosen) % math.lcm(2 * world, 2 * SHARES)
        halves = np.concatenate((chosen, np.resize(order, missing))).reshape(2, world, -1)[:, rank]
        return self._window(*halves)

    def _window(self, now: np.ndarray, later: np.ndarray) -> DecisionWindow:
        """The decisions `now` and `later` (B,) each as the two halves of a window."""
        one, other = (self.windows.gather(self.frames[at]) for at in (now, later))
        both = torch.from_numpy(np.concatenate((now, later)))
        kept = {name: tensor[both.to(tensor.device)] for name, tensor in self.kept.items()}
        half = replace(
            one,
            next_obs=other.obs,
            next_actions=other.actions,
            next_action_mask=other.action_mask,
            next_return_to_go=other.return_to_go,
        )
        return DecisionWindow(**{field.name: getattr(half, field.name) for field in fields(PairedWindow)}, kept=kept)
