"""Group relative policy optimisation (Shao et al. 2024, arXiv:2402.03300) for robots (Li et al. 2025, arXiv:2509.09674,
SimpleVLA-RL): no critic.

    A_i  = ( R_i - mean R ) / std R   over the episodes of a group, which begin at one start state    (section 4.1.2)
    L_pi = -E[ min( rho A, clip(rho, 1 - eps_low, 1 + eps_high) A ) ]

R is 1 for an episode that succeeds. A group that succeeds or fails as a whole says nothing: it is discarded, and
counted on the account. As SimpleVLA-RL has it the clip is higher above (Yu et al. 2025, arXiv:2503.14476, DAPO) and no
reference policy holds the new one. The mean is over decisions, not first over those of an episode: episodes count by
their length (Liu et al. 2025, arXiv:2503.20783).
"""

from __future__ import annotations

import numpy as np
from pydantic import Field
from torch import Tensor

from robo_orl.config import PolicyConfig
from robo_orl.models.action_heads import ActionHead
from robo_orl.objectives.credit import Outcomes, in_mixed_groups, standardised
from robo_orl.objectives.on_policy import Kept, OnPolicy, OnPolicyParams, check_density, clipped, of_episodes


class GRPO(OnPolicy):
    """Group relative policy optimisation: clipped ratios, success in standard deviations of a group, no critic."""

    discards = True
    grouped = True

    class Params(OnPolicyParams):
        """SimpleVLA-RL's clips."""

        clip_low: float = Field(0.2, gt=0, lt=1, description="eps_low: the ratio counts above 1 - eps_low")
        clip_high: float = Field(0.28, gt=0, description="eps_high: and below 1 + eps_high")

    def credit(self, outcomes: Outcomes, kept: Kept) -> dict[str, np.ndarray]:
        """The same for every decision of an episode."""
        return of_episodes(standardised(outcomes.success, outcomes.group), outcomes)

    def learned_from(self, success: np.ndarray, group: int) -> np.ndarray:
        """Groups with both outcomes."""
        return in_mixed_groups(success, group)

    def surrogate(self, log_ratio: Tensor, advantage: Tensor) -> Tensor:
        """PPO's, with two clips."""
        return clipped(log_ratio, advantage, self.params.clip_low, self.params.clip_high)

    def check(self, policy: PolicyConfig, head: type[ActionHead]) -> None:
        """Refuse a head without a likelihood."""
        check_density(policy, head, "")
        super().check(policy, head)
