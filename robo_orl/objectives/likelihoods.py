"""How likely a policy is to act as it did, against the policy that acted: the ratio of on-policy objectives.

    Density            heads that have one: log pi(a|s) of the part of a chunk that was carried out
    FlowMatchingRatio  a flow, by the loss that it is cloned by (McAllister et al. 2025, arXiv:2507.21053, FPO)
    NoisyChain         a flow that acts with noise in every Euler step, by the exact likelihood of its chain of steps
                       (Zhang et al. 2025, arXiv:2505.22094, ReinFlow)

A chunk of h actions is carried out up to its c-th action; the others are no part of a decision.
B decisions, h chunk, A action dim, K Euler steps, n draws.
"""

from __future__ import annotations

import math
from typing import ClassVar, Literal

import torch
from einops import rearrange
from torch import Tensor, nn

from robo_orl.base.rng import Draws
from robo_orl.models.action_heads import ActionHead
from robo_orl.models.layers import last_layer, linear, wide
from robo_orl.objectives.parts import ActingPolicy, Modules, Parts
from robo_orl.objectives.step import Frames, Step


class Likelihood:
    """execute: c, the actions of a chunk that are carried out."""

    trains: ClassVar[tuple[str, ...]] = ()  # modules of its own that the policy's loss trains

    def __init__(self, execute: int):
        self.execute = execute

    def keep(self, step: Step) -> dict[str, Tensor]:
        """What is kept of the decisions at step's frames "now", (B, ...) each. step.draws: those that they acted by."""
        raise NotImplementedError

    def log_ratio(self, step: Step) -> Tensor:
        """(2B,), or (2B, n) of several estimates: of the step's decisions now against when they were kept."""
        raise NotImplementedError

    def entropy(self, step: Step) -> Tensor | None:
        """(2B,) of the decisions' policy, None where it cannot be had."""
        return None

    def modules(self, parts: Parts) -> Modules:
        """As Objective.modules."""
        return {}

    def explore(self, policy: ActingPolicy, tokens: Tensor, num_samples: int, draws: Draws) -> Tensor:
        """Chunks (B, N, h, A) to collect with, from the distribution that the ratio is of."""
        return policy.action_head.act(tokens, num_samples, draws, "act")

    def carried_out(self, step: Step, frames: Frames) -> Tensor:
        """(B, h) bool: the actions of a chunk that were carried out before the next decision or the episode's end."""
        mask = step.part(step.mask, frames)
        return mask & (torch.arange(mask.shape[1], device=mask.device) < self.execute)


class Density(Likelihood):
    """log pi(a_1..c | s) by the head."""

    def log_prob(self, step: Step, frames: Frames) -> Tensor:
        """(B,) of the decisions at these frames."""
        head, tokens = step.agent.action_head, step.part(step.tokens, frames)
        return head.log_prob_of_sample(tokens, step.part(step.actions, frames), self.carried_out(step, frames))

    def keep(self, step: Step) -> dict[str, Tensor]:
        """log_prob (B,)."""
        return {"log_prob": self.log_prob(step, "now")}

    def log_ratio(self, step: Step) -> Tensor:
        """(2B,)."""
        return self.log_prob(step, "both") - step.window.kept["log_prob"]

    def entropy(self, step: Step) -> Tensor:
        """(2B,) of the actions carried out."""
        return step.agent.action_head.entropy(step.tokens, self.carried_out(step, "both"))


# --------------------------------------------------------------------------------------- the loss of a flow as a ratio

Weighting = Literal["noise", "velocity", "likelihood"]


