"""Rectified flow with an action expert that reads the layers of a vision-language model (Black et al. 2024,
arXiv:2410.24164, pi0; Shukor et al. 2025, arXiv:2506.01844, SmolVLA).

A chunk is h tokens. In every block they attend to each other, then to the hidden states of one layer of the backbone:
the first block to an early layer, the last block to the last. pi0's expert shares the attention of the language model
layer by layer; here it has attention of its own, narrower, so that a critic, other heads and N samples need one pass of
the backbone and no cache of it. As in flow.py the expert predicts the clean chunk.
B batch, L layers read, S tokens, N samples, h chunk, A action dim, W expert width.
"""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor, nn

from robo_orl.config import ActionHeadConfig
from robo_orl.models.action_heads.action_head import ActionHead
from robo_orl.models.action_heads.flow import TIME_FREQUENCIES, ExpertBlock, FlowHead, time_features
from robo_orl.models.layers import RMSNorm, SelfAttention, half_width, linear


class FlowExpertHead(FlowHead):
    """FlowHead's loss and integration with a larger expert."""

    reads_layers = True
    options = frozenset({"blocks"})

    def __init__(self, token_width: int, depth: int, action_dim: int, config: ActionHeadConfig):
        ActionHead.__init__(self)
        self.shape = (config.chunk, action_dim)
        self.steps = config.flow_steps
        self.expert = LayeredExpert(token_width, config.blocks or max(2, depth // 4), *self.shape)


class LayeredExpert(nn.Module):
    """h tokens per chunk; samples do not see each other and nothing is written back."""

    def __init__(self, token_width: int, blocks: int, chunk: int, action_dim: int):
        super().__init__()
        width = half_width(token_width)
        self.shape = (chunk, action_dim)
        self.action_in = linear(action_dim, width)
        self.time_in = linear(2 * TIME_FREQUENCIES, width, bias=True)
        self.place = nn.Parameter(torch.randn(chunk, width) * 0.5)
        self.blocks = nn.ModuleList(LayeredBlock(token_width, width) for _ in range(blocks))
        self.norm = RMSNorm(width)
        self.out = linear(width, action_dim, bias=True, scale=0.1)

    def memory(self, tokens: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Keys and values for every block: of tokens (B, L, S, D) a layer each, of (B, S, D) the same for all."""
        if tokens.dim() == 3:
            return [block.memory(tokens) for block in self.blocks]
        total, layers = len(self.blocks), tokens.shape[1]
        return [block.memory(tokens[:, -(-layers * (i + 1) // total) - 1]) for i, block in enumerate(self.blocks)]

    def forward(self, x: Tensor, t: Tensor, memory: list[tuple[Tensor, Tensor]]) -> Tensor:
        """x (B, N, h*A), t (B, N) in [0, 1) -> predicted clean chunk (B, N, h*A)."""
        dtype = self.action_in.weight.dtype
        y = self.action_in(rearrange(x.to(dtype), "B N (h A) -> B N h A", h=self.shape[0]))  # (B, N, h, W)
        y = y + self.time_in(time_features(t).to(dtype)).unsqueeze(2) + self.place.to(dtype)
        for block, (k, v) in zip(self.blocks, memory, strict=True):
            y = block(y, k, v)
        return rearrange(self.out(self.norm(y)), "B N h A -> B N (h A)")


class LayeredBlock(nn.Module):
    """Self-attention over the steps of a chunk, then flow.py's block: cross-attention to the tokens and an MLP."""

    def __init__(self, token_width: int, width: int):
        super().__init__()
        self.token_norm, self.own_norm = RMSNorm(token_width), RMSNorm(width)
        self.own = SelfAttention(width)
        self.block = ExpertBlock(token_width, width)

    def memory(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """tokens (B, S, D) -> keys and values (B, H, S, d). Inner layers of a language model are not normalised."""
        return self.block.memory(self.token_norm(tokens))

    def forward(self, y: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """(B, N, h, W) -> (B, N, h, W)."""
        batch, n, _, _ = y.shape
        chunks = rearrange(y, "B N h W -> (B N) h W")
        chunks = chunks + self.own(self.own_norm(chunks))[0]
        steps = self.block(rearrange(chunks, "(B N) h W -> B (N h) W", B=batch), k, v)
        return rearrange(steps, "B (N h) W -> B N h W", N=n)
