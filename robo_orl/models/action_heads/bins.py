"""Discrete action tokens, decoded in parallel (RT-2: Brohan et al. 2023, arXiv:2307.15818; OpenVLA-OFT: Kim et al.
2025, arXiv:2502.19645, parallel decoding).

Each of the h x A numbers is one of K bins, classified independently of the others given the observation: one pass
instead of h x A, at the price that a sample may mix two ways of doing a thing. The bins' centres are spaced evenly
from -1 to 1: a gripper's commands are exact, and the first and the last bin are half as wide.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from robo_orl.base.rng import Draws
from robo_orl.config import ActionHeadConfig
from robo_orl.models.action_heads.action_head import ActionHead, QueryReader, TokenReader, masked_mean, masked_sum
from robo_orl.models.layers import linear, wide

BINS = 256  # RT-2 and OpenVLA


class BinsHead(ActionHead):
    """A readout for every step of the chunk, one MLP for all, and A x K logits for each. Acts by the likeliest bins."""

    density = True
    acting = ("mode", "sample")
    options = frozenset({"bins", "acting"})

    def __init__(self, token_width: int, depth: int, action_dim: int, config: ActionHeadConfig):
        super().__init__()
        self.bins, self.shape = config.bins or BINS, (config.chunk, action_dim)
        self.width = 2 / (self.bins - 1)
        self.acts_by = config.acting or self.acting[0]
        self.reader = TokenReader(token_width, readouts=config.chunk)
        self.out = linear(token_width, action_dim * self.bins, bias=True, scale=0.1)

    def logits(self, tokens: Tensor) -> Tensor:
        """tokens (B, S, D) -> (B, h, A, K), not yet in float32."""
        return rearrange(self.out(self.reader(tokens)), "B h (A K) -> B h A K", K=self.bins)

    def loss(self, tokens: Tensor, actions: Tensor, mask: Tensor, draws: Draws, streams: Sequence[str]) -> Tensor:
        """Cross-entropy per number of the valid steps, (B,). It draws nothing."""
        logits = rearrange(wide(self.logits(tokens)), "B h A K -> (B h A) K")
        error = F.cross_entropy(logits, self.bin_of(actions).flatten(), reduction="none")
        return masked_mean(error.view(actions.shape), mask)

    def log_prob(self, tokens: Tensor, actions: Tensor, mask: Tensor) -> Tensor:
        """actions (B, h, A) -> (B,), or (B, N, h, A) -> (B, N): a density over the box, constant within each bin."""
        many = actions if actions.dim() == 4 else actions.unsqueeze(1)
        index = self.bin_of(many)  # (B, N, h, A)
        log_mass = wide(self.logits(tokens)).log_softmax(-1).gather(-1, rearrange(index, "B N h A -> B h A N"))
        ends = index.remainder(self.bins - 1).eq(0).to(log_mass)
        log_density = rearrange(log_mass, "B h A N -> B N h A") + ends * math.log(2) - math.log(self.width)
        log_prob = masked_sum(log_density, mask)
        return log_prob if actions.dim() == 4 else log_prob.squeeze(1)

    def sample(self, tokens: Tensor, num_samples: int, draws: Draws, stream: str, steps: int | None = None) -> Tensor:
        """Centres of drawn bins (B, N, h, A); it takes no steps."""
        cumulated = wide(self.logits(tokens)).softmax(-1).cumsum(-1)  # (B, h, A, K)
        uniform = draws.uniform(stream, len(tokens), num_samples, *self.shape).to(cumulated)
        index = torch.searchsorted(cumulated, rearrange(uniform, "B N h A -> B h A N").contiguous(), right=True)
        return self.centre_of(rearrange(index, "B h A N -> B N h A").clamp(max=self.bins - 1), cumulated.dtype)

    def entropy(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """(B,), of the bins."""
        log_mass = wide(self.logits(tokens)).log_softmax(-1)  # (B, h, A, K)
        return masked_sum(-(log_mass.exp() * log_mass).sum(-1), mask)

    def mode(self, tokens: Tensor) -> Tensor:
        """tokens (B, S, D) -> the centres of the likeliest bins (B, h, A)."""
        logits = wide(self.logits(tokens))
        return self.centre_of(logits.argmax(-1), logits.dtype)

    def bin_of(self, actions: Tensor) -> Tensor:
        """actions (...) in [-1, 1], cut to it -> the index of the bin of each (...)."""
        return ((actions.clamp(-1, 1) + 1) / self.width).round().long()

    def centre_of(self, index: Tensor, dtype: torch.dtype) -> Tensor:
        """The centre of each bin (...), in [-1, 1]."""
        return index.to(dtype) * self.width - 1


class ParallelBinsHead(BinsHead):
    """The same on the backbone's action queries: A x K logits for each."""

    reads_queries = True

    def __init__(self, token_width: int, depth: int, action_dim: int, config: ActionHeadConfig):
        super().__init__(token_width, depth, action_dim, config)
        self.reader = QueryReader(token_width, config.chunk)
