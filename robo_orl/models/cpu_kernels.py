"""Float32 linear maps by oneDNN on processors where it is faster than MKL: AVX-512, and not Intel's.

In the demo (size tiny, batch 128, one core of an AMD EPYC) a training step takes 0.77 of the time of torch's own
products with `bc` and 0.81 with `qc`, at size s 0.61 and 0.64: `python benchmarks/cpu_kernels.py`. The last bit of a
product differs from MKL's.
I inputs, O outputs, M rows.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import FunctionCtx, once_differentiable

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
    """True where x W' is large enough, in float32 and on a processor where oneDNN is the faster one."""
    return (
        x.device.type == "cpu"
        and x.dtype == weight.dtype == torch.float32
        and x.numel() * len(weight) >= WORTH_IT
        and not torch.compiler.is_compiling()
        and not torch.is_autocast_enabled("cpu")
        and not stands_for_a_gpu()
        and onednn_is_faster()
    )


def stands_for_a_gpu() -> bool:
    """True where CPU tensors stand for those of a GPU."""
    return _for_another_device.get()


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
    """True on a processor with AVX-512 on which MKL does not use it."""
    return (
        torch.backends.mkl.is_available()
        and torch.backends.mkldnn.is_available()
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
        and torch.backends.cpu.get_cpu_capability().startswith("AVX512")
        and not is_intel()
    )


def is_intel() -> bool:
    """True on a processor of Intel's."""
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
    def forward(ctx: FunctionCtx, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        x = x.contiguous()  # rows cut out of wider ones end in a reference kernel, a hundred times slower
        ctx.save_for_backward(x, weight)
        return product(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, g: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors  # once: under checkpointing a second look computes everything again
        needs_x, needs_weight, needs_bias = ctx.needs_input_grad
        g = g.contiguous()
        rows = g.flatten(0, -2)
        d_x = product(g, weight.t()) if needs_x else None
        d_weight = outer(rows, x.flatten(0, -2)) if needs_weight else None
        return d_x, d_weight, rows.sum(0) if needs_bias else None
