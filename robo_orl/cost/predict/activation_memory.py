"""The bytes that the passes of a training step add, by phase: of fake tensors, or of real ones to compare with.

A fake tensor has a shape, a type and a storage size, and no memory: a step of 7 billion parameters runs on a laptop.
Fake CPU tensors are used, whose attention kernel keeps no S x S scores, as the GPU's; fake `meta` ones would keep them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from robo_orl.agent.agent import build_agent
from robo_orl.base.errors import UsageError
from robo_orl.config import PolicyConfig
from robo_orl.cost.synthetic_step import SyntheticStep, frozen_online
from robo_orl.cost.tensor_memory import TensorBytes


class Unpredictable(UsageError):
    """A step whose shapes depend on the values in it."""


@dataclass(frozen=True)
class PhaseBytes:
    """The bytes that a phase adds at its peak to those between steps; they add up to `total`."""

    gradients: int  # of the parameters, as far as the backward pass has come
    activations: int  # left by the forward pass for the backward pass, as far as they live at the peak
    temporaries: int  # everything else

    @property
    def total(self) -> int:
        """Bytes beyond what is held between steps."""
        return self.gradients + self.activations + self.temporaries


def step_bytes(step: SyntheticStep, keep_gradients: bool = True, accumulated: bool = False) -> dict[str, PhaseBytes]:
    """Run forward and backward of one step; the bytes that each adds at its peak.

    keep_gradients: False where a parameter's gradient leaves at once, into a bucket that is counted elsewhere (DDP,
    ZeRO-2 and 3). accumulated: the gradients of an earlier part of the batch are in place, and these are added to
    them. The step's gradients are dropped, and nothing is updated.
    """
    phases: dict[str, PhaseBytes] = {}
    if accumulated:
        step.gradients()
    held = [tensor for tensors in step.tensors().values() for tensor in tensors]
    earlier = [p.grad for p in step.agent.parameters() if p.grad is not None]
    with TensorBytes(held + earlier) as counter, _gradients_labelled(step.agent, counter, keep_gradients):
        for gradient in earlier:
            counter.relabel(gradient, "gradients")

        @contextmanager
        def phase(name: str) -> Iterator[None]:
            counter.label = {"forward": "activations", "backward": "temporaries"}[name]
            counter.restart_peak()
            yield
            phases[name] = _at_peak(counter, left=counter.by_label["activations"] if name == "forward" else None)

        step.gradients(phase)
    step.agent.zero_grad(set_to_none=True)
    return phases


def _at_peak(counter: TensorBytes, left: int | None) -> PhaseBytes:
    """left: bytes that the forward pass leaves behind; what it held beyond them at its peak was temporary."""
    peak = counter.at_peak
    activations = peak.get("activations", 0)
    kept = activations if left is None else min(left, activations)
    return PhaseBytes(peak.get("gradients", 0), kept, peak.get("temporaries", 0) + activations - kept)


@contextmanager
def _gradients_labelled(agent: nn.Module, counter: TensorBytes, keep: bool) -> Iterator[None]:
    def arrived(parameter: Tensor) -> None:
        if keep:
            counter.relabel(parameter.grad, "gradients")
        else:
            parameter.grad = None

    hooks = [p.register_post_accumulate_grad_hook(arrived) for p in agent.parameters() if p.requires_grad]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


class AssumedValues(TorchDispatchMode):
    """Values where a step reads a fake tensor: the rows of a tensor all differ, which is the most there can be, and a
    boolean (a vision tower reads whether its mask hides nothing) is true, as with synthetic windows.
    """

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        if func is torch.ops.aten._local_scalar_dense.default and args[0].dtype == torch.bool:
            return True
        if func is not torch.ops.aten.unique_dim.default:
            return func(*args, **(kwargs or {}))
        rows = args[0]
        return rows.clone(), torch.arange(len(rows)), torch.ones(len(rows), dtype=torch.int64)


class FakeStep(SyntheticStep):
    """A training step without memory: `gradients` runs, `run` does not (AdamW reads its own step count)."""

    def _build(self) -> nn.Module:
        from torch._subclasses.fake_tensor import unset_fake_temporarily

        with unset_fake_temporarily():  # initialisation reads values, which a fake tensor lacks
            agent = shapes_of(self.policy, self.spec, self.action_dim, self.gamma)
        return agent.to_empty(device="cpu")


def shapes_of(policy: PolicyConfig, spec: dict[str, int], action_dim: int, gamma: float) -> nn.Module:
    """An agent on the meta device: shapes without numbers, so that no file of a vlm's weights is read."""
    backbone = policy.backbone.model_copy(update={"weights": None, "download": False})
    with torch.device("meta"):
        agent = build_agent(policy.model_copy(update={"backbone": backbone}), spec, action_dim, gamma, None, 0)
    return frozen_online(agent)


@contextmanager
def fake_step(policy: PolicyConfig, spec: dict[str, int], action_dim: int, gamma: float) -> Iterator[FakeStep]:
    """A step of `policy` on fake CPU tensors, usable inside the block.

    Raises Unpredictable where the step does what depends on the values of tensors.
    """
    from torch._subclasses.fake_tensor import (
        DataDependentOutputException,
        DynamicOutputShapeException,
        FakeTensorMode,
    )

    try:
        with (
            _masks_as_in_a_real_step(policy.backbone.kind),
            FakeTensorMode(allow_non_fake_inputs=True),
            AssumedValues(),
        ):
            yield FakeStep(policy, spec, action_dim, gamma, "cpu")
    except (DataDependentOutputException, DynamicOutputShapeException) as error:
        raise Unpredictable(
            f"A step of this policy reads the values of tensors ({error}): measure it instead."
        ) from None


@contextmanager
def _masks_as_in_a_real_step(kind: str) -> Iterator[None]:
    """`transformers` keeps masks that hide nothing for a trace, and takes fake tensors for one: not in this block."""
    if kind != "vlm":
        yield
        return
    from transformers import masking_utils

    is_tracing, masking_utils.is_tracing = masking_utils.is_tracing, lambda tensor=None: False
    try:
        yield
    finally:
        masking_utils.is_tracing = is_tracing
