"""Flow policy optimisation (McAllister et al. 2025, arXiv:2507.21053, "Flow matching policy gradients").

    L_pi = -E[ min( rho A, clip(rho, 1 - eps, 1 + eps) A ) ],   rho = exp( l_old(a|s) - l_new(a|s) )    (equation 8)

l is the flow matching loss of the chunk that acted, averaged over n draws of noise and time that are kept from before
the first update; advantages and the critic are those of PPO. With `per_draw` every draw has a ratio and a clip of its
own (Yi et al. 2026, arXiv:2602.02481, FPO++). The flow explores by its own samples.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from robo_orl.base.errors import UsageError
from robo_orl.config import PolicyConfig
from robo_orl.models.action_heads import ActionHead
from robo_orl.objectives.likelihoods import FlowMatchingRatio
from robo_orl.objectives.objective import require_head
from robo_orl.objectives.on_policy import CriticParams, WithCritic


class FPO(WithCritic):
    """Flow policy optimisation: PPO whose ratio comes from the loss that a flow is cloned by."""

    class Params(CriticParams):
        """The authors' clip and draws."""

        clip: float = Field(0.05, gt=0, lt=1, description="eps: the ratio counts within 1 - eps and 1 + eps")
        draws: int = Field(8, ge=1, description="n: pairs of noise and time a decision")
        weighting: Literal["noise", "velocity", "likelihood"] = Field(
            "noise", description="the error that is compared: of the noise, of the velocity, or a bound of log pi"
        )
        per_draw: bool = Field(False, description="a ratio for every draw, and not for their mean")
        latest: float = Field(0.9, gt=0, le=1, description="times are drawn below this one")

    def likelihood_of(self, policy: PolicyConfig) -> FlowMatchingRatio:
        """The flow's loss."""
        p = self.params
        return FlowMatchingRatio(policy.action_head.execute, p.draws, p.weighting, p.per_draw, p.latest)

    def check(self, policy: PolicyConfig, head: type[ActionHead]) -> None:
        """Refuse a head that is no flow, and an entropy, which a flow does not tell."""
        require_head(policy, ("flow",), "compares losses of a flow")
        if self.params.entropy:
            raise UsageError("objective.params.entropy: a flow does not tell its entropy; set it to 0 or use reinflow.")
        super().check(policy, head)
