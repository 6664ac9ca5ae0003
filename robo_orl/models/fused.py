"""The elementwise parts of a block with a backward of their own: the same numbers, fewer passes over memory.

Between its matrix products a block is bound by memory, not by arithmetic. Left to autograd, every operation of a norm
keeps its input and walks the whole tensor again, and what was cut apart is copied together again. Each function here
computes its formula in the order in which autograd would, rounding included: the results are equal bit for bit, which
is a test. Under `torch.compile` and on a GPU's own kernel for RMSNorm there is nothing to gain: the plain formula runs.
B batch, S tokens, D width, H heads, d = D/H head dim, F hidden width of the MLP.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

Saved = Any  # autograd's context


def is_ours(x: Tensor) -> bool:
    """Whether RMSNorm is made of elementwise operations here: on a CPU, not compiled, not in half precision."""
    return x.device.type == "cpu" and x.dtype in (torch.float32, torch.float64) and not torch.compiler.is_compiling()


def gated(gate_up: Tensor) -> Tensor:
    """silu(gate) * up: (..., 2F) -> (..., F)."""
    if torch.compiler.is_compiling():
        gate, up = gate_up.chunk(2, dim=-1)
        return F.silu(gate) * up
    return _Gated.apply(gate_up)


def normed_beside(x: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """x itself, for the residual stream, and its RMSNorm; the gradients of both meet in one pass."""
    return _NormedBeside.apply(x, weight, eps)


def unit_heads(qkv: Tensor, heads: int, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """(B, S, 3D) -> queries and keys of unit scale, and values, (B, H, S, d) each."""
    return _UnitHeads.apply(qkv, heads, eps)


class _Gated(Function):
    @staticmethod
    def forward(ctx: Saved, gate_up: Tensor) -> Tensor:
        gate, up = gate_up.chunk(2, dim=-1)
        ctx.save_for_backward(gate_up)
        return F.silu(gate).mul_(up)

    @staticmethod
    @once_differentiable
    def backward(ctx: Saved, g: Tensor) -> Tensor:
        (gate_up,) = ctx.saved_tensors  # once: under checkpointing a second look computes everything again
        gate, up = gate_up.chunk(2, dim=-1)
        d_both = torch.empty_like(gate_up)
        d_gate, d_up = d_both.chunk(2, dim=-1)
        torch.mul(g, F.silu(gate), out=d_up)
        torch.ops.aten.silu_backward.grad_input(torch.mul(g, up, out=d_gate), gate, grad_input=d_gate)
        return d_both


class _NormedBeside(Function):
    @staticmethod
    def forward(ctx: Saved, x: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
        scale = _scale(x, eps)
        ctx.save_for_backward(x, scale, weight)
        return x, (x * scale).mul_(weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Saved, g_stream: Tensor, g: Tensor) -> tuple[Tensor, Tensor | None, None]:
        x, scale, weight = ctx.saved_tensors
        d_weight = (x * scale).mul_(g).sum_to_size(weight.shape) if ctx.needs_input_grad[1] else None
        g = g * weight
        along = _along(g * x, scale)
        d_x = g.mul_(scale).add_(g_stream)
        return d_x.add_(x * along), d_weight, None


class _UnitHeads(Function):
    @staticmethod
    def forward(ctx: Saved, qkv: Tensor, heads: int, eps: float) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v = _heads(qkv, heads)
        q_scale, k_scale = _scale(q, eps), _scale(k, eps)
        ctx.heads = heads
        ctx.save_for_backward(qkv, q_scale, k_scale)
        return q * q_scale, k * k_scale, v

    @staticmethod
    @once_differentiable
    def backward(ctx: Saved, g_q: Tensor, g_k: Tensor, g_v: Tensor) -> tuple[Tensor, None, None]:
        qkv, *scales = ctx.saved_tensors
        d_qkv = torch.empty_like(qkv)
        (q, k, _), (d_q, d_k, d_v) = _heads(qkv, ctx.heads), _heads(d_qkv, ctx.heads)
        for x, scale, g, d_x in ((q, scales[0], g_q, d_q), (k, scales[1], g_k, d_k)):
            torch.mul(x, _along(g * x, scale), out=d_x)
            d_x.add_(g * scale)
        d_v.copy_(g_v)
        return d_qkv, None, None


def _heads(qkv: Tensor, heads: int) -> tuple[Tensor, ...]:
    """Three views (B, H, S, d) of (B, S, 3D)."""
    return tuple(part.unflatten(-1, (heads, -1)).transpose(1, 2) for part in qkv.chunk(3, dim=-1))


def _scale(x: Tensor, eps: float) -> Tensor:
    """(..., D) -> (..., 1): one over the root mean square."""
    return x.square().mean(-1, keepdim=True).add_(eps).rsqrt_()


def _along(g_x: Tensor, scale: Tensor) -> Tensor:
    """(..., 1): how much of x there is in the gradient of x / rms(x), where g_x is the outer gradient times x.

    d(x scale)/dx = scale - x scale^3 x' / D. Doubling is exact: it may come last.
    """
    return (-0.5 * g_x.sum(-1, keepdim=True) * scale.pow(3)).div_(g_x.shape[-1]).mul_(2)
