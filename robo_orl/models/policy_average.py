"""The averaged policy that acts where `optim.policy_ema` is set."""

from __future__ import annotations

import torch
from torch import nn

from robo_orl.models.targets import Gather, average_buffers, buffer_copy, numbers


class PolicyAverage(nn.Module):
    """float32 buffers of backbone and action head. Early on the rate is larger, so that the start is forgotten."""

    def __init__(self, backbone: nn.Module, action_head: nn.Module):
        super().__init__()
        self.backbone, self.action_head = buffer_copy(backbone), buffer_copy(action_head)
        self.register_buffer("updates", torch.zeros(1, dtype=torch.int64))
        self._held = numbers([*backbone.parameters(), *action_head.parameters()])

    def update(self, backbone: nn.Module, action_head: nn.Module, decay: float, gather: Gather) -> None:
        """average <- d average + (1 - d) online, d = min(decay, (1 + u) / (10 + u)) after u updates."""
        updates = int(self.updates)
        rate = 1 - min(decay, (1 + updates) / (10 + updates))
        average_buffers(self.backbone, backbone, rate, gather)
        average_buffers(self.action_head, action_head, rate, gather)
        self.updates += 1

    def size(self) -> int:
        """Numbers in the average."""
        return self._held

    def buffers_held(self) -> int:
        """Those of them that are buffers: all."""
        return self._held
