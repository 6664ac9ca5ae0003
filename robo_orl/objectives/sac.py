"""Soft actor-critic on action chunks (Haarnoja et al. 2018, arXiv:1812.05905, sections 4 and 5) with an ensemble of
critics, of which a target sees the lowest of a few (Chen et al. 2021, arXiv:2101.05982, algorithm 1: REDQ).

    L_Q     = E[ ( r + gamma^n ( min_{e in M} Qbar_e(s_{t+n}, a') - kappa log pi(a'|s_{t+n}) ) - Q(s, a) )^2 ],  a' ~ pi
    L_pi    = E[ kappa log pi(a|s) - Q(s, a) ],  a ~ pi reparametrised
    L_kappa = E[ -log kappa ( log pi(a|s) + target entropy ) ], scaled: Adam needs no scale, and one norm clips all

M: `subset` members, drawn anew for every transition; the authors draw them once a batch, which has the same mean. The
policy climbs the aggregate of all members, their mean in `rlpd` (Ball et al. 2023, arXiv:2302.02948, algorithm 1). The
authors squash a normal by tanh; the reasons for a truncated one are in action_heads/gaussian.py. The policy learns from
Q alone, so that Q has to value the whole chunk.
"""

from __future__ import annotations

import math

import torch
from pydantic import Field
from torch import Tensor, nn

from robo_orl.base.errors import UsageError
from robo_orl.config import PolicyConfig, Strict
from robo_orl.models.action_heads import ActionHead
from robo_orl.objectives.objective import Objective, require_head
from robo_orl.objectives.parts import Losses, Modules, Parts
from robo_orl.objectives.step import Step


class Temperature(nn.Module):
    """kappa > 0, the entropy's weight; log kappa is SPEED times a parameter.

    Adam moves a parameter by the learning rate a step: 1 in 2,000 steps here, a hundred in the authors' million.
    """

    SPEED = 10.0

    def __init__(self, first: float):
        super().__init__()
        self.log = nn.Parameter(torch.full((1,), math.log(first) / self.SPEED))

    def forward(self) -> Tensor:
        """log kappa, (1,)."""
        return self.log * self.SPEED

    def loss(self, log_pi: Tensor, numbers: int, target: float = -1.0) -> Tensor:
        """L_kappa of log-densities (B,) of chunks of so many numbers, 0-dim; target: the entropy per number."""
        surplus = (log_pi.detach() + target * numbers) / numbers
        return -(self() * surplus).mean() / self.SPEED**2  # the parameter's slope is below 1


class SoftParams(Strict):
    """What every policy with an entropy takes. Returns lie between 0 and 1, the authors' are a hundred times higher."""

    subset: int = Field(2, ge=1, description="members of the ensemble that a target is the lowest of")
    target_entropy: float = Field(-1.0, description="per number, in nats; a uniform one has 0.69")
    first_kappa: float = Field(0.01, gt=0, description="kappa of an untrained policy")


class SAC(Objective):
    """Soft actor-critic: a stochastic policy climbs the mean of many critics, whose targets are the lowest of a few."""

    heads = ("q",)
    bootstraps = True
    samples = True
    routes = {"actor": "policy", "temperature": ("temperature",), "critic": "critic"}

    class Params(SoftParams):
        """The authors of RLPD take a subset of 1 or 2, and half this target entropy."""

        backup_entropy: bool = Field(True, description="whether the entropy is part of what is backed up")

    def check(self, policy: PolicyConfig, head: type[ActionHead]) -> None:
        """Refuse a head without a density and a reparametrised sample of the chunk that Q values."""
        require_head(policy, ("gaussian",), "needs the density of a reparametrised sample")
        check_values_the_chunk(policy)
        check_subset(policy, self.params.subset)

    def modules(self, parts: Parts) -> Modules:
        """The temperature kappa."""
        return {"temperature": lambda: Temperature(self.params.first_kappa)}

    def losses(self, step: Step) -> Losses:
        """The critic learns from the transitions t -> t+n, actor and temperature from both frames of a pair."""
        p, temperature = self.params, step.module("temperature")
        samples = [step.sample_with_log_prob(frames, 1) for frames in ("now", "next")]
        chunk = torch.cat([c[:, 0] for c, _ in samples])  # (2B, h, A)
        log_pi = torch.cat([d[:, 0] for _, d in samples])  # (2B,)
        kappa = temperature().detach().exp()

        following = step.lowest(step.q_target("next", chunk[step.pairs :].detach()).value, p.subset)  # (B,)
        critic, metrics = step.td(soft(following, kappa, log_pi[step.pairs :], p.backup_entropy))
        actor = (kappa * log_pi - step.climb("both", chunk)).mean()
        metrics |= {"actor/entropy": -log_pi.mean() / chunk[0].numel(), "actor/kappa": kappa.mean()}
        terms = {"actor": actor, "temperature": temperature.loss(log_pi, chunk[0].numel(), p.target_entropy)}
        return terms | {"critic": critic}, metrics


def soft(values: Tensor, kappa: Tensor, log_pi: Tensor, entropy: bool) -> Tensor:
    """The values (B,) of actions with their entropy's share, without gradient; as they are where it is no part."""
    return values - kappa * log_pi.detach() if entropy else values


def check_values_the_chunk(policy: PolicyConfig) -> None:
    """UsageError where Q values less than the chunk that the policy learns by it."""
    if policy.n < policy.action_head.chunk:
        raise UsageError(
            f"Objective '{policy.objective.name}' trains the policy by Q alone, and Q values {policy.n} of the "
            f"{policy.action_head.chunk} actions of a chunk: set action_head.chunk to {policy.n} or remove n_step."
        )


def check_subset(policy: PolicyConfig, subset: int) -> None:
    """UsageError where a target is to be the lowest of more critics than there are."""
    if policy.critic is not None and subset > policy.critic.ensemble:
        raise UsageError(
            f"objective.params.subset draws {subset} critics, and critic.ensemble has {policy.critic.ensemble}: set "
            "objective.params.subset to at most that."
        )
