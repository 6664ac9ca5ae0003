"""The values that pass between an objective and the agent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor, nn

from robo_orl.config import PolicyConfig
from robo_orl.models.action_heads import ActionHead

Terms = dict[str, Tensor]  # loss term -> 0-dim
Metrics = dict[str, Tensor]  # metric -> 0-dim
Losses = tuple[Terms, Metrics]
Modules = dict[str, Callable[[], nn.Module]]  # name -> constructor; every one starts from a generator of its own


@dataclass(frozen=True)
class Parts:
    """The sizes that an objective's own modules are built for: widths of tokens, and of what the agent gives out."""

    policy: PolicyConfig
    token_width: int  # D of the policy's backbone
    depth: int
    critic_width: int  # D of the tokens that the critic reads
    action_dim: int  # A
    valued_actions: int  # c
    obs_numbers: int  # numbers in a low-dim observation


class ActingPolicy(Protocol):
    """The networks that act: those of the agent, or of its average."""

    backbone: nn.Module
    action_head: ActionHead
    extra: nn.ModuleDict
