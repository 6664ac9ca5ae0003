"""REINFORCE (Williams 1992, section 4) with a leave-one-out baseline (Kool, van Hoof and Welling 2019, "Buy 4
REINFORCE samples, get a baseline for free!"; Ahmadian et al. 2024, arXiv:2402.14740, RLOO): no critic.

    L_pi = -E[ ( R_i - mean of R over the other episodes of its group ) log pi(a|s) ]

R is 1 for an episode that succeeds. The episodes of a group begin at one start state, so that the baseline is its
value; it does not depend on the episode itself, and the gradient stays unbiased with weights that are those that acted,
which is the first update of a round.
"""

from __future__ import annotations

import numpy as np
from torch import Tensor

from robo_orl.config import PolicyConfig
from robo_orl.models.action_heads import ActionHead
from robo_orl.objectives.credit import Outcomes, leave_one_out
from robo_orl.objectives.on_policy import Kept, OnPolicy, check_density, of_episodes


class Reinforce(OnPolicy):
    """REINFORCE with leave-one-out: more of what the better episodes of a group did, no critic."""

    grouped = True

    def credit(self, outcomes: Outcomes, kept: Kept) -> dict[str, np.ndarray]:
        """The same for every decision of an episode."""
        return of_episodes(leave_one_out(outcomes.success, outcomes.group), outcomes)

    def surrogate(self, log_ratio: Tensor, advantage: Tensor) -> Tensor:
        """log pi times the advantage, but for a constant."""
        return log_ratio * advantage

    def check(self, policy: PolicyConfig, head: type[ActionHead]) -> None:
        """Refuse a head without a likelihood."""
        check_density(policy, head, "")
        super().check(policy, head)
