"""Value functions on the tokens of a backbone: their own light readout, the action chunk enters late.

One backbone pass and one readout serve any number of candidate actions; an ensemble is one batched product.
E ensemble members, B batch, S tokens, N candidate actions, C critic width, K outputs (bins, or 1), c actions valued.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from robo_orl.config import CriticConfig
from robo_orl.models.layers import Readout, half_width, wide
from robo_orl.models.stacked import JointHeads, Layers, StackedLinear, values_of

SIGMA = 0.75  # standard deviations of the Gaussian in bin widths, the paper's choice
MARGIN = 3  # bins beyond each end of the range: without them a target at the end would be pulled inwards


class HLGauss(nn.Module):
    """K bins; the end points of the range are bin centres, with a margin outside where K allows it (K >= 9)."""

    def __init__(self, bins: int, value_range: tuple[float, float]):
        super().__init__()
        low, high = value_range
        margin = min(MARGIN, (bins - 2) // 2)
        self.low, self.high = low, high
        self.width = (high - low) / (bins - 1 - 2 * margin)
        centres = low + (torch.arange(bins, dtype=torch.float64) - margin) * self.width
        edges = torch.cat((centres - self.width / 2, centres[-1:] + self.width / 2))
        self.register_buffer("centres", centres.float(), persistent=False)
        self.register_buffer("edges", edges.float(), persistent=False)

    def project(self, target: Tensor) -> Tensor:
        """target (...), cut to the range -> probabilities (..., K): the Gaussian's mass in every bin."""
        target = wide(target).clamp(self.low, self.high).unsqueeze(-1)
        mass = torch.special.ndtr((self.edges.to(target) - target) / (SIGMA * self.width))
        return mass.diff(dim=-1) / (mass[..., -1:] - mass[..., :1])

    def cross_entropy(self, logits: Tensor, target: Tensor) -> Tensor:
        """logits (..., K), target (...) -> (...)."""
        return -(self.project(target) * wide(logits).log_softmax(-1)).sum(-1)

    def mean(self, logits: Tensor) -> Tensor:
        """logits (..., K) -> the expected value (...)."""
        probabilities = wide(logits).softmax(-1)
        return probabilities @ self.centres.to(probabilities)


EDGE = 1e-5  # distance of a target from 0 and 1 where its logit is computed (DQC's official code)


class Logistic(nn.Module):
    """One logit per value; value = low + (high - low) sigmoid(logit)."""

    def __init__(self, value_range: tuple[float, float]):
        super().__init__()
        self.low, self.high = value_range

    def mean(self, logits: Tensor) -> Tensor:
        """logits (..., 1) -> the value (...)."""
        return self.low + (self.high - self.low) * wide(logits).squeeze(-1).sigmoid()

    def cross_entropy(self, logits: Tensor, target: Tensor) -> Tensor:
        """logits (..., 1), target (...), cut to the range -> (...)."""
        return F.binary_cross_entropy_with_logits(
            wide(logits).squeeze(-1), self._probability(target).to(wide(logits)), reduction="none"
        )

    def logit(self, value: Tensor) -> Tensor:
        """The logit of a value (...), kept finite."""
        return self._probability(value).clamp(EDGE, 1 - EDGE).logit()

    def _probability(self, value: Tensor) -> Tensor:
        return ((wide(value) - self.low) / (self.high - self.low)).clamp(0, 1)


