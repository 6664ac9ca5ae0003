"""A trained agent whose samples are tried in the simulator, and how it goes on in the branches of an episode."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from robo_orl.config import SelectionConfig
from robo_orl.evaluate.policy import AgentPolicy, EpisodeDraws
from robo_orl.models.action_heads import ActionHead
from robo_orl.rollout.episodes import PolicyQuery
from robo_orl.rollout.look_ahead import Proposals


class SearchedPolicy(AgentPolicy):
    """A trained agent whose samples are tried in the simulator: a Proposer of rollout/look_ahead.py.

    It proposes the samples of `selection`, and goes on by `surest`, one chunk that neither a critic nor luck chooses: a
    branch then gains what its first chunk is good for.
    """

    def __init__(self, agent: nn.Module, selection: SelectionConfig, *arguments: Any, **options: Any):
        super().__init__(agent, *arguments, **options)
        self.selection, self.continuation = selection, surest(agent.action_head)

    def propose(self, queries: list[PolicyQuery]) -> Proposals:
        """The samples of B episodes, and the critic's values of them where there is a critic."""
        self.agent.select_by(self.selection)
        draws = EpisodeDraws(self.seed, queries, self.device, self.dtype)
        with torch.inference_mode():
            chunks, values = self.agent.proposals(self.observation(queries), draws)  # (B, N, h, A), (B, N)
        return Proposals(self.sent(chunks), None if values is None else values.double().cpu().numpy())

    def __call__(self, queries: list[PolicyQuery]) -> np.ndarray:
        """(B, c, A) for B branches."""
        self.agent.select_by(self.continuation)
        return super().__call__(queries)


def surest(head: ActionHead) -> SelectionConfig:
    """Decoding by one chunk without luck: a flow from zero noise, the mode of a head that has one."""
    if head.integrates:
        return SelectionConfig(noise_scale=0)
    return SelectionConfig(acting="mode" if "mode" in head.acting else None)
