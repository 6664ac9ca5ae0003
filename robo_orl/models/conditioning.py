"""What a policy is told beside the observation: an outcome to reach, whether the action is a good one, a subgoal."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from robo_orl.models.layers import linear


class Condition(nn.Module):
    """Adds an embedding of K numbers to every token that the action head reads.

    The condition comes after the backbone: a critic that shares the backbone must not see it (it is computed from
    returns), and one backbone pass serves every condition.
    """

    def __init__(self, token_width: int, numbers: int):
        super().__init__()
        self.up = linear(numbers, token_width, bias=True)
        self.down = linear(token_width, token_width)

    def forward(self, tokens: Tensor, condition: Tensor) -> Tensor:
        """tokens (B, S, D) or (B, L, S, D), condition (B, K) -> tokens of that shape."""
        embedding = self.down(F.silu(self.up(condition.to(self.up.weight.dtype))))
        return tokens + embedding.view(len(tokens), *[1] * (tokens.dim() - 2), -1).to(tokens.dtype)
