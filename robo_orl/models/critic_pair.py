"""A critic and its slow copy in one batched product a layer: what ranks candidates, and what values the best one.

B batch, S tokens, D token width, C critic width, E members, R readouts, N candidates, H heads, d head dim.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from torch import Tensor

from robo_orl.models.critics import Critic, Estimate
from robo_orl.models.layers import attend_normalised, last_layer, unit_scale
from robo_orl.models.stacked import JointHeads, Stacked, values_of


class CriticPair(JointHeads):
    """A critic and its slow copy as one: copies of both's weights, the online one's first, while an engine has put them
    here. Readouts are heads of one attention, members those of one ensemble. Holds nothing of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.key_value: Tensor | None = None  # (2 * 2C, D): the keys of either, then the values
        self.queries: Tensor | None = None  # (2R, C)
        self.out: Tensor | None = None  # (2C, C)
        self.action_in_weight: Tensor | None = None
        self.action_in_bias: Tensor | None = None

    def q(self, critic: Critic, tokens: Tensor, actions: Tensor) -> tuple[Estimate, Estimate]:
        """tokens (B, S, D), actions (B, N, c, A) -> Q (E, B, N) of the online `critic` and of its slow copy."""
        readouts = self._read(last_layer(tokens), critic.readout.heads)[:, :, : critic.members]  # (2, B, E, C)
        features = rearrange(readouts, "two B E C -> B (two E) C")
        raw = self._values(features, rearrange(actions, "B N c A -> B N (c A)"))
        online, slow = raw.chunk(2)
        return Estimate(online, critic.support), Estimate(slow, critic.support)

    def slow_q_and_v(self, critic: Critic, tokens: Tensor, actions: Tensor) -> tuple[Estimate, Estimate]:
        """tokens (B, S, D), actions (B, c, A) -> Q (E, B) of the slow copy, V (1, B) of the online `critic`."""
        online, slow = self._read(last_layer(tokens), critic.readout.heads)  # (B, R, C) each
        features = torch.cat((slow[:, : critic.members], online[:, critic.members :]), 1)
        raw = self._values(features, rearrange(actions, "B c A -> B 1 (c A)")).squeeze(2)
        return Estimate(raw[: critic.members], critic.support), Estimate(raw[critic.members :], critic.support)

    def _values(self, features: Tensor, actions: Tensor) -> Tensor:
        return values_of(self.layers(Stacked(self.action_in_weight, self.action_in_bias)), features, actions)

    def _read(self, tokens: Tensor, heads: int) -> Tensor:
        """(B, S, D) -> (2, B, R, C): the readouts of the online critic, and those of its slow copy."""
        both = F.linear(tokens, self.key_value).unflatten(-1, (2, 2 * heads, -1))  # (B, S, kv, 2H, d)
        k, v = (part.transpose(1, 2) for part in both.unbind(2))  # (B, 2H, S, d)
        q = self.queries.unflatten(0, (2, -1)).unflatten(-1, (heads, -1))  # (2, R, H, d)
        q = unit_scale(repeat(q, "two R H d -> B R (two H) d", B=len(tokens))).transpose(1, 2)
        read = rearrange(attend_normalised(q, unit_scale(k), v), "B R (two C) -> two (B R) C", two=2)
        out = self.out.unflatten(0, (2, -1))  # (2, C, C)
        return rearrange(read @ out.transpose(1, 2), "two (B R) C -> two B R C", B=len(tokens))
