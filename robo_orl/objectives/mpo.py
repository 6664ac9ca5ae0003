"""Offline MPO as in Perceiver-Actor-Critic (Springenberg et al. 2024, arXiv:2402.05546, section 3; MPO: Abdolmaleki et
al. 2018, arXiv:1806.06920): one backbone, a policy and a critic on it.

    L_pi = -(1 - alpha) E[ sum_j w_j log pi(a_j|s) ] - alpha E[ log pi(a|s) ],   a_j ~ pibar(.|s), M of them
    w    = softmax_j( Qbar(s, a_j) / eta )
    L_Q  = beta E[ ( r + gamma^n mean_j Qbar(s_{t+n}, a_j) - Q(s, a) )^2 ],      a_j ~ pibar(.|s_{t+n})

alpha = 1 is behaviour cloning with the same networks. pibar is the slow copy of the action head on the online tokens,
where the authors copy the whole network now and then; their critic is a categorical one (critic.loss hl_gauss). -log pi
is the action head's own loss, whatever it is.
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


class MPO(Objective):
    """Offline MPO (Perceiver-Actor-Critic): clone the data, and reweighted samples of the slow policy."""

    heads = ("q",)
    bootstraps = True
    samples = True
    slow_policy = True
    idle_beside = {"eta": ("alpha", 1.0)}
    routes = {"actor": "policy", "critic": "critic"}
    search = {"objective.params.alpha": (0.25, 0.5, 0.75, 0.9), "objective.params.eta": (0.03, 0.1, 0.3)}

    class Params(Strict):
        """There is no official code: the numbers are ours, eta for values between 0 and 1."""

        alpha: float = Field(0.5, ge=0, le=1, description="share of cloning; 1 = cloning")
        eta: float = Field(0.1, gt=0, description="temperature of the weights")
        num_samples: int = Field(4, ge=2, description="M")
        critic_weight: float = Field(1.0, gt=0, description="beta, where critic and policy share a backbone")

    def check(self, policy: PolicyConfig, head: type[ActionHead]) -> None:
        """Refuse critic_weight where no other loss trains the critic's parameters: AdamW ignores a loss's scale."""
        topology = policy.critic.topology if policy.critic else "shared"
        if "critic_weight" in policy.objective.params and topology != "shared":
            raise UsageError(
                "objective.params.critic_weight weighs the critic against the policy on a backbone that both train, "
                f"and topology is {topology}: remove it, or set optim.critic_lr."
            )

    def losses(self, step: Step) -> Losses:
        """The critic learns from the transitions t -> t+n, the actor from both frames of a pair."""
        p = self.params
        slow = [step.sample(frames, p.num_samples, slow=True) for frames in ("now", "next")]  # (B, M, h, A) each
        samples = torch.cat(slow)  # (2B, M, h, A)
        q_bar = step.aggregate(step.q_target("both", step.valued(samples)).value)  # (2B, M)
        critic, metrics = step.td(step.part(q_bar, "next").mean(-1))

        weight = (q_bar / p.eta).softmax(-1)  # (2B, M)
        improve = (weight * step.policy_loss_of(samples)).sum(-1).mean()
        clone = step.policy_loss().mean()
        actor = (1 - p.alpha) * improve + p.alpha * clone
        metrics |= {
            "actor/improve": improve,
            "actor/clone": clone,
            "actor/effective_samples": 1 / weight.square().sum(-1).mean(),
        }
        return {"actor": actor, "critic": p.critic_weight * critic}, metrics
