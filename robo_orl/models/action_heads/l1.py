"""Deterministic regression of an action chunk (Zhao et al. 2023, ACT; Kim et al. 2025, OpenVLA-OFT: L1 regression)."""

from __future__ import annotations

from collections.abc import Sequence

from einops import rearrange, repeat
from torch import Tensor

from robo_orl.base.rng import Draws
from robo_orl.config import ActionHeadConfig
from robo_orl.models.action_heads.action_head import ActionHead, QueryReader, masked_mean
from robo_orl.models.layers import Readout, RMSNorm, SwiGLU, linear, wide


class L1Head(ActionHead):
    """One readout, one MLP, h x A numbers. The L1 loss makes it the conditional median: it samples no bad modes."""

    stochastic = False

    def __init__(self, token_width: int, depth: int, action_dim: int, config: ActionHeadConfig):
        super().__init__()
        self.shape = (config.chunk, action_dim)
        self.readout = Readout(token_width, token_width, readouts=1)
        self.mlp_norm, self.out_norm = RMSNorm(token_width), RMSNorm(token_width)
        self.mlp = SwiGLU(token_width)
        self.out = linear(token_width, config.chunk * action_dim, bias=True, scale=0.1)

    def predict(self, tokens: Tensor) -> Tensor:
        """tokens (B, S, D) -> (B, h, A)."""
        x = self.readout(tokens).squeeze(1)
        x = x + self.mlp(self.mlp_norm(x))
        return rearrange(self.out(self.out_norm(x)), "B (h A) -> B h A", h=self.shape[0])

    def loss(self, tokens: Tensor, actions: Tensor, mask: Tensor, draws: Draws, streams: Sequence[str]) -> Tensor:
        """Mean absolute error of the valid steps of each chunk, (B,)."""
        return masked_mean((wide(self.predict(tokens)) - actions).abs(), mask)

    def sample(self, tokens: Tensor, num_samples: int, draws: Draws, stream: str, steps: int | None = None) -> Tensor:
        """The prediction, num_samples times: (B, N, h, A). It draws nothing and takes no steps."""
        chunk = wide(self.predict(tokens)).clamp(-1, 1)
        return repeat(chunk, "B h A -> B N h A", N=num_samples)


class ParallelL1Head(L1Head):
    """The same on the backbone's action queries: A numbers for each."""

    reads_queries = True

    def __init__(self, token_width: int, depth: int, action_dim: int, config: ActionHeadConfig):
        ActionHead.__init__(self)
        self.shape = (config.chunk, action_dim)
        self.reader = QueryReader(token_width, config.chunk)
        self.out = linear(token_width, action_dim, bias=True, scale=0.1)

    def predict(self, tokens: Tensor) -> Tensor:
        """tokens (B, S, D) -> (B, h, A)."""
        return self.out(self.reader(tokens))
