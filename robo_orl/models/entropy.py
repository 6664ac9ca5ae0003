"""The entropy of a backbone's attention, per layer: told, and where asked for held at a target.

Transformer critics are known to collapse as they grow: attention falls onto few tokens and values stop telling states
apart. TQL (transformer Q-learning) holds the entropy of every layer at a target with a temperature alpha_l of its own,
learned as in SAC:
    L = sum_l  - alpha_l H_l  +  alpha_l (H_l - Hbar),
where alpha_l is a constant in the first term and H_l in the second: alpha_l grows while H_l is below the target.
H is a share of ln(tokens), so that one target serves any number of tokens.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

START = 0.01  # alpha_l: enough to be felt after some hundred steps, too little to disturb the first ones


class EntropyControl(nn.Module):
    """A temperature per layer."""

    def __init__(self, layers: int, target: float):
        super().__init__()
        self.target = target
        self.log_temperature = nn.Parameter(torch.full((layers,), math.log(START)))

    def forward(self, entropy: Tensor) -> Tensor:
        """entropy (L,), with gradient -> (): the loss."""
        temperature = self.log_temperature.exp()
        return (-temperature.detach() * entropy + temperature * (entropy.detach() - self.target)).sum()


def add_entropy(name: str, backbone: nn.Module | None, terms: dict[str, Tensor], metrics: dict[str, Tensor]) -> None:
    """Add what the backbone measured in this step: a metric per layer, and its loss where it is controlled."""
    measured = backbone.take_entropy() if hasattr(backbone, "take_entropy") else None
    if measured is None:
        return
    entropy, loss = measured
    if loss is not None:
        terms[f"{name}/entropy"] = loss
    width = len(str(len(entropy) - 1))
    for layer, value in enumerate(entropy.unbind()):
        metrics[f"{name}/attention_entropy_{layer:0{width}d}"] = value
