"""The native Transformer: one dial, the depth; width = 32 x depth, so that 12 D^2 per layer grow with the cube of it.

tiny 0.3M, xs 0.8M, s 6M, m 34M, l 98M, xl 332M, 1b, 3b, 7b; `robo-orl list sizes` has the exact counts.
One token per low-dim key.
B batch, S tokens, D width, L depth.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from robo_orl.config import SIZES
from robo_orl.errors import UsageError, unknown
from robo_orl.models.layers import RMSNorm, SelfAttention, SwiGLU, linear, swiglu_hidden
from robo_orl.types import Observation

WIDTH_PER_DEPTH = 32


class Transformer(nn.Module):
    """Observation -> tokens (B, S, D), pre-norm blocks without a causal mask, normalised at the end."""

    def __init__(self, spec: dict[str, int], size: str):
        super().__init__()
        depth = depth_of(size)
        self.width = WIDTH_PER_DEPTH * depth
        self.embedding = LowDimTokens(spec, self.width)
        residual = (2 * depth) ** -0.5  # 2L additions to the stream keep its variance near one
        self.blocks = nn.ModuleList(Block(self.width, residual) for _ in range(depth))
        self.norm = RMSNorm(self.width)
        counted = sum(getattr(p, "ds_numel", p.numel()) for p in self.parameters())
        expected = parameters_of_size(size, spec)
        assert counted == expected, f"{size}: {counted} parameters, the formula says {expected}"

    def forward(self, obs: Observation) -> Tensor:
        """obs: normalised. Returns (B, S, D)."""
        x = self.embedding(obs)
        for block in self.blocks:
            x = block(x)
        return self.norm(x)


class LowDimTokens(nn.Module):
    """One token per low-dim key: a linear map of its vector; the bias tells the keys apart."""

    def __init__(self, spec: dict[str, int], width: int):
        super().__init__()
        self.embed = nn.ModuleDict({key: linear(size, width, bias=True) for key, size in spec.items()})
        for layer in self.embed.values():
            nn.init.normal_(layer.bias, std=0.5)

    def forward(self, obs: Observation) -> Tensor:
        """Returns (B, S, D), keys in the order of the specification."""
        if obs.images or obs.instruction is not None:
            raise UsageError("The backbone 'transformer' reads low_dim only: leave images and instruction out.")
        tokens = [layer(obs.low_dim[key].to(layer.weight.dtype)) for key, layer in self.embed.items()]
        return torch.stack(tokens, dim=1)


class Block(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x))."""

    def __init__(self, width: int, residual: float):
        super().__init__()
        self.attention_norm, self.mlp_norm = RMSNorm(width), RMSNorm(width)
        self.attention = SelfAttention(width, scale=residual)
        self.mlp = SwiGLU(width, scale=residual)

    def forward(self, x: Tensor) -> Tensor:
        """(B, S, D) -> (B, S, D)."""
        x = x + self.attention(self.attention_norm(x))
        return x + self.mlp(self.mlp_norm(x))


def depth_of(size: str) -> int:
    """The depth that a size's name stands for."""
    if size not in SIZES:
        raise unknown("size", size, SIZES)
    return SIZES[size]


def parameters_of_size(size: str, spec: dict[str, int] | None = None) -> int:
    """The exact number of parameters; without `spec`, those that do not depend on the observation."""
    depth = depth_of(size)
    width = WIDTH_PER_DEPTH * depth
    block = 4 * width**2 + 3 * width * swiglu_hidden(width) + 2 * width
    embedding = sum((values + 1) * width for values in (spec or {}).values())
    return embedding + depth * block + width
