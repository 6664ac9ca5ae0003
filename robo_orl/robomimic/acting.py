"""The actor of a reference: many episodes at once, each with a memory of its own.

robomimic's policies remember (hidden states, subgoals, past frames) and act for one environment. Here every episode
gets the same networks with a memory of its own, and every answer is computed alone: who else is in the batch, and how
many processes simulate, changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from robo_orl.base.errors import RunError
from robo_orl.robomimic.algo import fork_policy
from robo_orl.robomimic.training_loop import seed_all
from robo_orl.rollout.episodes import PolicyQuery
from robo_orl.rollout.frames import Frames

if TYPE_CHECKING:
    from robomimic.algo import RolloutPolicy


@dataclass
class Memory:
    """One episode's: its policy, and the frames that robomimic's FrameStackWrapper would hand it."""

    policy: RolloutPolicy
    frames: Frames


class ReferenceActor:
    """A robomimic policy as the policy of `Rollouts`: one action per answer, within [-1, 1].

    keys: the observations that it was trained on. frame_stack: how many frames it sees at once, its config's.
    """

    dtype = torch.float32

    def __init__(self, policy: RolloutPolicy, keys: list[str], frame_stack: int, seed: int):
        self.policy, self.keys, self.frame_stack, self.seed = policy, keys, frame_stack, seed
        self._memories: dict[int, Memory] = {}

    def __call__(self, queries: list[PolicyQuery]) -> np.ndarray:
        """(B, 1, A) for B episodes. Raises RunError where an action is not finite."""
        actions = np.stack([self._act(query) for query in queries])
        if not np.isfinite(actions).all():
            raise RunError("The reference's actions are not finite: its training has diverged.")
        return np.clip(actions, -1.0, 1.0)[:, None].astype(np.float64)

    def _act(self, query: PolicyQuery) -> np.ndarray:
        if query.decision == 0:
            self._memories[query.episode] = Memory(fork_policy(self.policy), Frames(self.frame_stack))
            self._memories[query.episode].policy.start_episode()
        memory = self._memories[query.episode]
        memory.frames.add({key: query.obs[key] for key in self.keys})
        seed_all("acting", self.seed, query.episode, query.decision)
        with torch.no_grad():
            return memory.policy(memory.frames.stacked())
