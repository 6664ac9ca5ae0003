"""Heads on action queries: the backbone itself decodes the chunk, all steps in one pass (Kim et al. 2025,
arXiv:2502.19645, OpenVLA-OFT: parallel decoding, with L1 regression or discrete tokens).

The backbone's last h tokens are queries, one per step, that saw the observation and each other in every layer; a head
turns each into the A numbers of its step. OpenVLA-OFT has a query per number; one per step is A times fewer tokens.
"""

from __future__ import annotations

from torch import Tensor, nn

from robo_orl.config import ActionHeadConfig
from robo_orl.models.action_heads.action_head import ActionHead
from robo_orl.models.action_heads.bins import BinsHead
from robo_orl.models.action_heads.l1 import L1Head
from robo_orl.models.layers import RMSNorm, SwiGLU, last_layer, linear


class QueryReader(nn.Module):
    """The last h tokens, a residual MLP on each, then a norm."""

    def __init__(self, token_width: int, count: int):
        super().__init__()
        self.count = count
        self.mlp_norm, self.out_norm = RMSNorm(token_width), RMSNorm(token_width)
        self.mlp = SwiGLU(token_width)

    def forward(self, tokens: Tensor) -> Tensor:
        """tokens (B, S, D) -> (B, h, D)."""
        x = last_layer(tokens)[:, -self.count :]
        return self.out_norm(x + self.mlp(self.mlp_norm(x)))


class ParallelL1Head(L1Head):
    """A numbers for every query; its loss makes them conditional medians."""

    reads_queries = True

    def __init__(self, token_width: int, depth: int, action_dim: int, config: ActionHeadConfig):
        ActionHead.__init__(self)
        self.shape = (config.chunk, action_dim)
        self.reader = QueryReader(token_width, config.chunk)
        self.out = linear(token_width, action_dim, bias=True, scale=0.1)

    def predict(self, tokens: Tensor) -> Tensor:
        """tokens (B, S, D) -> (B, h, A)."""
        return self.out(self.reader(tokens))


class ParallelBinsHead(BinsHead):
    """A x K logits for every query."""

    reads_queries = True

    def __init__(self, token_width: int, depth: int, action_dim: int, config: ActionHeadConfig):
        super().__init__(token_width, depth, action_dim, config)
        self.reader = QueryReader(token_width, config.chunk)
