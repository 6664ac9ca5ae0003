"""Values between two bounds as the sigmoid of a logit, learned by binary cross-entropy.

The loss of SHARSA (Park et al. 2025, arXiv:2506.04168, appendix E) for rewards that are 0 or 1; a target between the
bounds is the probability of the upper one.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from robo_orl.models.layers import wide

EDGE = 1e-5  # targets are kept so far from 0 and 1 where their logit is asked for (DQC's official code)


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
