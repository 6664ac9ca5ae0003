"""The base of every action head: one reading of the tokens gives a loss, samples, and where it exists a density."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor, nn

from robo_orl.base.rng import Draws
from robo_orl.models.layers import Readout, RMSNorm, SwiGLU, last_layer


class ActionHead(nn.Module):
    """Built from (token_width, depth, action_dim, config). Actions are scaled to [-1, 1].

    stochastic: whether two samples differ.
    density: whether `log_prob` exists.
    reparametrised: whether `sample_with_log_prob` exists, through which a gradient reaches the head.
    integrates: whether its samples are integrated in `flow_steps` steps.
    acting: the ways in which it can act by one chunk, its default first; see `act`.
    acts_by: the way that was chosen, see `act_by`.
    options: the fields of ActionHeadConfig that this head reads and others do not.
    reads_queries: whether it reads the backbone's action queries, its last tokens, one per step of the chunk.
    reads_layers: whether it reads tokens (B, L, S, D) of several layers of the backbone, where there are.
    samples_in_one_call: whether its `read` serves its loss and its samples now.
    """

    stochastic: ClassVar[bool] = True
    density: ClassVar[bool] = False
    reparametrised: ClassVar[bool] = False
    integrates: ClassVar[bool] = False
    acting: ClassVar[tuple[str, ...]] = ()
    acts_by: str = "sample"
    options: ClassVar[frozenset[str]] = frozenset()
    reads_queries: ClassVar[bool] = False
    reads_layers: ClassVar[bool] = False
    samples_in_one_call: bool = False

    def loss(self, tokens: Tensor, actions: Tensor, mask: Tensor, draws: Draws, streams: Sequence[str]) -> Tensor:
        """tokens (B, S, D), actions (B, h, A), mask (B, h) -> (B,): per number, over the valid steps of each frame.

        streams: one stream of draws per equal part of the batch, so that a half of it draws what it would draw alone.
        """
        raise NotImplementedError

    def sample(self, tokens: Tensor, num_samples: int, draws: Draws, stream: str, steps: int | None = None) -> Tensor:
        """Chunks (B, N, h, A) in [-1, 1], at least float32. steps: of heads that integrate; others take none."""
        raise NotImplementedError

    def act_by(self, acting: str | None) -> None:
        """Act by one of `acting` from now on; None: by the first, or by samples where the head has no choice."""
        self.acts_by = acting or (self.acting[0] if self.acting else "sample")

    def act(self, tokens: Tensor, num_samples: int, draws: Draws, stream: str) -> Tensor:
        """Candidates (B, N, h, A) for acting: the mode where N is 1 and the head acts by it, samples otherwise."""
        if num_samples == 1 and self.acts_by == "mode":
            return self.mode(tokens).unsqueeze(1)
        return self.sample(tokens, num_samples, draws, stream)

    def mode(self, tokens: Tensor) -> Tensor:
        """The likeliest chunk (B, h, A), of heads that can act by it."""
        raise NotImplementedError

    def log_prob(self, tokens: Tensor, actions: Tensor, mask: Tensor) -> Tensor:
        """Joint log-density of the valid steps: actions (B, h, A) -> (B,), or (B, N, h, A) -> (B, N)."""
        raise NotImplementedError

    def log_prob_of_sample(self, tokens: Tensor, actions: Tensor, mask: Tensor) -> Tensor:
        """As `log_prob`, of chunks (B, h, A) that `sample` gave: where it cuts them, by the mass that was cut off."""
        return self.log_prob(tokens, actions, mask)

    def entropy(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """The entropy of the valid steps (B,), with gradient, of heads with a density."""
        raise NotImplementedError

    def sample_with_log_prob(
        self, tokens: Tensor, num_samples: int, draws: Draws, stream: str
    ) -> tuple[Tensor, Tensor]:
        """Chunks (B, N, h, A) with gradient into head and tokens, and the log-density of each over all steps (B, N)."""
        raise NotImplementedError


class TokenReader(nn.Module):
    """R learned queries read the tokens; a residual MLP on each, then a norm: the input of linear outputs."""

    def __init__(self, token_width: int, readouts: int = 1):
        super().__init__()
        self.readout = Readout(token_width, token_width, readouts)
        self.mlp_norm, self.out_norm = RMSNorm(token_width), RMSNorm(token_width)
        self.mlp = SwiGLU(token_width)

    def forward(self, tokens: Tensor) -> Tensor:
        """tokens (B, S, D) -> (B, R, D)."""
        x = self.readout(tokens)
        return self.out_norm(x + self.mlp(self.mlp_norm(x)))


class QueryReader(nn.Module):
    """The backbone's last h tokens, its action queries; a residual MLP on each, then a norm.

    The backbone itself decodes the chunk, all steps in one pass: a query per step saw the observation and the other
    queries in every layer (Kim et al. 2025, arXiv:2502.19645, OpenVLA-OFT: parallel decoding). OpenVLA-OFT has a query
    per number; one per step is A times fewer tokens.
    """

    def __init__(self, token_width: int, count: int):
        super().__init__()
        self.count = count
        self.mlp_norm, self.out_norm = RMSNorm(token_width), RMSNorm(token_width)
        self.mlp = SwiGLU(token_width)

    def forward(self, tokens: Tensor) -> Tensor:
        """tokens (B, S, D) -> (B, h, D)."""
        x = last_layer(tokens)[:, -self.count :]
        return self.out_norm(x + self.mlp(self.mlp_norm(x)))


def masked_mean(error: Tensor, mask: Tensor) -> Tensor:
    """error (B, h, A), mask (B, h) -> (B,): the mean over the valid steps of each row.

    The mean is taken per frame and not over the batch, so that the mean over processes is the mean over the batch.
    """
    valid = mask.to(error.dtype)
    return (error.mean(-1) * valid).sum(-1) / valid.sum(-1).clamp(min=1)


def masked_sum(values: Tensor, mask: Tensor) -> Tensor:
    """values (B, ..., h, A), mask (B, h) -> (B, ...): the sum over the numbers of the valid steps."""
    valid = mask.to(values.dtype).view(len(mask), *[1] * (values.dim() - 3), -1)
    return (values.sum(-1) * valid).sum(-1)


def per_number(log_prob: Tensor, mask: Tensor, action_dim: int) -> Tensor:
    """log_prob (B,) of whole chunks -> minus its mean over the valid numbers (B,), the scale of the other losses."""
    return -log_prob / (mask.sum(-1).clamp(min=1) * action_dim)
