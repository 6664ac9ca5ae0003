"""The elementwise parts of a block with a backward of their own: the same numbers, fewer passes over memory.

Between its matrix products a block is bound by memory, not by arithmetic. Left to autograd, every operation of a norm
keeps its input and walks the whole tensor again, and what was cut apart is copied together again. Each function here
computes its formula in the order in which autograd would, rounding included: the results are equal bit for bit, which
is a test. Under `torch.compile` and on a GPU's own kernel for RMSNorm there is nothing to gain: the plain formula runs.
B batch, S tokens, D width, H heads, d = D/H head dim, F hidden width of the MLP.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
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


Saved = Any  # autograd's context
WORTH_IT = 2**19  # multiply-adds from which on the few microseconds of oneDNN's call are won back
FEW_ROWS = 512  # fewer than this, and copying the gradient costs less than reading it across its rows
CPUINFO = Path("/proc/cpuinfo")
_for_another_device: ContextVar[bool] = ContextVar("for_another_device", default=False)


class Linear(nn.Linear):
    """nn.Linear by the faster library."""

    def forward(self, x: Tensor) -> Tensor:
        """(..., I) -> (..., O)."""
        if is_for_onednn(x, self.weight):
            return _Linear.apply(x, self.weight, self.bias)
        return F.linear(x, self.weight, self.bias)


def is_for_onednn(x: Tensor, weight: Tensor) -> bool:
    """Whether x W' is large enough, in float32 and on a processor where oneDNN is the faster one."""
    return (
        x.device.type == "cpu"
        and x.dtype == weight.dtype == torch.float32
        and x.numel() * len(weight) >= WORTH_IT
        and not torch.compiler.is_compiling()
        and not torch.is_autocast_enabled("cpu")
        and not _for_another_device.get()
        and onednn_is_faster()
    )


@contextmanager
def as_on_a_gpu() -> Iterator[None]:
    """torch's own products inside the block, where CPU tensors stand for those of a GPU."""
    token = _for_another_device.set(True)
    try:
        yield
    finally:
        _for_another_device.reset(token)


@cache
def onednn_is_faster() -> bool:
    """Whether this is a processor with AVX-512 on which MKL does not use it."""
    return (
        torch.backends.mkl.is_available()
        and torch.backends.mkldnn.is_available()
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
        and torch.backends.cpu.get_cpu_capability().startswith("AVX512")
        and not is_intel()
    )


def is_intel() -> bool:
    """Whether the processor is Intel's."""
    try:
        return "GenuineIntel" in CPUINFO.read_text()
    except OSError:  # not Linux
        return "Intel" in platform.processor()


def product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x (..., I), weight (O, I) -> x W' + b by oneDNN, (..., O); each contiguous or the transpose of what is."""
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")


def outer(g: Tensor, x: Tensor) -> Tensor:
    """g (M, O), x (M, I) -> g' x, (O, I); the way round that oneDNN takes least time for, a copy to rows included."""
    if len(g) < FEW_ROWS:
        return product(g.t().contiguous(), x.t())
    if g.shape[1] > x.shape[1]:
        return product(x.t(), g.t()).t()
    return product(g.t(), x.t())


class _Linear(Function):
    @staticmethod
    def forward(ctx: Saved, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        x = x.contiguous()  # rows cut out of wider ones end in a reference kernel, a hundred times slower
        ctx.save_for_backward(x, weight)
        return product(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Saved, g: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors  # once: under checkpointing a second look computes everything again
        needs_x, needs_weight, needs_bias = ctx.needs_input_grad
        g = g.contiguous()
        rows = g.flatten(0, -2)
        d_x = product(g, weight.t()) if needs_x else None
        d_weight = outer(rows, x.flatten(0, -2)) if needs_weight else None
        return d_x, d_weight, rows.sum(0) if needs_bias else None
