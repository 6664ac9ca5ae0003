"""Critic-regularised regression (Wang et al. 2020, arXiv:2006.15134, equation 1 and algorithm 1) on action chunks.

    L_Q  = E[ ( r + gamma^n Qbar(s_{t+n}, a') - Q(s, a) )^2 ],  a' ~ pibar(.|s_{t+n})
    L_pi = E[ -f(s, a) log pi(a|s) ],   f = 1( A > 0 )  or  exp( A / beta ), cut
    A    = Q(s, a) - mean of Q(s, a_j) over m samples a_j ~ pi(.|s)

Qbar and pibar are averages; the authors copy both every 100 steps. Their critic is a categorical one: set critic.loss
to hl_gauss for that.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field, model_validator

from robo_orl.config import Strict
from robo_orl.objectives.objective import Objective
from robo_orl.objectives.parts import Losses
from robo_orl.objectives.step import Step


class CRR(Objective):
    """Critic-regularised regression: clone the actions that beat the mean of the policy's own samples."""

    heads = ("q",)
    bootstraps = True
    samples = True
    slow_policy = True
    routes = {"actor": "policy", "critic": "critic"}
    search = {"objective.params.beta": (0.1, 0.3, 1.0)}

    class Params(Strict):
        """The values of d3rlpy and of the paper's appendix: exp, beta 1, cut at 20, m = 4."""

        weight: Literal["exp", "binary"] = Field("exp", description="f")
        beta: float | None = Field(None, gt=0, description="temperature of exp; default 1")
        max_weight: float | None = Field(None, gt=0, description="exp is cut here; default 20")
        num_samples: int = Field(4, ge=1, description="m")

        @model_validator(mode="after")
        def _exp_alone_is_scaled(self) -> CRR.Params:
            if self.weight == "binary" and (self.beta, self.max_weight) != (None, None):
                raise ValueError("beta and max_weight belong to weight exp, and null removes them")
            return self

    def losses(self, step: Step) -> Losses:
        """The critic learns from the transitions t -> t+n, the actor from both frames of a pair."""
        p = self.params
        slow = step.valued(step.sample("next", 1, slow=True))  # (B, 1, c, A)
        critic, metrics = step.td(step.aggregate(step.q_target("next", slow).value).squeeze(-1))

        own = torch.cat([step.valued(step.sample(frames, p.num_samples)) for frames in ("now", "next")])
        advantage = step.advantage(own)  # (2B,)
        exp = (advantage / (p.beta or 1.0)).exp().clamp(max=p.max_weight or 20.0)
        weight = (exp if p.weight == "exp" else (advantage > 0).to(exp)) * step.valid
        actor = (weight * step.policy_loss()).mean()
        metrics |= {"actor/advantage": advantage.mean(), "actor/weight": weight.mean()}
        return {"actor": actor, "critic": critic}, metrics
