"""Stacked layers: the MLPs of an ensemble's members as batched products.

E ensemble members, B batch, N candidate actions, C width of a readout, K outputs, c actions valued, M rows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from torch import Tensor, nn


class StackedLinear(nn.Module):
    """E linear maps as one batched product."""

    def __init__(self, members: int, inputs: int, outputs: int, fan_in: int | None = None):
        super().__init__()
        self.members = members
        self.weight = nn.Parameter(torch.empty(members, inputs, outputs))
        self.bias = nn.Parameter(torch.zeros(members, 1, outputs))
        nn.init.trunc_normal_(self.weight, std=(fan_in or inputs) ** -0.5)

    def forward(self, x: Tensor) -> Tensor:
        """(E, M, inputs) -> (E, M, outputs)."""
        return torch.baddbmm(self.bias.to(x.dtype), x, self.weight.to(x.dtype))


class Stacked(NamedTuple):
    """A `StackedLinear` of weights that an engine keeps together."""

    weight: Tensor
    bias: Tensor

    @property
    def members(self) -> int:
        """E."""
        return len(self.weight)

    def __call__(self, x: Tensor) -> Tensor:
        """(E, M, inputs) -> (E, M, outputs)."""
        return torch.baddbmm(self.bias, x, self.weight)


Layer = Callable[[Tensor], Tensor]


class Layers(NamedTuple):
    """Stacked layers of a number of members; action_in: of the first of them, None where none sees an action."""

    feature_in: Layer
    action_in: Layer | None
    hidden: Layer
    out: Layer


def values_of(layers: Layers, features: Tensor, actions: Tensor | None = None) -> Tensor:
    """features (B, E, C), one readout per member; actions (B, N, c*A) or None -> (E, B, N, K), N = 1 without."""
    batch = len(features)
    x = layers.feature_in(rearrange(features, "B E C -> E B C"))
    x = rearrange(x, "E B C -> E B 1 C")  # once for all candidates
    if actions is not None:
        members = len(x) if layers.action_in is None else layers.action_in.members
        rows = repeat(actions.to(x.dtype), "B N a -> E (B N) a", E=members)
        seen = rearrange(layers.action_in(rows), "E (B N) C -> E B N C", B=batch)
        x = x + seen if members == len(x) else torch.cat((x[:members] + seen, x[members:]))
    x = layers.hidden(rearrange(F.silu(_normalise(x)), "E B N C -> E (B N) C"))
    return rearrange(layers.out(F.silu(_normalise(x))), "E (B N) K -> E B N K", B=batch)


class JointHeads(nn.Module):
    """Copies of the layers of Q's heads and of V's after them, one under the other, while an engine has put them here
    (engine/working_weights.py). Holds nothing of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.feature_in_weight: Tensor | None = None
        self.feature_in_bias: Tensor | None = None
        self.hidden_weight: Tensor | None = None
        self.hidden_bias: Tensor | None = None
        self.out_weight: Tensor | None = None
        self.out_bias: Tensor | None = None

    @property
    def ready(self) -> bool:
        """Whether there are weights here now."""
        return self.feature_in_weight is not None

    def layers(self, action_in: Layer) -> Layers:
        """The layers of all members."""
        return Layers(
            Stacked(self.feature_in_weight, self.feature_in_bias),
            action_in,
            Stacked(self.hidden_weight, self.hidden_bias),
            Stacked(self.out_weight, self.out_bias),
        )

    def last(self, members: int) -> Layers:
        """The layers of the last members, which see no action."""
        return Layers(
            Stacked(self.feature_in_weight[-members:], self.feature_in_bias[-members:]),
            None,
            Stacked(self.hidden_weight[-members:], self.hidden_bias[-members:]),
            Stacked(self.out_weight[-members:], self.out_bias[-members:]),
        )


def _normalise(x: Tensor) -> Tensor:
    """LayerNorm in the type of x, computed in float32 inside; CUDA's autocast would add a cast before and after it."""
    if not torch.is_autocast_enabled(x.device.type):
        return F.layer_norm(x, x.shape[-1:])
    with torch.autocast(x.device.type, enabled=False):
        return F.layer_norm(x, x.shape[-1:])
