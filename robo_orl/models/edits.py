"""Small networks that change a chunk which another policy proposes.

B batch, S tokens, D width, N chunks, c actions that are changed, A action dim.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from robo_orl.models.action_heads.gaussian import FIRST_STD, MIN_STD, from_uniform, log_density
from robo_orl.models.layers import Readout, half_width, last_layer, linear, wide


class ChunkReader(nn.Module):
    """Tokens and a chunk -> numbers, which are 0 before training: two hidden layers with LayerNorm, as a critic's."""

    def __init__(self, token_width: int, chunk: int, action_dim: int, per_number: int = 1):
        """chunk: c. per_number: outputs for each of the chunk's numbers."""
        super().__init__()
        width, numbers = half_width(token_width), chunk * action_dim
        self.shape = (chunk, action_dim)
        self.readout = Readout(token_width, width, 1)
        self.chunk_in = linear(numbers, 2 * width, bias=True)
        self.token_in, self.hidden = linear(width, 2 * width), linear(2 * width, 2 * width, bias=True)
        self.out = linear(2 * width, per_number * numbers, bias=True)
        nn.init.zeros_(self.out.weight)

    def outputs(self, tokens: Tensor, chunks: Tensor) -> Tensor:
        """tokens (B, S, D), chunks (B, N, c, A) -> (P, B, N, c, A), P outputs for each number."""
        of_tokens = self.token_in(self.readout(last_layer(tokens)))  # (B, 1, C)
        x = of_tokens + self.chunk_in(rearrange(chunks.to(of_tokens.dtype), "B N c A -> B N (c A)"))
        x = self.hidden(F.silu(F.layer_norm(x, x.shape[-1:])))
        out = wide(self.out(F.silu(F.layer_norm(x, x.shape[-1:]))))
        return rearrange(out, "B N (p c A) -> p B N c A", c=self.shape[0], A=self.shape[1])


class Correction(ChunkReader):
    """f(s, b) in [-1, 1]: the direction in which a chunk is moved."""

    def forward(self, tokens: Tensor, chunks: Tensor) -> Tensor:
        """tokens (B, S, D), chunks (B, N, c, A) -> (B, N, c, A)."""
        return self.outputs(tokens, chunks)[0].tanh()


class GaussianEdit(ChunkReader):
    """A density over edits in [-1, 1], given a chunk: the truncated normal of the Gaussian head."""

    def __init__(self, token_width: int, chunk: int, action_dim: int):
        super().__init__(token_width, chunk, action_dim, per_number=2)

    def sample_with_log_prob(self, tokens: Tensor, chunks: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor]:
        """tokens (B, S, D), chunks (B, N, c, A) -> edits (B, N, c, A) with gradient, their log-densities (B, N).

        uniform: numbers in [0, 1), (B, N, c, A).
        """
        mean, spread = self.outputs(tokens, chunks)
        std = MIN_STD + (1 - MIN_STD) * (spread + math.log(FIRST_STD / (1 - FIRST_STD))).sigmoid()
        mean = mean.tanh()
        edits = from_uniform(uniform.to(std), mean, std)
        return edits, log_density(edits, mean, std).sum((-2, -1))


def moved(chunks: Tensor, by: Tensor) -> Tensor:
    """Chunks (..., h, A) whose first actions are moved by (..., c, A) and cut to [-1, 1].

    The gradient passes the cut: at a bound a cut without one would hold what has reached it, as a gripper's number has.
    """
    c = by.shape[-2]
    first = chunks[..., :c, :] + by
    first = first + (first.clamp(-1, 1) - first).detach()
    return torch.cat((first, chunks[..., c:, :]), -2)
