"""A mixture of M Gaussian action chunks (robomimic's BC-GMM: Mandlekar et al. 2021, arXiv:2108.03298, appendix).

    p(a|s) = sum_m w_m prod_i N(a_i; tanh(mu_mi), sigma_mi^2),   sigma = softplus(.) + min_std

One component is a whole chunk, so that a sample commits to one way of doing it over its h steps; robomimic predicts one
action at a time, where the two are the same. Like there, acting lowers the noise: a component is drawn by its weight,
and its mean is followed with a standard deviation of 1e-4.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from robo_orl.base.rng import Draws
from robo_orl.config import ActionHeadConfig
from robo_orl.models.action_heads.action_head import ActionHead, TokenReader, masked_sum, per_number
from robo_orl.models.layers import linear, wide

MODES = 5  # robomimic's
# robomimic's networks take 0.01, its BC template 1e-4: with these the variances of a short run shrink before the
# weights have learnt which component is meant, and acting draws the wrong ones.
MIN_STD = 0.02
AT_BOUND = 1e-3  # distance from a bound within which a chunk that was carried out was cut there
LOW_NOISE = 1e-4  # standard deviation of acting, robomimic's low_noise_eval


class GMMHead(ActionHead):
    """One readout, one MLP; M components of h x A means and standard deviations, and M weights."""

    density = True
    acting = ("low_noise", "sample", "mode")
    options = frozenset({"modes", "min_std", "acting"})

    def __init__(self, token_width: int, depth: int, action_dim: int, config: ActionHeadConfig):
        super().__init__()
        self.shape = (config.modes or MODES, config.chunk, action_dim)  # (M, h, A)
        self.min_std = config.min_std or MIN_STD
        self.acts_by = config.acting or self.acting[0]
        self.reader = TokenReader(token_width)
        self.weights = linear(token_width, self.shape[0], bias=True, scale=0.1)
        self.components = linear(token_width, 2 * math.prod(self.shape), bias=True)

    def parameters_of(self, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """tokens (B, S, D) -> log-weights (B, M), means and standard deviations (B, M, h, A) each."""
        x = self.reader(tokens).squeeze(1)
        modes, chunk, _ = self.shape
        mean, spread = rearrange(wide(self.components(x)), "B (two M h A) -> two B M h A", two=2, M=modes, h=chunk)
        return wide(self.weights(x)).log_softmax(-1), mean.tanh(), F.softplus(spread) + self.min_std

    def loss(self, tokens: Tensor, actions: Tensor, mask: Tensor, draws: Draws, streams: Sequence[str]) -> Tensor:
        """Negative log-likelihood per number of the valid steps, (B,). It draws nothing."""
        return per_number(self.log_prob(tokens, actions, mask), mask, self.shape[-1])

    def log_prob(self, tokens: Tensor, actions: Tensor, mask: Tensor) -> Tensor:
        """actions (B, h, A) -> (B,), or (B, N, h, A) -> (B, N); a density over R^(h A): only samples are cut."""
        weights, mean, std = self.parameters_of(tokens)
        many = (actions if actions.dim() == 4 else actions.unsqueeze(1)).unsqueeze(2)  # (B, N, 1, h, A)
        components = masked_sum(log_normal(many, mean.unsqueeze(1), std.unsqueeze(1)), mask)  # (B, N, M)
        log_prob = (weights.unsqueeze(1) + components).logsumexp(-1) * mask.any(-1, keepdim=True)
        return log_prob if actions.dim() == 4 else log_prob.squeeze(1)

    def log_prob_of_sample(self, tokens: Tensor, actions: Tensor, mask: Tensor) -> Tensor:
        """actions (B, h, A) -> (B,): at a bound the mass beyond it in place of the density."""
        weights, mean, std = self.parameters_of(tokens)
        x = actions.unsqueeze(1)  # (B, 1, h, A)
        beyond = torch.special.log_ndtr((x.sign() * mean - 1) / std)
        of_number = torch.where(x.abs() > 1 - AT_BOUND, beyond, log_normal(x, mean, std))
        return (weights + masked_sum(of_number, mask)).logsumexp(-1) * mask.any(-1)

    def entropy(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """(B,), of component and chunk together, before the cut: a bound from above on that of the chunk alone."""
        weights, _, std = self.parameters_of(tokens)
        of_component = masked_sum(std.log() + 0.5 * math.log(2 * math.pi * math.e), mask)  # (B, M)
        return (weights.exp() * (of_component - weights)).sum(-1)

    def sample(self, tokens: Tensor, num_samples: int, draws: Draws, stream: str, steps: int | None = None) -> Tensor:
        """Samples (B, N, h, A); it takes no steps."""
        weights, mean, std = self.parameters_of(tokens)
        return self._draw(weights, mean, std, num_samples, draws, stream)

    def mode(self, tokens: Tensor) -> Tensor:
        """tokens (B, S, D) -> the mean of the heaviest component (B, h, A)."""
        weights, mean, _ = self.parameters_of(tokens)
        return mean[torch.arange(len(mean), device=mean.device), weights.argmax(-1)]

    def act(self, tokens: Tensor, num_samples: int, draws: Draws, stream: str) -> Tensor:
        """low_noise: samples whose components' standard deviation is 1e-4. mode: the heaviest component's mean."""
        if self.acts_by == "mode":
            return self.mode(tokens).unsqueeze(1)
        weights, mean, std = self.parameters_of(tokens)
        if self.acts_by == "low_noise":
            std = torch.full_like(std, LOW_NOISE)
        return self._draw(weights, mean, std, num_samples, draws, stream)

    def _draw(self, weights: Tensor, mean: Tensor, std: Tensor, n: int, draws: Draws, stream: str) -> Tensor:
        """A component by its weight, then a normal around its mean, cut to [-1, 1]: (B, N, h, A)."""
        batch = len(weights)
        uniform = draws.uniform(stream, batch, n).to(weights)
        noise = draws.normal(stream, batch, n, *self.shape[1:]).to(weights)
        chosen = torch.searchsorted(weights.exp().cumsum(-1), uniform, right=True).clamp(max=self.shape[0] - 1)
        rows = torch.arange(batch, device=chosen.device).unsqueeze(1)
        return (mean[rows, chosen] + std[rows, chosen] * noise).clamp(-1, 1)


def log_normal(x: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Log-density at x of N(mean, std^2), elementwise."""
    return -0.5 * ((x - mean) / std).square() - std.log() - 0.5 * math.log(2 * math.pi)
