"""The values that cross module boundaries: observations, and the windows that training reads.

Shape letters, used in the whole project: B batch (pairs), T time, h action chunk, A action dim, D feature dim,
S tokens, E critic ensemble, N sampled actions, K value bins.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class Observation:
    """The observations of a policy at B instants.

    low_dim: per key (B, D_key) float32, raw units (metres, radians, quaternion xyzw); only the agent normalises.
    images: per camera (B, 3, H, W) uint8.
    instruction: (B, L) int64 token ids or None, with instruction_mask (B, L) bool.
    features: (B, S, D) or (B, layers, S, D), what a frozen backbone said about images and instruction, or None.
    """

    low_dim: dict[str, Tensor]
    images: dict[str, Tensor]
    instruction: Tensor | None = None
    instruction_mask: Tensor | None = None
    features: Tensor | None = None

    def __len__(self) -> int:
        return len(next(iter((self.low_dim or self.images).values()), self.features))

    def map(self, f: Callable[[Tensor], Tensor]) -> Observation:
        """Apply f to every tensor."""
        return Observation(
            {k: f(v) for k, v in self.low_dim.items()},
            {k: f(v) for k, v in self.images.items()},
            None if self.instruction is None else f(self.instruction),
            None if self.instruction_mask is None else f(self.instruction_mask),
            None if self.features is None else f(self.features),
        )

    def to(self, device: torch.device | str) -> Observation:
        """Copy every tensor to `device`."""
        return self.map(lambda t: t.to(device, non_blocking=True))

    @staticmethod
    def cat(first: Observation, second: Observation) -> Observation:
        """Join two batches of equal keys along B."""
        return Observation(
            {k: torch.cat((v, second.low_dim[k])) for k, v in first.low_dim.items()},
            {k: torch.cat((v, second.images[k])) for k, v in first.images.items()},
            None if first.instruction is None else torch.cat((first.instruction, second.instruction)),
            None if first.instruction_mask is None else torch.cat((first.instruction_mask, second.instruction_mask)),
            None if first.features is None else torch.cat((first.features, second.features)),
        )


@dataclass(frozen=True)
class PairedWindow:
    """B pairs (s_t, s_{t+n}) of one trajectory each: 2B observations for BC, B transitions for TD, one backbone pass.

    obs, next_obs: B observations at t and at t+n. Where t+n is past the episode's end (n frames per episode),
        next_obs wraps to frame (t+n) mod T of the same episode, so that every frame is drawn equally often by BC.
    actions, next_actions: (B, h, A) float32 in raw units, from t and from the frame of next_obs; padded by repetition.
    action_mask, next_action_mask: (B, h) bool, False past the end of the episode.
    reward: (B,) float32, the discounted sum of the rewards t .. min(t+n, T)-1.
    discount: (B,) float32, gamma^n where s_{t+n} exists; 0 where the episode ended in a true terminal before t+n.
    td_valid: (B,) bool, False where a timeout cuts the window (a timeout is no terminal, and there is no s_{t+n}).
        With PairedWindows(cut_short=True) n is there what the episode has left, and only its last frame is False.
    return_to_go: (B,) float32, discounted Monte-Carlo return from t, one more for the frame of next_obs:
        next_return_to_go.
    steps_to_go: (B,) float32, frames left in the episode from t.
    success: (B,) bool, whether the whole episode succeeded.
    stage: (B,) int64, stages completed before t.
    episode, frame: (B,) int64, where the window comes from.
    """

    obs: Observation
    next_obs: Observation
    actions: Tensor
    action_mask: Tensor
    next_actions: Tensor
    next_action_mask: Tensor
    reward: Tensor
    discount: Tensor
    td_valid: Tensor
    return_to_go: Tensor
    next_return_to_go: Tensor
    steps_to_go: Tensor
    success: Tensor
    stage: Tensor
    episode: Tensor
    frame: Tensor

    def __len__(self) -> int:
        return len(self.reward)

    def map(self, f: Callable[[Tensor], Tensor]) -> PairedWindow:
        """Apply f to every tensor, those of the observations included."""
        return replace(self, **{field.name: _mapped(getattr(self, field.name), f) for field in fields(self)})

    def to(self, device: torch.device | str) -> PairedWindow:
        """Copy every tensor to `device`."""
        return self.map(lambda t: t.to(device, non_blocking=True))


@dataclass(frozen=True)
class DecisionWindow(PairedWindow):
    """2B decisions of a round that the policy collected itself, B in either half: not pairs of an episode.

    kept: name -> (2B, ...), what was computed of each decision before the round's first update (objectives/on_policy).
    """

    kept: dict[str, Tensor]


def _mapped(
    value: Tensor | Observation | dict[str, Tensor], f: Callable[[Tensor], Tensor]
) -> Tensor | Observation | dict[str, Tensor]:
    if isinstance(value, Observation):
        return value.map(f)
    return {name: f(tensor) for name, tensor in value.items()} if isinstance(value, dict) else f(value)
