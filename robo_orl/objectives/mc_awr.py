"""Advantage-weighted regression on Monte-Carlo returns (Peng et al. 2019, arXiv:1910.00177, equations 8 to 10).

    L_V  = E[ ( G_t - V(s_t) )^2 ]
    L_pi = E[ -exp( beta A(s, a) ) log pi(a|s) ],   A = G_t - V(s_t)   or, with `advantage: q`,   A = Q(s, a) - V(s)
    L_Q  = E[ ( G_t - Q(s_t, a_t..t+c) )^2 ]                           (only with `advantage: q`)

G is the discounted return-to-go of the data, beta the paper's 1/beta. Nothing is bootstrapped, so there is no target
network. With `advantage: q` the regression averages the luck of single episodes out of the advantage.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field

from robo_orl.config import PolicyConfig, Strict
from robo_orl.objectives.objective import Objective
from robo_orl.objectives.parts import Losses
from robo_orl.objectives.step import Step


class MonteCarloAWR(Objective):
    """Monte-Carlo advantage weighting: imitate an action more where its return exceeds the value of its state."""

    heads = ("v",)
    critic_frames = "both"
    extractions = ("awr", "ddpg_bc", "best_of_n", "advantage_condition", "distil")
    routes = {"value": "critic"}
    search = {"objective.params.beta": (1.0, 3.0, 10.0, 30.0)}

    class Params(Strict):
        """beta 10 suits returns between 0 and 1."""

        advantage: Literal["return", "q"] = Field("return", description="compared with V: the return, or Q")
        beta: float = Field(10.0, ge=0, description="inverse temperature of the advantage weights")
        max_weight: float = Field(20.0, gt=0, description="weights are cut here (the paper's 20)")

    def __init__(self, policy: PolicyConfig):
        super().__init__(policy)
        if self.params.advantage == "q":
            self.heads = ("q", "v")
            self.routes = {**self.routes, "critic": "critic"}

    def losses(self, step: Step) -> Losses:
        """Every term learns from both frames of a pair."""
        returns = step.returns  # (2B,)
        v = step.v("both")
        terms = {"value": v.loss(returns).mean()}
        estimate = returns
        if "q" in self.heads:
            q = step.q("both")
            terms["critic"] = q.loss(returns).mean()
            estimate = step.aggregate(q.value.detach())

        advantage = estimate - v.value.squeeze(0).detach()
        policy, of_policy = self.extraction.terms(step, advantage, torch.ones_like(advantage))
        return terms | policy, {"value/v": v.value.mean()} | of_policy
