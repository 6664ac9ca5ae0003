"""A policy that makes a chunk of noise in one pass, where a flow takes many (Park et al. 2025, arXiv:2502.02538)."""

from __future__ import annotations

from torch import Tensor, nn

from robo_orl.models.action_heads.flow import Expert
from robo_orl.models.layers import wide


class OneStep(nn.Module):
    """mu(s, z): the flow head's expert, asked once at the start of the flow."""

    def __init__(self, token_width: int, depth: int, chunk: int, action_dim: int):
        super().__init__()
        self.expert = Expert(token_width, depth, chunk * action_dim)

    def forward(self, tokens: Tensor, noise: Tensor) -> Tensor:
        """tokens (B, S, D), noise (B, N, h, A) -> chunks (B, N, h, A), not cut to [-1, 1]."""
        z = noise.flatten(2)
        chunks = self.expert(z, z.new_zeros(z.shape[:2]), self.expert.memory(tokens))
        return wide(chunks).view_as(noise)
