"""Extraction by distillation: a one-step policy follows a cloned flow and climbs Q.

Flow Q-learning (Park, Li and Levine 2025, arXiv:2502.02538, algorithm 1), without their separate networks: flow and
one-step policy read the tokens of one backbone.

    L_flow = E[ (1-t)^2 | v_theta(s, x_t, t) - (a - x_0) |^2 ]           (cloning, the flow head's own loss)
    L_mu   = E[ alpha | mu(s, z) - flow_theta(s, z) |^2 - Q(s, mu(s, z)) ] / max(alpha, 1)

Q and the flow are not trained by L_mu. Its scale means nothing to Adam where mu has a network of its own, as the
authors' has; on one backbone an alpha of 100 would drown the cloning, and so it is divided out.
"""

from __future__ import annotations

import torch
from einops import rearrange
from pydantic import Field
from torch import Tensor, nn

from robo_orl.base.errors import UsageError
from robo_orl.base.rng import Draws
from robo_orl.config import PolicyConfig, Strict
from robo_orl.models.action_heads import ActionHead
from robo_orl.models.action_heads.flow import Expert
from robo_orl.models.layers import wide
from robo_orl.objectives.extraction import Extraction
from robo_orl.objectives.parts import ActingPolicy, Losses, Modules, Parts
from robo_orl.objectives.step import Step


class OneStep(nn.Module):
    """mu(s, z): the flow head's expert, evaluated once, at the start of the flow."""

    def __init__(self, token_width: int, depth: int, chunk: int, action_dim: int):
        super().__init__()
        self.expert = Expert(token_width, depth, chunk * action_dim)

    def forward(self, tokens: Tensor, noise: Tensor) -> Tensor:
        """tokens (B, S, D), noise (B, N, h, A) -> chunks (B, N, h, A), not cut to [-1, 1]."""
        z = rearrange(noise, "B N h A -> B N (h A)")
        chunks = self.expert(z, z.new_zeros(z.shape[:2]), self.expert.memory(tokens))
        return wide(chunks).view_as(noise)


class Distil(Extraction):
    """A cloned flow, and a one-step policy between it and the critic's maximum."""

    reads = "q"
    routes = {"actor": "policy", "one_step": ("one_step", "backbone")}

    class Params(Strict):
        """Tuned per task: 10000 for robomimic's (Li et al. 2025, arXiv:2507.07969), at values a hundred times these."""

        alpha: float = Field(100.0, ge=0, description="weight of the distance to the flow")

    def check(self, policy: PolicyConfig, head: type[ActionHead]) -> None:
        """Refuse a teacher that is no flow."""
        if policy.action_head.kind != "flow":
            raise UsageError(
                "The one-step policy of extraction 'distil' is learned from a flow, and the action head is "
                f"'{policy.action_head.kind}': set action_head.kind to flow."
            )

    def modules(self, parts: Parts) -> Modules:
        """The one-step policy mu."""
        head = parts.policy.action_head
        return {"one_step": lambda: OneStep(parts.token_width, parts.depth, head.chunk, parts.action_dim)}

    def terms(self, step: Step, advantage: Tensor | None = None, known: Tensor | None = None) -> Losses:
        """Both terms learn from both frames of a pair."""
        actor = step.policy_loss().mean()
        z = step.normal("one_step", 1, *step.agent.action_head.shape)  # (2B, 1, h, A)
        mu = step.module("one_step")(step.tokens, z)
        with torch.no_grad():
            flow = step.agent.action_head.integrate(step.tokens, z).clamp(-1, 1)
        distance = (mu - flow).square().mean()
        q = step.climb("both", step.valued(mu.squeeze(1).clamp(-1, 1))).mean()
        metrics = {"actor/q": q, "actor/distance": distance}
        alpha = self.params.alpha
        return {"actor": actor, "one_step": (alpha * distance - q) / max(alpha, 1.0)}, metrics

    def candidates(self, policy: ActingPolicy, tokens: Tensor, num_samples: int, draws: Draws) -> Tensor:
        """Chunks mu(s, z), cut to [-1, 1]."""
        z = draws.normal("act", len(tokens), num_samples, *policy.action_head.shape)
        return policy.extra["one_step"](tokens, z).clamp(-1, 1)
