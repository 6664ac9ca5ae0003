"""The layers that backbone, action heads and critics are made of.

A raw parameter is read only in the forward of the module that owns it: that is when ZeRO-3 has gathered it.
B batch, S tokens, D width, H heads, d = D/H head dim, R readouts, N samples.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import FunctionCtx, once_differentiable

from robo_orl.models.cpu_kernels import Linear

EPS = 1e-6


def heads_of(width: int) -> int:
    """Attention heads of a width: head dim 64 from width 640 on, where matrix units want it; 32 below."""
    return width // (64 if width >= 640 and width % 64 == 0 else 32)


def half_width(token_width: int) -> int:
    """The width of a flow expert or a critic: half the backbone's in whole heads of 32, at least 96."""
    return max(96, -(-token_width // 64) * 32)


def linear(inputs: int, outputs: int, bias: bool = False, scale: float = 1.0) -> nn.Linear:
    """A linear layer, truncated-normal weights of standard deviation scale/sqrt(inputs), zero bias."""
    layer = Linear(inputs, outputs, bias=bias)
    nn.init.trunc_normal_(layer.weight, std=scale * inputs**-0.5)
    if bias:
        nn.init.zeros_(layer.bias)
    return layer


def wide(x: Tensor) -> Tensor:
    """At least float32: losses, values and scales are never computed in less."""
    return x if x.dtype == torch.float64 else x.float()


def rms_norm(x: Tensor, weight: Tensor | None = None) -> Tensor:
    """RMSNorm over the last axis, (..., D) -> (..., D) in the type of x; the kernel computes in float32 inside.

    On a GPU the kernel is called by its own name: left to `F.rms_norm`, CUDA's autocast would cast x, the gain and the
    result around it, three kernels more in each direction, for the same numbers.
    """
    if x.is_cuda and not torch.compiler.is_compiling():
        return torch.ops.aten._fused_rms_norm(x, x.shape[-1:], weight, EPS)[0]
    return F.rms_norm(x, x.shape[-1:], weight, EPS)


class RMSNorm(nn.Module):
    """RMSNorm: no mean and no bias to compute. The gain is cast to the input, which keeps the fused kernel in bf16."""

    def __init__(self, width: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) -> (..., D)."""
        return rms_norm(x, self.weight.to(x.dtype))


def last_layer(tokens: Tensor) -> Tensor:
    """(B, S, D) as it is; of (B, L, S, D), tokens of L layers of a backbone, the last layer."""
    return tokens if tokens.dim() == 3 else tokens[:, -1]


def split_heads(x: Tensor, heads: int) -> Tensor:
    """(B, S, D) -> (B, H, S, d)."""
    return rearrange(x, "B S (H d) -> B H S d", H=heads)


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """q (B, H, R, d), k and v (B, H, S, d), mask (B, 1, 1, S) bool, False where a key is padding -> (B, R, D).

    Queries and keys are normalised (QK-norm): attention logits stay bounded as the model grows, which keeps a value
    loss on a shared backbone from saturating the attention.

    Observation tokens see each other and readouts see the observation: of that block mask, the two blocks that are not
    empty are computed, each by one call here, and nothing is masked away. That is why plain SDPA serves and
    FlexAttention, which has to be compiled for every shape, would have nothing to skip.
    """
    return attend_normalised(unit_scale(q), unit_scale(k), v, mask)


def attend_normalised(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """`attend` for queries and keys that have their unit scale already, such as keys that several steps read."""
    return rearrange(F.scaled_dot_product_attention(q, k, v, attn_mask=mask), "B H R d -> B R (H d)")


def unit_scale(x: Tensor) -> Tensor:
    """(..., d) with a root mean square of one."""
    return rms_norm(x)


def attention_entropy(q: Tensor, k: Tensor) -> Tensor:
    """q (B, H, R, d), k (B, H, S, d), as `attend` takes them -> (): the mean entropy of the attention over ln S.

    1: every token has the same weight; 0: one token has all. Computed beside SDPA, which does not give its weights.
    """
    q, k = wide(unit_scale(q)), wide(unit_scale(k))
    log_weights = (q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5).log_softmax(-1)  # (B, H, R, S)
    return -(log_weights.exp() * log_weights).sum(-1).mean() / math.log(k.shape[-2])


class _Gated(Function):
    """silu(gate) * up; the backward needs its input alone, where autograd would keep silu(gate) as well."""

    @staticmethod
    def forward(ctx: FunctionCtx, gate_up: Tensor) -> Tensor:
        gate, up = gate_up.chunk(2, dim=-1)
        ctx.save_for_backward(gate_up)
        return F.silu(gate).mul_(up)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, g: Tensor) -> Tensor:
        (gate_up,) = ctx.saved_tensors  # once: under checkpointing a second look computes everything again
        gate, up = gate_up.chunk(2, dim=-1)
        d_both = torch.empty_like(gate_up)
        d_gate, d_up = d_both.chunk(2, dim=-1)
        torch.mul(g, F.silu(gate), out=d_up)
        torch.ops.aten.silu_backward.grad_input(torch.mul(g, up, out=d_gate), gate, grad_input=d_gate)
        return d_both


def gated(gate_up: Tensor) -> Tensor:
    """silu(gate) * up: (..., 2F) -> (..., F); a step's tensors take 8 % less memory (benchmarks/cpu_kernels.py)."""
    if torch.compiler.is_compiling():
        gate, up = gate_up.chunk(2, dim=-1)
        return F.silu(gate) * up
    return _Gated.apply(gate_up)


class SwiGLU(nn.Module):
    """down(silu(gate(x)) * up(x)), hidden 8/3 of the width: the parameters of a 4x GELU MLP.

    On one CPU core it is as fast as a ReLU^2 and 6 % faster than a tanh-GELU MLP of equal parameters: SiLU costs a
    third of GELU per element.
    """

    def __init__(self, width: int, scale: float = 1.0):
        super().__init__()
        hidden = swiglu_hidden(width)
        self.gate_up = linear(width, 2 * hidden)
        self.down = linear(hidden, width, scale=scale)

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) -> (..., D)."""
        return self.down(gated(self.gate_up(x)))


def swiglu_hidden(width: int) -> int:
    """8/3 of the width, up to the next multiple of 32."""
    return -(-8 * width // 96) * 32


ENTROPY_ROWS = 16  # of a batch, where the entropy is only looked at

Measure = Literal["off", "log", "control"]


class SelfAttention(nn.Module):
    """Every token attends to every token."""

    def __init__(self, width: int, scale: float = 1.0):
        super().__init__()
        self.heads = heads_of(width)
        self.qkv = linear(width, 3 * width)
        self.out = linear(width, width, scale=scale)

    def forward(self, x: Tensor, mask: Tensor | None = None, measure: Measure = "off") -> tuple[Tensor, Tensor | None]:
        """x (B, S, D), mask (B, 1, 1, S) -> (B, S, D), and the entropy of the attention where it is measured."""
        of_heads = self.qkv(x).unflatten(-1, (3, self.heads, -1))  # (B, S, 3, H, d)
        both, v = of_heads.split((2, 1), dim=2)
        q, k = (part.transpose(1, 2) for part in unit_scale(both).unbind(2))  # (B, H, S, d), both by one kernel
        attended = attend_normalised(q, k, v.squeeze(2).transpose(1, 2), mask)
        return self.out(attended), self._entropy(both, measure) if measure != "off" else None

    def _entropy(self, both: Tensor, measure: Measure) -> Tensor:
        """both (B, S, 2, H, d), queries and keys as they are -> (): the entropy of the attention."""
        some = both[:ENTROPY_ROWS].detach() if measure == "log" else both
        return attention_entropy(*(part.transpose(1, 2) for part in some.unbind(2)))


class Block(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x))."""

    def __init__(self, width: int, residual: float):
        super().__init__()
        self.attention_norm, self.mlp_norm = RMSNorm(width), RMSNorm(width)
        self.attention = SelfAttention(width, scale=residual)
        self.mlp = SwiGLU(width, scale=residual)

    def forward(self, x: Tensor, mask: Tensor | None = None, measure: Measure = "off") -> tuple[Tensor, Tensor | None]:
        """(B, S, D) -> (B, S, D), and the entropy of the attention where it is measured."""
        attended, entropy = self.attention(self.attention_norm(x), mask, measure)
        x = x + attended
        return x + self.mlp(self.mlp_norm(x)), entropy


def parameters_of_block(width: int) -> int:
    """Parameters of a Block."""
    return 4 * width**2 + 3 * width * swiglu_hidden(width) + 2 * width


class Condition(nn.Module):
    """Adds an embedding of K numbers (an outcome, an indicator, a subgoal) to every token that the action head reads.

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


class Readout(nn.Module):
    """R learned queries that attend to the observation tokens and never write back into them."""

    def __init__(self, token_width: int, width: int, readouts: int):
        super().__init__()
        self.heads = heads_of(width)
        self.queries = nn.Parameter(torch.randn(readouts, width) * width**-0.5)
        self.key_value = linear(token_width, 2 * width)
        self.out = linear(width, width)

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """tokens (B, S, D), mask (B, 1, 1, S) bool, False where a token is padding -> (B, R, width)."""
        tokens = last_layer(tokens)
        k, v = (split_heads(part, self.heads) for part in self.key_value(tokens).chunk(2, dim=-1))
        q = repeat(self.queries.to(k.dtype), "R (H d) -> B R H d", B=len(tokens), H=self.heads)
        q = unit_scale(q).transpose(1, 2)  # after the norm: what is read stays in the order that `out` reads
        return self.out(attend_normalised(q, unit_scale(k), v, mask))

    @staticmethod
    def parameters_for(token_width: int, width: int, readouts: int) -> int:
        """Parameters held."""
        return readouts * width + 2 * token_width * width + width**2
