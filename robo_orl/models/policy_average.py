"""The averaged policy that acts where `optim.policy_ema` is set."""

from __future__ import annotations

import torch
from torch import nn

from robo_orl.models.targets import Gather, average_buffers, buffer_copy, numbers


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
