"""Floating-point operations of anything that runs in torch: matrix products and attention, forward and backward.

torch's own FlopCounterMode follows modules through hooks that fail where a module runs without gradient on features
that have one, which every target network does; its formulas are used here, its module tracking is not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry, sdpa_backward_flop_count, sdpa_flop_count


def _attention(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    return sdpa_flop_count(query.shape, key.shape, value.shape)


def _attention_backward(gradient: Any, query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    return sdpa_backward_flop_count(gradient.shape, query.shape, key.shape, value.shape)


def _linear(x: Any, weight: Any, *_: Any, **__: Any) -> int:
    return 2 * x.shape.numel() * weight.shape[0]


# The CPU's attention kernel counts as nothing in older versions of torch, oneDNN's linear map in all.
FORMULAS: dict[Any, Callable[..., int]] = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward,
    **({torch.ops.mkldnn._linear_pointwise: _linear} if hasattr(torch.ops.mkldnn, "_linear_pointwise") else {}),
} | dict(flop_registry)


def _attention_backward_once(gradient: Any, query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    """Four products instead of five: the backward kernels compute the scores again, which the model does not need."""
    return 2 * sdpa_flop_count(query.shape, key.shape, value.shape)


def _recomputes(operator: Any) -> bool:
    name = str(operator)
    return "scaled_dot_product" in name and "backward" in name


MODEL_FORMULAS = {op: _attention_backward_once if _recomputes(op) else formula for op, formula in FORMULAS.items()}


class FlopCounter(TorchDispatchMode):
    """Adds up the FLOPs of what runs while it is active in `total`; model: what is computed twice counts once."""

    def __init__(self, model: bool = False) -> None:
        super().__init__()
        self.total = 0
        self.formulas = MODEL_FORMULAS if model else FORMULAS

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        formula = self.formulas.get(func._overloadpacket)
        if formula is None and torch.is_inference_mode_enabled() and func is not torch.ops.prim.device.default:
            with self:  # an operator that is made of others (inference mode does not take it apart by itself)
                parts = func.decompose(*args, **kwargs)
            if parts is not NotImplemented:
                return parts
        result = func(*args, **kwargs)
        if formula is not None:
            self.total += formula(*args, **kwargs, out_val=result)
        return result


def count_flops(run: Callable[[], object], model: bool = False) -> int:
    """FLOPs of `run()`, a multiply-add counted as two; elementwise work, norms and the optimiser are not counted.

    model: leave out what attention's backward kernels compute again; for model FLOPs also run without checkpointing.
    """
    with FlopCounter(model) as counter:
        run()
    return counter.total
