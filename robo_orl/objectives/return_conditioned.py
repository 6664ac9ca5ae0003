"""Return conditioning: clone all behaviour given its outcome, and act given a good outcome.

RvS (Emmons et al. 2022, arXiv:2112.10751, equation 1) and, without its history, Decision Transformer (Chen et al. 2021,
arXiv:2106.01345, section 3):

    L_pi = E[ -log pi(a | s, w) ]    w = 1{the episode succeeds}, the undiscounted return-to-go of a reward at success
                                     or  w = G_t, the discounted one, which separates slow success from fast
    act    with w = target

The condition is read by the action head alone, after the backbone.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from torch import Tensor

from robo_orl.base.errors import UsageError
from robo_orl.base.rng import Draws
from robo_orl.config import PolicyConfig, Strict
from robo_orl.models.action_heads import ActionHead
from robo_orl.models.layers import Condition
from robo_orl.objectives.objective import Objective
from robo_orl.objectives.parts import ActingPolicy, Losses, Modules, Parts
from robo_orl.objectives.step import Step


class ReturnConditioned(Objective):
    """Return conditioning (RvS, Decision Transformer): clone every frame, given its outcome."""

    routes = {"actor": ("policy", "condition")}
    search = {"optim.weight_decay": (0.0001, 0.01)}  # as BC's

    class Params(Strict):
        """The Decision Transformer acts given the best return of the task: 1 with `success`."""

        outcome: Literal["success", "return"] = Field("success", description="the outcome that the policy is given")
        target: float | None = Field(None, description="the outcome it is given in acting; default: success, 1")

    def check(self, policy: PolicyConfig, head: type[ActionHead]) -> None:
        """Refuse a discounted return without a target: none is the best in every state, it grows towards the end."""
        if self.params.outcome == "return" and self.params.target is None:
            raise UsageError(
                "objective.params.outcome 'return' acts given a discounted return that the data hold: set "
                "objective.params.target, to gamma^(steps of a fast success) for instance."
            )

    def modules(self, parts: Parts) -> Modules:
        """The outcome's embedding."""
        return {"condition": lambda: Condition(parts.token_width, 1)}

    def losses(self, step: Step) -> Losses:
        """Both frames of a pair count as one observation each."""
        outcome = step.returns if self.params.outcome == "return" else step.both(step.window.success).float()  # (2B,)
        tokens = step.module("condition")(step.tokens, outcome.unsqueeze(-1))
        return {"actor": step.policy_loss(tokens).mean()}, {"actor/outcome": outcome.mean()}

    def candidates(self, policy: ActingPolicy, tokens: Tensor, num_samples: int, draws: Draws) -> Tensor:
        """The action head acts given the target outcome."""
        target = tokens.new_full((len(tokens), 1), 1.0 if self.params.target is None else self.params.target)
        return policy.action_head.act(policy.extra["condition"](tokens, target), num_samples, draws, "act")
