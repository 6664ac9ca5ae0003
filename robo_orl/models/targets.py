"""Slow copies: targets of a critic and the averaged acting policy. The average is float32, always.

In bfloat16 an average with rate 0.005 stands still: the increment is below half a unit in the last place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from copy import deepcopy

import torch
from torch import Tensor, nn

from robo_orl.base.errors import RunError
from robo_orl.base.types import Observation
from robo_orl.config import CriticConfig
from robo_orl.models.critic_pair import CriticPair
from robo_orl.models.layers import wide

Gather = Callable[[list[nn.Parameter]], AbstractContextManager]
GATHERED_AT_ONCE = 16  # tensors made whole together: bounds the memory that an update needs under ZeRO-3


def buffer_copy(module: nn.Module, persistent: bool = True) -> nn.Module:
    """A copy that holds its parameters as float32 buffers: saved, moved, never trained and never partitioned."""
    copy = deepcopy(module)
    for owner in copy.modules():
        for name, parameter in list(owner._parameters.items()):
            if parameter is not None:
                del owner._parameters[name]
                owner.register_buffer(name, parameter.detach().float(), persistent=persistent)
    return copy


def frozen_copy(module: nn.Module) -> nn.Module:
    """A copy whose parameters are not trained: ZeRO-3 partitions it like the original."""
    return deepcopy(module).requires_grad_(False)


@torch.no_grad()
def average_buffers(copy: nn.Module, online: nn.Module, rate: float, gather: Gather) -> None:
    """copy <- copy + rate (online - copy), for a `buffer_copy` (of a part) of `online`; after the optimiser's step."""
    buffers = dict(copy.named_buffers())
    pairs = [(buffers[name], p) for name, p in online.named_parameters() if name in buffers]
    for first in range(0, len(pairs), GATHERED_AT_ONCE):
        some = pairs[first : first + GATHERED_AT_ONCE]
        with gather([p for _, p in some]):
            torch._foreach_lerp_([b for b, _ in some], [p.detach().float() for _, p in some], rate)


class ShardAverage:
    """Keeps a `frozen_copy` as the average of its original, every process its own shard under ZeRO-3.

    Where the parameters are not float32, the average lives in float32 beside them and is rounded into them.
    """

    def __init__(self, copy: nn.Module, online: nn.Module):
        originals = dict(online.named_parameters())
        self.pairs = [(p, originals[name]) for name, p in copy.named_parameters()]
        self.precise: dict[int, Tensor] = {}

    @torch.no_grad()
    def update(self, rate: float) -> None:
        """copy <- copy + rate (online - copy); after the optimiser's step."""
        local = [_local(p) for p, _ in self.pairs]
        precise = [self._float32(i, tensor) for i, tensor in enumerate(local)]
        torch._foreach_lerp_(precise, [_local(p).to(precise[0]) for _, p in self.pairs], rate)
        for tensor, average in zip(local, precise, strict=True):
            if tensor is not average:
                tensor.copy_(average)

    def _float32(self, index: int, tensor: Tensor) -> Tensor:
        if tensor.dtype == torch.float32:
            return tensor
        if index not in self.precise:
            self.precise[index] = tensor.float()
        return self.precise[index]


def _local(parameter: nn.Parameter) -> Tensor:
    """The part of a parameter that this process holds."""
    shard = getattr(parameter, "ds_tensor", None)
    if shard is None:
        return parameter.data
    if getattr(parameter, "ds_persist", False):
        raise RunError(
            "A full_ema target under ZeRO-3 needs 'stage3_param_persistence_threshold: 0' in the launch file: "
            "a parameter that is kept whole would leave its average behind."
        )
    return shard.data


class Target(nn.Module):
    """The slow critic. head_ema: float32 buffers of readout and Q heads, on the online tokens. full_ema: frozen copies
    of the critic's backbone, readout and Q heads."""

    def __init__(self, critic: nn.Module, backbone: nn.Module, config: CriticConfig):
        super().__init__()
        self.full, self.rate = config.target == "full_ema", config.tau
        copy = frozen_copy if self.full else buffer_copy
        self.critic = copy(critic)
        self.critic.v_head = None  # objectives bootstrap through Q's copy; V stays online
        self.pair = CriticPair()
        self.backbone = copy(backbone) if self.full else None
        self._shards: list[ShardAverage] | None = None
        self._buffers_held = 0 if self.full else numbers(self._averaged(critic))

    def _averaged(self, critic: nn.Module) -> list[Tensor]:
        return [p for name, p in critic.named_parameters() if not name.startswith("v_head.")]

    def features(self, obs: Observation, tokens: Tensor) -> Tensor:
        """(B, R, C) of normalised obs, whose online tokens (B, S, D) the critic reads otherwise."""
        return self.critic.readout(self.backbone(obs) if self.full else wide(tokens))

    def update(self, critic: nn.Module, backbone: nn.Module, gather: Gather) -> None:
        """target <- target + tau (online - target)."""
        if not self.full:
            average_buffers(self.critic, critic, self.rate, gather)
            return
        if self._shards is None:
            self._shards = [ShardAverage(self.critic, critic), ShardAverage(self.backbone, backbone)]
        for average in self._shards:
            average.update(self.rate)

    def size(self) -> int:
        """Numbers in the slow copy."""
        return self._buffers_held or numbers(self.parameters())

    def buffers_held(self) -> int:
        """Those of them that are buffers."""
        return self._buffers_held


def numbers(tensors: Iterable[Tensor]) -> int:
    """The count of numbers in the tensors, partitioned ones counted whole."""
    return sum(getattr(t, "ds_numel", t.numel()) for t in tensors)


class PolicyAverage(nn.Module):
    """float32 buffers of backbone, action head and the objective's own modules of the policy.

    Early on the rate is larger, so that the start is forgotten.
    """

    def __init__(self, backbone: nn.Module, action_head: nn.Module, extra: nn.ModuleDict):
        super().__init__()
        self.backbone, self.action_head, self.extra = (buffer_copy(m) for m in (backbone, action_head, extra))
        self.register_buffer("updates", torch.zeros(1, dtype=torch.int64))
        self._held = sum(numbers(m.parameters()) for m in (backbone, action_head, extra))

    def update(
        self, backbone: nn.Module, action_head: nn.Module, extra: nn.ModuleDict, decay: float, gather: Gather
    ) -> None:
        """average <- d average + (1 - d) online, d = min(decay, (1 + u) / (10 + u)) after u updates."""
        updates = int(self.updates)
        rate = 1 - min(decay, (1 + updates) / (10 + updates))
        average_buffers(self.backbone, backbone, rate, gather)
        average_buffers(self.action_head, action_head, rate, gather)
        average_buffers(self.extra, extra, rate, gather)
        self.updates += 1

    def size(self) -> int:
        """Numbers in the average."""
        return self._held

    def buffers_held(self) -> int:
        """Those of them that are buffers: all."""
        return self._held
