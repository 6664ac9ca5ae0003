"""Extraction by conditioning: the policy is cloned given whether an action was better than usual, and acts given "yes".

pi*0.6 (Physical Intelligence 2025, "pi*0.6: a VLA that learns from experience", RECAP, section IV):

    I_t  = 1( A(s_t, a_t) > eps ),  eps such that a given fraction of the data is positive
    L_pi = E[ -log pi(a|s, I) ],    I left out in a share of the frames, so that pi(a|s) is learned as well
    act    with I = 1; with a flow, guided: v(a|s) + beta ( v(a|s, I=1) - v(a|s) )
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn

from robo_orl.base.errors import UsageError
from robo_orl.base.rng import Draws
from robo_orl.config import PolicyConfig, Strict
from robo_orl.models.action_heads import ActionHead
from robo_orl.models.layers import Condition
from robo_orl.objectives.extraction import Extraction
from robo_orl.objectives.parts import ActingPolicy, Losses, Modules, Parts
from robo_orl.objectives.step import Step


class Threshold(nn.Module):
    """eps as the (1 - p)-quantile of the advantages: the minimiser of the pinball loss, learned with the rest.

    A quantile of the batch would differ between numbers of processes; this one is a parameter like any other.
    """

    def __init__(self, fraction: float):
        super().__init__()
        self.fraction = fraction
        self.level = nn.Parameter(torch.zeros(1))

    def forward(self, advantage: Tensor) -> tuple[Tensor, Tensor]:
        """(B,) -> the loss (B,), least where a share `fraction` of the advantages lies above eps; and above: (B,)."""
        above = advantage - self.level.to(advantage)
        return torch.maximum((1 - self.fraction) * above, -self.fraction * above), above.detach() > 0


class AdvantageCondition(Extraction):
    """Cloning given an indicator: 1 where the advantage is among the best `positive_fraction` of the data."""

    reads = "advantage"
    routes = {"actor": ("policy", "condition"), "threshold": ("critic_threshold",)}

    class Params(Strict):
        """The paper's values: 40 % positive in fine-tuning, 30 % dropout, no guidance by default (1.5 to 2.5 where)."""

        positive_fraction: float = Field(0.4, gt=0, lt=1, description="share of the data that counts as good")
        dropout: float = Field(0.3, ge=0, lt=1, description="share of the frames whose indicator is left out")
        guidance: float = Field(1.0, ge=0, description="beta in acting; 1 = the conditioned policy as it is")

    def check(self, policy: PolicyConfig, head: type[ActionHead]) -> None:
        """Refuse guidance without a flow, whose velocities it mixes, or without the policy that has no indicator."""
        if self.params.guidance != 1 and policy.action_head.kind != "flow":
            raise UsageError(
                f"guidance mixes velocities of a flow, and the action head is '{policy.action_head.kind}': set "
                "guidance to 1 or action_head.kind to flow."
            )
        if self.params.guidance != 1 and self.params.dropout == 0:
            raise UsageError("guidance needs the policy without the indicator: set dropout above 0.")

    def modules(self, parts: Parts) -> Modules:
        """The indicator's embedding, and the threshold."""
        return {
            "condition": lambda: Condition(parts.token_width, 1),
            "critic_threshold": lambda: Threshold(self.params.positive_fraction),
        }

    def terms(self, step: Step, advantage: Tensor | None = None, known: Tensor | None = None) -> Losses:
        """Clone given the indicator: 1, -1, or 0 where it is left out or the advantage is not known."""
        pinball, positive = step.module("critic_threshold")(advantage)
        positive = positive.to(known)
        kept = (step.uniform("condition") >= self.params.dropout).to(known)
        indicator = known * kept * (2 * positive - 1)  # (2B,)
        actor = step.policy_loss(step.module("condition")(step.tokens, indicator.unsqueeze(-1))).mean()
        share = step.batch_mean(known * positive) / step.batch_mean(known).clamp(min=1e-6)
        shown = indicator.abs().mean()
        metrics = {"actor/advantage": advantage.mean(), "actor/positive": share, "actor/told": shown}
        return {"actor": actor, "threshold": (known * pinball).mean()}, metrics

    def candidates(self, policy: ActingPolicy, tokens: Tensor, num_samples: int, draws: Draws) -> Tensor:
        """Chunks given the indicator of good actions, guided where `guidance` is not 1."""
        condition, ones = policy.extra["condition"], tokens.new_ones(len(tokens), 1)
        good = condition(tokens, ones)
        if self.params.guidance == 1:
            return policy.action_head.act(good, num_samples, draws, "act")
        noise = draws.normal("act", len(tokens), num_samples, *policy.action_head.shape)
        plain = (condition(tokens, 0 * ones), self.params.guidance)
        return policy.action_head.integrate(good, noise, guide=plain).clamp(-1, 1)
