"""A residual policy over a frozen one (Ankile et al. 2025, arXiv:2509.19301, section IV: ResFiT), on action chunks.

    a_pi(s) = cut( b + alpha f(s, b) ),  b the frozen policy's chunk, f in [-1, 1] and 0 before training
    L_Q     = E[ ( r + gamma^n min_{e in M} Qbar_e(s_{t+n}, a') - Q(s, a) )^2 ],  a' = a_pi(s_{t+n}) + cut( N(0, s^2) )
    L_res   = E[ -Q(s, a_pi(s)) ]

M: `subset` members of the ensemble, as in sac.py. b is drawn anew in every update. The authors have a slow copy of the
residual policy in the target and update it every second to eighth step; here the target has the policy itself, and one
optimiser steps everything. f corrects the actions that Q values, which are those that are carried out.
"""

from __future__ import annotations

from pydantic import Field
from torch import Tensor

from robo_orl.base.rng import Draws
from robo_orl.config import PolicyConfig, Strict
from robo_orl.models.action_heads import ActionHead
from robo_orl.models.edits import Correction, moved
from robo_orl.objectives.objective import Objective, check_frozen_base
from robo_orl.objectives.parts import ActingPolicy, Losses, Modules, Parts
from robo_orl.objectives.sac import check_subset
from robo_orl.objectives.step import Step


class Residual(Objective):
    """A residual policy: the run's own policy stays, and a small bounded one is added that climbs Q."""

    heads = ("q",)
    bootstraps = True
    trains_base = False
    idle_beside = {"noise_clip": ("policy_noise", 0.0)}
    routes = {"residual": ("residual",), "critic": "critic"}

    class Params(Strict):
        """The authors' bound, exploration and subset."""

        alpha: float = Field(0.1, gt=0, le=2, description="largest change of a number in [-1, 1]")
        policy_noise: float = Field(0.05, ge=0, description="sigma of the noise on the target's actions")
        noise_clip: float = Field(0.1, ge=0, description="this noise is cut here")
        subset: int = Field(2, ge=1, description="members of the ensemble that a target is the lowest of")

    def check(self, policy: PolicyConfig, head: type[ActionHead]) -> None:
        """Refuse a critic that would train the frozen policy's backbone."""
        check_frozen_base(policy)
        check_subset(policy, self.params.subset)

    def modules(self, parts: Parts) -> Modules:
        """f."""
        return {"residual": lambda: Correction(parts.token_width, parts.valued_actions, parts.action_dim)}

    def losses(self, step: Step) -> Losses:
        """The critic learns from the transitions t -> t+n, the residual from both frames of a pair."""
        p = self.params
        base = step.base_chunks()  # (2B, 1, h, A)
        correction = step.module("residual")(step.tokens, step.valued(base))
        chunk = step.valued(moved(base, p.alpha * correction)).squeeze(1)  # (2B, c, A)

        noise = p.policy_noise * step.draws.normal("smoothing", step.pairs, *chunk.shape[1:])
        following = (chunk[step.pairs :].detach() + noise.clamp(-p.noise_clip, p.noise_clip)).clamp(-1, 1)
        critic, metrics = step.td(step.lowest(step.q_target("next", following).value, p.subset))
        q = step.climb("both", chunk).mean()
        metrics |= {"actor/q": q, "actor/correction": correction.abs().mean()}
        return {"residual": -q, "critic": critic}, metrics

    def candidates(self, policy: ActingPolicy, tokens: Tensor, num_samples: int, draws: Draws) -> Tensor:
        """The frozen policy's chunks, each corrected."""
        base, residual = policy.action_head.act(tokens, num_samples, draws, "act"), policy.extra["residual"]
        return moved(base, self.params.alpha * residual(tokens, base[..., : residual.shape[0], :]))
