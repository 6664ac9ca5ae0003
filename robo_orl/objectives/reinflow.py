"""ReinFlow (Zhang et al. 2025, arXiv:2505.22094): PPO on a flow that adds learned noise in each of its Euler steps.

    x_{k+1} ~ N( x_k + v(x_k, k/K, s) / K, sigma_k(s)^2 )                                              (equation 6)
    rho     = prod_k N(x_{k+1}; ...)_new / N(x_{k+1}; ...)_old                                          (equation 9)

The chain that acted is computed again from its draws before the first update; sigma is learned within bounds, and gone
in evaluation, where the flow is integrated without it. Few steps (K of 1 to 4) keep the ratio's variance low.
"""

from __future__ import annotations

from pydantic import Field, model_validator

from robo_orl.config import PolicyConfig
from robo_orl.models.action_heads import ActionHead
from robo_orl.objectives.likelihoods import NoisyChain
from robo_orl.objectives.objective import require_head
from robo_orl.objectives.on_policy import CriticParams, WithCritic


class ReinFlow(WithCritic):
    """ReinFlow: PPO by the exact likelihood of a flow's noisy steps."""

    class Params(CriticParams):
        """Bounds of the noise as the authors have them on robomimic."""

        lowest_std: float = Field(0.05, gt=0, description="sigma of a step at least")
        highest_std: float = Field(0.14, gt=0, description="and at most")

        @model_validator(mode="after")
        def _bounds_are_ordered(self) -> ReinFlow.Params:
            if self.lowest_std >= self.highest_std:
                raise ValueError("lowest_std must be below highest_std")
            return self

    def likelihood_of(self, policy: PolicyConfig) -> NoisyChain:
        """The chain's."""
        return NoisyChain(policy.action_head.execute, self.params.lowest_std, self.params.highest_std)

    def check(self, policy: PolicyConfig, head: type[ActionHead]) -> None:
        """Refuse a head that is no flow."""
        require_head(policy, ("flow",), "puts noise into the steps of a flow")
        super().check(policy, head)
