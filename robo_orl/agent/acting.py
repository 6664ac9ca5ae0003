"""The precision in which an agent acts."""

from __future__ import annotations

import torch

FLOAT64_PARAMETERS = 300_000_000  # larger policies act in the precision they were trained in


def acting_dtype(parameters: int) -> torch.dtype:
    """Of an agent of so many parameters: float64 where that is small beside the simulator, so that rounding, which
    depends on who else is in a batch, vanishes in the grid on which actions are sent."""
    return torch.float64 if parameters <= FLOAT64_PARAMETERS else torch.float32
