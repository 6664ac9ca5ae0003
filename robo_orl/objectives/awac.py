"""AWAC (Nair et al. 2020, arXiv:2006.09359, equation 13 and algorithm 1) on action chunks.

    L_Q  = E[ ( r + gamma^n Qbar(s_{t+n}, a') - Q(s, a) )^2 ],  a' ~ pi(.|s_{t+n})
    L_pi = E[ -exp( A(s, a) / lambda ) log pi(a|s) ],           A = Q(s, a) - mean_j Q(s, a_j),  a_j ~ pi(.|s)

Unlike IQL, values are those of the policy that is being learned. Weights are cut instead of normalised over the batch.
"""

from __future__ import annotations

import torch
from pydantic import Field

from robo_orl.base.errors import UsageError
from robo_orl.config import PolicyConfig, Strict
from robo_orl.models.action_heads import ActionHead
from robo_orl.objectives.objective import Objective
from robo_orl.objectives.parts import Losses
from robo_orl.objectives.step import Step


class AWAC(Objective):
    """AWAC: clone the actions that the policy's own critic values above the policy's samples."""

    heads = ("q",)
    bootstraps = True
    routes = {"actor": "policy", "critic": "critic"}
    search = {"objective.params.temperature": (0.1, 0.3, 1.0)}  # the paper's values, for returns up to 1

    class Params(Strict):
        """lambda and one sample as in the paper, the cut as in CORL."""

        temperature: float = Field(1.0, gt=0, description="lambda of the advantage weights")
        max_weight: float = Field(100.0, gt=0, description="weights are cut here")
        num_samples: int = Field(1, ge=1, description="samples of the policy in its value")

    def check(self, policy: PolicyConfig, head: type[ActionHead]) -> None:
        """Refuse several samples of a deterministic policy."""
        if self.params.num_samples > 1 and not head.stochastic:
            raise UsageError(
                f"objective.params.num_samples averages over samples, and the action head '{policy.action_head.kind}' "
                "is deterministic: set it to 1."
            )

    def losses(self, step: Step) -> Losses:
        """The critic learns from the transitions t -> t+n, the actor from both frames of a pair."""
        n = self.params.num_samples
        own = [step.valued(step.sample(frames, n)) for frames in ("now", "next")]  # (B, N, c, A) each
        critic, metrics = step.td(step.aggregate(step.q_target("next", own[1]).value).mean(-1))

        advantage = step.advantage(torch.cat(own))  # (2B,)
        weight = (advantage / self.params.temperature).exp().clamp(max=self.params.max_weight) * step.valid
        actor = (weight * step.policy_loss()).mean()
        metrics |= {"actor/advantage": advantage.mean(), "actor/weight": weight.mean()}
        return {"actor": actor, "critic": critic}, metrics
