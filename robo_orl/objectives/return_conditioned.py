"""Return conditioning: learn all behaviour, told how it ended, and ask for a good end.

RvS (Emmons et al. 2022, arXiv:2112.10751, equation 1) and, without its history, Decision Transformer (Chen et al. 2021,
arXiv:2106.01345, section 3):

    L_pi = E[ -log pi(a | s, w) ]    w = 1{the episode succeeds}, the undiscounted return-to-go of a reward at success
                                     or  w = G_t, the discounted one, which tells slow success from fast
    act    with w = target

The condition is read by the action head alone, after the backbone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field
from torch import Tensor

from robo_orl.base.errors import UsageError
from robo_orl.config import PolicyConfig, Strict
from robo_orl.models.conditioning import Condition
from robo_orl.objectives.objective import Objective
from robo_orl.objectives.parts import Metrics, Modules, Parts, Terms

if TYPE_CHECKING:
    from robo_orl.base.rng import Draws
    from robo_orl.models.action_heads import ActionHead
    from robo_orl.objectives.step import Step


class ReturnConditioned(Objective):
    """Return conditioning (RvS, Decision Transformer): clone every frame, told its outcome."""

    routes = {"actor": ("policy", "condition")}
    search = {"optim.weight_decay": (0.0001, 0.01)}  # as BC's

    class Params(Strict):
        """The Decision Transformer asks for the best return of the task: 1 with `success`."""

        outcome: Literal["success", "return"] = Field("success", description="what the policy is told")
        target: float | None = Field(None, description="what it is asked for in acting; default: success, 1")

    def check(self, policy: PolicyConfig, head: type[ActionHead]) -> None:
        """No return can be asked for that is the best in every state: a discounted one grows towards the end."""
        if self.params.outcome == "return" and self.params.target is None:
            raise UsageError(
                "objective.params.outcome 'return' is asked for a discounted return that the data hold: set "
                "objective.params.target, to gamma^(steps of a fast success) for instance."
            )

    def modules(self, parts: Parts) -> Modules:
        """The outcome's embedding."""
        return {"condition": lambda: Condition(parts.token_width, 1)}

    def losses(self, step: Step) -> tuple[Terms, Metrics]:
        """Both frames of every pair count as one observation each."""
        outcome = step.returns if self.params.outcome == "return" else step.both(step.window.success).float()  # (2B,)
        tokens = step.module("condition")(step.tokens, outcome.unsqueeze(-1))
        return {"actor": step.policy_loss(tokens).mean()}, {"actor/outcome": outcome.mean()}

    def candidates(self, policy: Any, tokens: Tensor, num_samples: int, draws: Draws) -> Tensor:
        """Asked for the target."""
        target = tokens.new_full((len(tokens), 1), 1.0 if self.params.target is None else self.params.target)
        return policy.action_head.act(policy.extra["condition"](tokens, target), num_samples, draws, "act")
