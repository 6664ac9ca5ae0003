"""The bytes of a process between two training steps, as arithmetic: no tensor is made, no device takes part.

Every weight, gradient and moment is float32 here: bf16 is an autocast over float32 weights (engine/zero.py), so that
the weights are their own master copy, except where DeepSpeed keeps a second one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from torch import Tensor, nn

from robo_orl.cost.parallelism import Layout
from robo_orl.engine.zero import BUCKET, LIVE
from robo_orl.models.targets import numbers

WORD = 4  # bytes of a float32


@dataclass(frozen=True)
class Weights:
    """Numbers of an agent, counted once for every layout."""

    trained: int
    frozen: int  # parameters that nothing trains and that are no slow copy
    target_parameters: int  # slow copies that ZeRO-3 partitions (full_ema)
    target_buffers: int  # bytes of slow copies that every process holds whole (head_ema, the averaged policy)
    other_bytes: int  # scales of the normaliser, bins, counters
    tensors: int  # trained tensors: AdamW keeps a step count for each
    largest: int  # of the trained tensors
    largest_group: int  # of the parameter groups

    @property
    def partitioned(self) -> int:
        """The numbers that ZeRO-3 divides among the processes."""
        return self.trained + self.frozen + self.target_parameters


def weights_of(agent: nn.Module) -> Weights:
    """Count an agent; it may live on the meta device."""
    slow = [module for module in (agent.target, agent.average, agent.slow_head, agent.untrained) if module is not None]
    target_parameters = sum(numbers(module.parameters()) for module in slow)
    target_buffers = sum(_bytes(module.buffers()) for module in slow)
    trained = [p for p in agent.parameters() if p.requires_grad]
    groups = [numbers(group) for group in agent.parameter_groups().values()]
    return Weights(
        trained=numbers(trained),
        frozen=numbers(agent.parameters()) - numbers(trained) - target_parameters,
        target_parameters=target_parameters,
        target_buffers=target_buffers,
        other_bytes=_bytes(agent.buffers()) - target_buffers,
        tensors=len(trained),
        largest=max(p.numel() for p in trained),
        largest_group=max(groups),
    )


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(t.numel() * t.element_size() for t in tensors)


def held(weights: Weights, layout: Layout) -> dict[str, int]:
    """Bytes on the device between steps, by what they are; what is offloaded is in `held_by_host`.

    buckets: DDP's gradients live in its buckets always; ZeRO-3 keeps one communication bucket.
    """
    w, n = weights, layout.world
    shard = n if layout.zero == 3 else 1
    on_host = layout.offload and layout.zero == 3
    parts = {
        "parameters": 0 if on_host else WORD * -(-(w.trained + w.frozen) // shard),
        "gradients": WORD * -(-w.trained // n) if layout.zero == 3 and not layout.offload else 0,
        "optimizer": 8 * w.trained + 4 * w.tensors,
        "master": 0,
        "targets": WORD * (0 if on_host else -(-w.target_parameters // shard)) + w.target_buffers,
        "buffers": w.other_bytes,
        "buckets": WORD * w.trained if layout.zero == 0 and n > 1 else 0,
    }
    if layout.deepspeed:
        share = -(-w.trained // n)
        parts["optimizer"] = 0 if layout.offload else 8 * share
        parts["master"] = 0 if layout.offload else WORD * share
        parts["buckets"] = WORD * BUCKET if layout.zero == 3 else 0
    return parts


def held_by_host(weights: Weights, layout: Layout) -> int:
    """Bytes of pinned host memory of one process under offload: moments, master copy, gradients, and copies in transit.

    From DeepSpeed 0.19's source: stages 1 and 2 keep a buffer of the updated weights beside the master copy, stage 3
    the parameters themselves.
    """
    if not layout.offload:
        return 0
    share = -(-weights.trained // layout.world)
    moved = share if layout.zero < 3 else -(-weights.partitioned // layout.world)
    return 8 * share + WORD * share + WORD * share + WORD * moved


def in_backward(weights: Weights, layout: Layout) -> tuple[int, int]:
    """(gradients, buckets): bytes that the engine adds by the end of the backward pass to what is held between steps.

    In one process, gradients are the backward pass's own and are counted there: 0 here.
    """
    if not layout.deepspeed:
        return 0, 0
    buckets = 2 if layout.device == "cuda" else 1  # overlapped communication fills one while the other is sent
    share = -(-weights.trained // layout.world)
    if layout.zero == 3:
        return 0, WORD * (min(weights.partitioned, LIVE) + min(BUCKET, weights.trained))
    # Stage 1 too keeps only its own part of what was reduced (measured: DeepSpeed 0.19, two processes).
    return WORD * (weights.largest if layout.offload else share), buckets * WORD * BUCKET


def added_up(weights: Weights, layout: Layout) -> tuple[int, int]:
    """Bytes of gradients beyond what is held between steps that the forward pass of a later part of a batch finds, and
    that there are in its backward pass.

    0 in one process, where the pass itself counts them, and under ZeRO-3, where they have their place always. Until the
    last part, DDP's are beside its buckets and ZeRO-1's are whole. ZeRO-2 adds its part of the new ones to its part of
    the sum and flattens the result: four times its part at the worst moment (measured: DeepSpeed 0.19, two processes).
    """
    if layout.zero == 3 or layout.world == 1 or layout.offload:
        return 0, 0
    if layout.zero == 2:
        share = WORD * -(-weights.trained // layout.world)
        return share, 4 * share
    return WORD * weights.trained, WORD * weights.trained


def in_forward(weights: Weights, layout: Layout) -> int:
    """Bytes of the parameters that ZeRO-3 has gathered; they stay where their next use is near."""
    return WORD * min(weights.partitioned, LIVE) if layout.zero == 3 else 0


def in_update(weights: Weights, layout: Layout) -> tuple[int, int]:
    """(gradients, temporaries) in bytes at the worst moment of the optimiser's step.

    torch's fused AdamW makes no temporaries. Under ZeRO a group is one flat tensor.
    """
    w, n = weights, layout.world
    if layout.offload:
        return 0, 0
    if not layout.deepspeed:
        return (WORD * w.trained if n == 1 else 0), 0
    group = -(-w.largest_group // n)
    share = 0 if layout.zero == 3 else -(-w.trained // n)
    return WORD * share, WORD * group  # the group's gradients, flattened