class FlowMatchingRatio(Likelihood):
    """exp(l_old - l_new) for pi_new / pi_old, l the weighted flow matching loss of the chunk at n draws of (noise, t).

    log pi(a|s) = c - E_{t, noise}[ w(t) |x1_hat(x_t, t) - a|^2 ] / 2 is exact for the optimal x1_hat, where w is the
    rate of the signal-to-noise ratio (t / (1-t))^2 (Kong et al. 2023, arXiv:2302.03792, equation 9), and a bound for
    others: `likelihood`. `noise` is that of the FPO authors' code, where the error is that of the predicted noise,
    `velocity` the loss of their paper; both are means over the chunk's numbers, and so of another temperature. t is
    drawn below `latest`: a network that predicts the clean chunk errs at t = 1 too, where all three weights are
    infinite.
    """

    def __init__(self, execute: int, draws: int, weighting: Weighting, per_draw: bool, latest: float):
        super().__init__(execute)
        self.count, self.weighting, self.per_draw, self.latest = draws, weighting, per_draw, latest

    def keep(self, step: Step) -> dict[str, Tensor]:
        """chunk (B, h, A), noise (B, n, h, A), time (B, n), and the losses (B, n) there."""
        head, tokens = step.agent.action_head, step.part(step.tokens, "now")
        chunk = head.sample(tokens, 1, step.draws, "act").squeeze(1)
        noise = step.draws.normal("ratio", len(chunk), self.count, *head.shape)
        time = self.latest * step.draws.uniform("ratio", len(chunk), self.count)
        loss = self.losses(head, tokens, chunk, noise, time, self.carried_out(step, "now"))
        return {"chunk": chunk, "noise": noise, "time": time, "loss": loss}

    def log_ratio(self, step: Step) -> Tensor:
        """(2B,), the mean over the draws, or (2B, n) with `per_draw`."""
        kept, head = step.window.kept, step.agent.action_head
        mask = self.carried_out(step, "both")
        loss = self.losses(head, step.tokens, kept["chunk"], kept["noise"], kept["time"], mask)
        gained = kept["loss"] - loss  # (2B, n)
        return gained if self.per_draw else gained.mean(1)

    def losses(
        self, head: ActionHead, tokens: Tensor, chunk: Tensor, noise: Tensor, time: Tensor, mask: Tensor
    ) -> Tensor:
        """(B, n): the loss of chunk (B, h, A) at noise (B, n, h, A) and time (B, n), over the steps in mask (B, h)."""
        t = time[:, :, None, None]
        x_t = rearrange((1 - t) * noise + t * chunk.unsqueeze(1), "B n h A -> B n (h A)")
        clean = wide(head.expert(x_t, time, head.expert.memory(tokens)))
        error = rearrange(clean, "B n (h A) -> B n h A", h=chunk.shape[1]) - chunk.unsqueeze(1)
        total = (error.square().sum(-1) * mask.unsqueeze(1)).sum(-1)  # (B, n)
        if self.weighting == "likelihood":
            return self.latest * time / (1 - time) ** 3 * total
        weight = (1 if self.weighting == "velocity" else time.square()) / (1 - time).square()
        return weight * total / (mask.sum(-1).clamp(min=1) * chunk.shape[2]).unsqueeze(1)


# --------------------------------------------------------------------------------------- a flow with noise in its steps


class StepNoise(nn.Module):
    """Standard deviations between `low` and `high` for every Euler step and number: a linear map of the mean token."""

    def __init__(self, token_width: int, shape: tuple[int, int, int], low: float, high: float):
        """shape: (K, h, A)."""
        super().__init__()
        self.shape, self.low, self.high = shape, low, high
        self.out = linear(token_width, math.prod(shape), bias=True, scale=0.1)

    def forward(self, tokens: Tensor) -> Tensor:
        """tokens (B, S, D) -> (B, K, h, A), at first about the geometric mean of the bounds."""
        share = wide(self.out(last_layer(tokens).mean(1))).sigmoid().view(-1, *self.shape)
        return self.low * (self.high / self.low) ** share


