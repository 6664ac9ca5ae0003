"""A Gaussian action chunk on the box of actions, with a density and a sample that are differentiable.

Each number is a normal truncated to [-1, 1] around a mean within it. The objectives need three things at once:
a finite likelihood of actions that lie on the bounds (a gripper's always do), for BC, AWR, AWAC, CRR and IQL; a density
over the box that samples follow, for the entropy of SAC and the importance weights of CQL; a reparametrised gradient.
A tanh-squashed normal (Haarnoja et al. 2018, arXiv:1801.01290, appendix C) fails the first, its density is infinite at
the bounds, which is why IQL's authors leave it out; a clipped normal (Fujita and Maeda 2018, arXiv:1802.07564) fails
the second, its bounds carry atoms. With the mean in the box so is 0.47 of the mass: nothing is ill-conditioned.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from einops import rearrange
from torch import Tensor

from robo_orl.base.rng import Draws
from robo_orl.config import ActionHeadConfig
from robo_orl.models.action_heads.action_head import ActionHead, TokenReader, masked_sum, per_number
from robo_orl.models.layers import linear, wide

MIN_STD = 0.007  # robomimic's lower limit
FIRST_STD = 0.3  # of an untrained head, as in robomimic
TAIL = 1e-6  # probability left out at each end: where float32 can no longer invert the normal's distribution function


class GaussianHead(ActionHead):
    """One readout, one MLP; h x A means in [-1, 1] and standard deviations in [min_std, 1]. Acts by its mode."""

    density = True
    reparametrised = True
    acting = ("mode", "sample")
    options = frozenset({"min_std", "acting"})

    def __init__(self, token_width: int, depth: int, action_dim: int, config: ActionHeadConfig):
        super().__init__()
        self.shape = (config.chunk, action_dim)
        self.min_std = config.min_std or MIN_STD
        self.acts_by = config.acting or self.acting[0]
        self.reader = TokenReader(token_width)
        self.out = linear(token_width, 2 * config.chunk * action_dim, bias=True, scale=0.1)

    def parameters_of(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """tokens (B, S, D) -> mean and standard deviation before truncation, (B, h, A) each."""
        outputs = wide(self.out(self.reader(tokens)))  # (B, 1, 2hA)
        mean, spread = rearrange(outputs, "B 1 (two h A) -> two B h A", two=2, h=self.shape[0])
        share = (spread + math.log(FIRST_STD / (1 - FIRST_STD))).sigmoid()
        return mean.tanh(), self.min_std + (1 - self.min_std) * share

    def loss(self, tokens: Tensor, actions: Tensor, mask: Tensor, draws: Draws, streams: Sequence[str]) -> Tensor:
        """Negative log-likelihood per number of the valid steps, (B,). It draws nothing."""
        return per_number(self.log_prob(tokens, actions, mask), mask, self.shape[1])

    def log_prob(self, tokens: Tensor, actions: Tensor, mask: Tensor) -> Tensor:
        """actions (B, h, A) -> (B,), or (B, N, h, A) -> (B, N); a density over [-1, 1]^(h A)."""
        mean, std = self.parameters_of(tokens)
        if actions.dim() == 4:
            mean, std = mean.unsqueeze(1), std.unsqueeze(1)
        return masked_sum(log_density(actions, mean, std), mask)

    def sample(self, tokens: Tensor, num_samples: int, draws: Draws, stream: str, steps: int | None = None) -> Tensor:
        """Samples (B, N, h, A); it takes no steps."""
        return self.sample_with_log_prob(tokens, num_samples, draws, stream)[0]

    def sample_with_log_prob(
        self, tokens: Tensor, num_samples: int, draws: Draws, stream: str
    ) -> tuple[Tensor, Tensor]:
        """Samples (B, N, h, A) with gradient, and their log-densities (B, N)."""
        mean, std = (x.unsqueeze(1) for x in self.parameters_of(tokens))
        uniform = draws.uniform(stream, len(tokens), num_samples, *self.shape)
        x = from_uniform(uniform.to(mean), mean, std)
        return x, log_density(x, mean, std).sum((-2, -1))

    def entropy(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """(B,), in closed form."""
        return masked_sum(entropy_of(*self.parameters_of(tokens)), mask)

    def mode(self, tokens: Tensor) -> Tensor:
        """tokens (B, S, D) -> the most probable chunk (B, h, A)."""
        return self.parameters_of(tokens)[0]


def log_density(x: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Log-density at x in [-1, 1] of N(mean, std^2) truncated to [-1, 1], elementwise."""
    below, above = (torch.special.ndtr((bound - mean) / std) for bound in (-1.0, 1.0))
    return -0.5 * ((x - mean) / std).square() - std.log() - 0.5 * math.log(2 * math.pi) - (above - below).log()


def entropy_of(mean: Tensor, std: Tensor) -> Tensor:
    """The entropy of N(mean, std^2) truncated to [-1, 1], elementwise."""
    below, above = ((bound - mean) / std for bound in (-1.0, 1.0))
    mass = torch.special.ndtr(above) - torch.special.ndtr(below)
    density = [(-0.5 * z.square()).exp() / math.sqrt(2 * math.pi) for z in (below, above)]
    cut = (below * density[0] - above * density[1]) / (2 * mass)
    return 0.5 * math.log(2 * math.pi * math.e) + (std * mass).log() + cut


def from_uniform(uniform: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """The quantile of N(mean, std^2) truncated to [-1, 1] at `uniform` in [0, 1); differentiable in mean and std."""
    below, above = (torch.special.ndtr((bound - mean) / std) for bound in (-1.0, 1.0))
    inside = TAIL + (1 - 2 * TAIL) * uniform
    return (mean + std * torch.special.ndtri(below + inside * (above - below))).clamp(-1, 1)
