"""Proximal policy optimisation (Schulman et al. 2017, arXiv:1707.06347) on action chunks.

    L_pi = -E[ min( rho A, clip(rho, 1 - eps, 1 + eps) A ) ] - beta H(pi)       (equations 7 and 9)
    L_V  = w E[ ( A + V_old(s) - V(s) )^2 ],   A by generalised advantage estimation over decisions

rho is the ratio of the likelihoods of the c actions of a chunk that were carried out: one decision is one action of the
decision process, which spans c frames and is discounted by gamma^c.
"""

from __future__ import annotations

from robo_orl.config import PolicyConfig
from robo_orl.models.action_heads import ActionHead
from robo_orl.objectives.on_policy import WithCritic, check_density


class PPO(WithCritic):
    """Proximal policy optimisation: clipped likelihood ratios, advantages from a critic."""

    def check(self, policy: PolicyConfig, head: type[ActionHead]) -> None:
        """Refuse a head without a likelihood."""
        check_density(policy, head, ", or learn by fpo or reinflow")
        super().check(policy, head)
