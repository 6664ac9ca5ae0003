"""Raw units outside the agent, unit scale inside; the scales travel in the checkpoint."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from robo_orl.base.errors import UsageError
from robo_orl.base.types import Observation
from robo_orl.data.statistics import Statistics
from robo_orl.models.layers import wide

BOUND = 10.0  # standard deviations; what is further out never occurred in training and is cut
MIN_RANGE = 1e-3  # an action dimension that hardly moves keeps its own unit


class Normaliser(nn.Module):
    """Standardises observations and scales actions to [-1, 1]. Buffers only: float32, saved with the agent."""

    def __init__(self, spec: dict[str, int], action_dim: int, statistics: Statistics | None):
        """statistics: None where a checkpoint will be loaded over it (identity until then)."""
        super().__init__()
        self.spec = dict(spec)
        self._packed: _Packed | None = None
        for key, size in spec.items():
            moments = statistics.obs.get(key) if statistics else None
            if statistics and (moments is None or len(moments.mean) != size):
                raise UsageError(f"The statistics do not describe the observation '{key}' of size {size}.")
            self.register_buffer(f"mean_{key}", _row(moments.mean if moments else [0.0] * size))
            self.register_buffer(f"std_{key}", _row(moments.std if moments else [1.0] * size))
        low = _row(statistics.action_low if statistics else [-1.0] * action_dim)
        high = _row(statistics.action_high if statistics else [1.0] * action_dim)
        if len(low) != action_dim:
            raise UsageError(f"The statistics describe {len(low)} action dimensions, the agent has {action_dim}.")
        half = (high - low) / 2
        self.register_buffer("action_centre", (high + low) / 2)
        self.register_buffer("action_half_range", torch.where(half < MIN_RANGE, torch.ones_like(half), half))

    def observation(self, obs: Observation) -> Observation:
        """Low-dim values in standard deviations, within BOUND; everything else as it is."""
        missing = self.spec.keys() - obs.low_dim.keys()
        if missing:
            raise UsageError(f"The observation lacks {', '.join(sorted(missing))}, which this policy was built for.")
        if not self.spec:
            return replace(obs, low_dim={})
        mean, std = self._scales()
        rows = wide(torch.cat([obs.low_dim[key] for key in self.spec], dim=-1))  # all keys at once
        rows = ((rows - mean) / std).clamp(-BOUND, BOUND)
        parts = rows.split(list(self.spec.values()), dim=-1)
        return replace(obs, low_dim=dict(zip(self.spec, parts, strict=True)))

    def _scales(self) -> tuple[Tensor, Tensor]:
        """Means and standard deviations of all keys side by side, joined again when one of the buffers changed."""
        means, stds = ([getattr(self, f"{of}_{key}") for key in self.spec] for of in ("mean", "std"))
        if torch.compiler.is_compiling():  # a graph knows no versions: it joins them by a kernel
            return torch.cat(means), torch.cat(stds)
        buffers = [*means, *stds]
        versions = [0 if buffer.is_inference() else buffer._version for buffer in buffers]
        if self._packed is None or not self._packed.holds(buffers, versions):
            self._packed = _Packed(buffers, versions, torch.cat(means), torch.cat(stds))
        return self._packed.mean, self._packed.std

    def scale_actions(self, actions: Tensor) -> Tensor:
        """(..., A) raw -> (..., A) in [-1, 1] over the range of the data."""
        return (wide(actions) - self.action_centre) / self.action_half_range

    def raw_actions(self, scaled: Tensor) -> Tensor:
        """(..., A) in [-1, 1] -> (..., A) raw."""
        return wide(scaled) * self.action_half_range + self.action_centre


@dataclass(frozen=True)
class _Packed:
    """Scales side by side, and the buffers that they were joined from."""

    buffers: list[Tensor]
    versions: list[int]
    mean: Tensor
    std: Tensor

    def holds(self, buffers: list[Tensor], versions: list[int]) -> bool:
        """True while the buffers are the same and unchanged."""
        return self.versions == versions and all(a is b for a, b in zip(self.buffers, buffers, strict=True))


def _row(values: list[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float32)