class NoisyChain(Likelihood):
    """x_{k+1} = x_k + v(x_k, k/K) / K + sigma_k eps: a product of K Gaussians given x_0, and so exact.

    The last step counts the actions that are carried out, the others all numbers of the chunk: an action that is not
    carried out is part of what the next step of the chain sees. low, high: bounds of sigma.
    """

    trains = ("noise",)

    def __init__(self, execute: int, low: float, high: float):
        super().__init__(execute)
        self.low, self.high = low, high

    def modules(self, parts: Parts) -> Modules:
        """The noise of each step."""
        head = parts.policy.action_head
        shape = (head.flow_steps, head.chunk, parts.action_dim)
        return {"noise": lambda: StepNoise(parts.token_width, shape, self.low, self.high)}

    def explore(self, policy: ActingPolicy, tokens: Tensor, num_samples: int, draws: Draws) -> Tensor:
        """The ends of chains, cut to [-1, 1]: (B, 1, h, A)."""
        return self.chain(policy.action_head, policy.extra["noise"], tokens, draws)[:, -1:].clamp(-1, 1)

    def chain(self, head: ActionHead, noise: nn.Module, tokens: Tensor, draws: Draws) -> Tensor:
        """(B, K+1, h, A): from the noise that the flow starts from to the chunk, not cut."""
        steps, memory, std = head.steps, head.expert.memory(tokens), noise(tokens)
        x = draws.normal("act", len(tokens), *head.shape)
        eps = draws.normal("injected", len(tokens), steps, *head.shape)
        chain = [x]
        for k, time in enumerate(head.expert.times(steps, x.flatten(1).unsqueeze(1))):
            clean = wide(head.expert.at(x.flatten(1).unsqueeze(1), time, memory)).view(x.shape)
            x = x + (clean - x) / (steps - k) + std[:, k] * eps[:, k]
            chain.append(x)
        return torch.stack(chain, 1)

    def log_prob(self, head: ActionHead, noise: nn.Module, tokens: Tensor, chain: Tensor, mask: Tensor) -> Tensor:
        """(B,) of chain (B, K+1, h, A) given its first x; mask (B, h): the actions carried out."""
        steps = head.steps
        before, after = chain[:, :-1], chain[:, 1:]  # (B, K, h, A)
        k = torch.arange(steps, device=chain.device, dtype=chain.dtype)
        x, time = rearrange(before, "B K h A -> B K (h A)"), (k / steps).expand(len(chain), steps)
        clean = wide(head.expert(x, time, head.expert.memory(tokens))).view(before.shape)
        mean, std = before + (clean - before) / (steps - k)[:, None, None], noise(tokens)
        of_number = -0.5 * ((after - mean) / std).square() - std.log() - 0.5 * math.log(2 * math.pi)
        counted = torch.ones_like(mask).unsqueeze(1).repeat(1, steps, 1)  # (B, K, h)
        counted[:, -1] = mask
        return (of_number.sum(-1) * counted).sum((1, 2))

    def keep(self, step: Step) -> dict[str, Tensor]:
        """chain (B, K+1, h, A), computed again from the draws that it acted by, and its log_prob (B,)."""
        head, noise, tokens = step.agent.action_head, step.module("noise"), step.part(step.tokens, "now")
        chain = self.chain(head, noise, tokens, step.draws)
        return {
            "chain": chain,
            "log_prob": self.log_prob(head, noise, tokens, chain, self.carried_out(step, "now")),
        }

    def log_ratio(self, step: Step) -> Tensor:
        """(2B,)."""
        kept, mask = step.window.kept, self.carried_out(step, "both")
        of_chain = self.log_prob(step.agent.action_head, step.module("noise"), step.tokens, kept["chain"], mask)
        return of_chain - kept["log_prob"]

    def entropy(self, step: Step) -> Tensor:
        """(2B,) of the noise of all steps: that of the chain given its first x."""
        return (step.module("noise")(step.tokens).log() + 0.5 * math.log(2 * math.pi * math.e)).sum((1, 2, 3))
