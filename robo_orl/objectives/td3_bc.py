"""TD3+BC (Fujimoto and Gu 2021, arXiv:2106.06860, equations 3 and 5) on action chunks.

    L_Q  = E[ ( r + gamma^n min_e Qbar_e(s_{t+n}, a') - Q(s, a) )^2 ],  a' = pibar(s_{t+n}) + cut( N(0, sigma^2) )
    L_pi = E[ -lambda Q_1(s, pi(s)) + ( pi(s) - a )^2 ],                lambda = alpha / mean|Q_1(s, pi(s))|

pibar is the slow copy of the action head, always on the online tokens. The authors update the policy at every second
step; here it learns at every step: one optimiser steps every parameter, and an omitted gradient is none of its moves.
"""

from __future__ import annotations

from pydantic import Field

from robo_orl.config import PolicyConfig, Strict
from robo_orl.models.action_heads.action_head import ActionHead, masked_mean
from robo_orl.objectives.objective import Objective, require_head
from robo_orl.objectives.parts import Losses
from robo_orl.objectives.step import Step


class TD3BC(Objective):
    """TD3+BC: a deterministic policy climbs Q and stays near the data."""

    spelled_out = frozenset({"alpha"})
    version = 2
    heads = ("q",)
    bootstraps = True
    slow_policy = whole_batch = True
    idle_beside = {"noise_clip": ("policy_noise", 0.0)}
    routes = {"actor": "policy", "critic": "critic"}
    # The paper's ablation, for locomotion, has 1 to 4. FQL's weight of cloning is 33 times higher on robomimic's tasks
    # than on OGBench's cubes (Li et al. 2025, arXiv:2507.07969, table 4): this one may have to be as much lower. The
    # distance is a mean over the numbers of a chunk, ten times those that the authors chose alpha for.
    search = {"objective.params.alpha": (0.03, 0.1, 0.3, 1.0, 2.5, 4.0)}

    class Params(Strict):
        """The authors' values (sfujim/TD3_BC); actions lie in [-1, 1]."""

        alpha: float = Field(2.5, gt=0, description="weight of Q against cloning")
        policy_noise: float = Field(0.2, ge=0, description="sigma of the noise on the target's actions")
        noise_clip: float = Field(0.5, ge=0, description="this noise is cut here")

    def check(self, policy: PolicyConfig, head: type[ActionHead]) -> None:
        """Refuse a stochastic action head."""
        require_head(policy, ("l1",), "trains a deterministic policy")

    def losses(self, step: Step) -> Losses:
        """The critic learns from the transitions t -> t+n, the actor from both frames of a pair."""
        p = self.params
        next_chunk = step.valued(step.policy_chunk("next", slow=True))  # (B, c, A)
        noise = p.policy_noise * step.draws.normal("smoothing", *next_chunk.shape)
        next_chunk = (next_chunk + noise.clamp(-p.noise_clip, p.noise_clip)).clamp(-1, 1)
        critic, metrics = step.td(step.aggregate(step.q_target("next", next_chunk).value))

        chunk = step.policy_chunk("both")  # (2B, h, A), cloned also where it leaves [-1, 1]
        q_pi = step.climb("both", step.valued(chunk).clamp(-1, 1), member=0)  # (2B,)
        weight = p.alpha / step.batch_mean(q_pi.abs()).clamp(min=1e-6)
        distance = masked_mean((chunk - step.actions).square(), step.mask)
        actor = (distance - weight * q_pi).mean()
        metrics |= {"actor/q": q_pi.mean(), "actor/distance": distance.mean()}
        return {"actor": actor, "critic": critic}, metrics