@dataclass(frozen=True)
class Estimate:
    """The output of a critic: raw (E, ..., K) numbers, and the support that turns them into values."""

    raw: Tensor
    support: HLGauss | Logistic | None

    @property
    def value(self) -> Tensor:
        """(E, ...), at least float32."""
        return wide(self.raw).squeeze(-1) if self.support is None else self.support.mean(self.raw)

    def loss(self, target: Tensor) -> Tensor:
        """target (...), without gradient -> (E, ...): squared error, or cross-entropy (to the HL-Gauss histogram)."""
        target = target.detach().expand(self.raw.shape[:-1])
        if self.support is None:
            return (self.value - target).square()
        return self.support.cross_entropy(self.raw, target)

    @property
    def height(self) -> Tensor:
        """The quantity that a policy climbs, (E, ...): with bce the logit, otherwise the value.

        A logit does not flatten towards the bounds (Park et al. 2025, arXiv:2506.04168, appendix E, call this crucial
        for long horizons).
        """
        return wide(self.raw).squeeze(-1) if isinstance(self.support, Logistic) else self.value

    def height_of(self, value: Tensor) -> Tensor:
        """A value (...) on the scale of `height`."""
        return self.support.logit(value) if isinstance(self.support, Logistic) else value


class Critic(nn.Module):
    """Q(s, a_1..c) with an ensemble and, where the objective wants it, V(s)."""

    def __init__(self, token_width: int, action_numbers: int, heads: tuple[str, ...], config: CriticConfig):
        """action_numbers: c * A. heads: "q", "v" or both."""
        super().__init__()
        width = half_width(token_width)
        outputs = config.bins if config.loss == "hl_gauss" else 1
        self.support = _support(config)
        self.members = config.ensemble if "q" in heads else 0
        self.readout = Readout(token_width, width, self.members + ("v" in heads))
        self.q_heads = Heads(self.members, width, action_numbers, outputs) if "q" in heads else None
        self.v_head = Heads(1, width, 0, outputs) if "v" in heads else None
        self.joint = JointHeads()

    def q(self, features: Tensor, actions: Tensor) -> Estimate:
        """features (B, R, C) of the readout; actions (B, c, A) -> (E, B), or (B, N, c, A) -> (E, B, N)."""
        many = actions if actions.dim() == 4 else actions.unsqueeze(1)
        raw = self.q_heads(features[:, : self.members], rearrange(many, "B N c A -> B N (c A)"))  # (E, B, N, K)
        return Estimate(raw if actions.dim() == 4 else raw.squeeze(2), self.support)

    def v(self, features: Tensor) -> Estimate:
        """features (B, R, C) of the readout -> (1, B)."""
        layers = self.joint.last(1) if self.joint.ready else self.v_head.layers
        return Estimate(values_of(layers, features[:, self.members :]).squeeze(2), self.support)

    def v_and_q(self, features: Tensor, actions: Tensor) -> tuple[Estimate, Estimate]:
        """V (1, B) and Q (E, B) of actions (B, c, A) by the weights of `joint`, one product a layer for both."""
        rows = rearrange(actions, "B c A -> B 1 (c A)")
        raw = values_of(self.joint.layers(self.q_heads.action_in), features, rows).squeeze(2)  # (E + 1, B, K)
        return Estimate(raw[self.members :], self.support), Estimate(raw[: self.members], self.support)


def _support(config: CriticConfig) -> HLGauss | Logistic | None:
    if config.loss == "hl_gauss":
        return HLGauss(config.bins, config.value_range)
    return Logistic(config.value_range) if config.loss == "bce" else None


class Heads(nn.Module):
    """E MLPs with two hidden layers as stacked weights. LayerNorm keeps values bounded (Ball et al. 2023, RLPD)."""

    def __init__(self, members: int, width: int, action_numbers: int, outputs: int):
        super().__init__()
        hidden = 2 * width
        self.feature_in = StackedLinear(members, width, hidden, fan_in=width + action_numbers)
        self.action_in = (
            StackedLinear(members, action_numbers, hidden, fan_in=width + action_numbers) if action_numbers else None
        )
        self.hidden = StackedLinear(members, hidden, hidden)
        self.out = StackedLinear(members, hidden, outputs)

    @property
    def layers(self) -> Layers:
        """The layers of all members."""
        return Layers(self.feature_in, self.action_in, self.hidden, self.out)

    def forward(self, features: Tensor, actions: Tensor | None = None) -> Tensor:
        """features (B, E, C), one readout per member; actions (B, N, c*A) or None -> (E, B, N, K), N = 1 without."""
        return values_of(self.layers, features, actions)
