"""HL-Gauss: a scalar as a histogram (Imani and White 2018; Farebrother et al. 2024, arXiv:2403.03950, section 3.1)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from robo_orl.models.layers import wide

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
