"""What an objective returns, and what its own networks are built from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from robo_orl.config import PolicyConfig

Terms = dict[str, Tensor]


Metrics = dict[str, Tensor]


Modules = dict[str, Callable[[], nn.Module]]  # name -> how it is built; every one starts from a generator of its own


@dataclass(frozen=True)
class Parts:
    """What an objective's own modules fit to: widths of the tokens of policy and critic, sizes of what they give."""

    policy: PolicyConfig
    token_width: int  # D of the policy's backbone
    depth: int
    critic_width: int  # D of the tokens that the critic reads
    action_dim: int  # A
    valued_actions: int  # c
    obs_numbers: int  # numbers in a low-dim observation
