"""Filtered behaviour cloning (%BC in Chen et al. 2021, Decision Transformer, section 5.1): imitate the successes only.

L = E_data[1{episode succeeded} * -log pi(a|s)]. The mean runs over all frames drawn, failures included with weight 0,
so that N processes equal one; AdamW is indifferent to the constant. `filter: success` of a run does the same by never
drawing the failures: every frame drawn then counts, at the same cost per step.
"""

from __future__ import annotations

from robo_orl.objectives.objective import Objective
from robo_orl.objectives.parts import Losses
from robo_orl.objectives.step import Step


class FilteredBC(Objective):
    """Behaviour cloning on the frames of successful episodes."""

    needs_success = True
    routes = {"actor": "policy"}
    search = {"optim.weight_decay": (0.0001, 0.01)}  # as BC's

    def losses(self, step: Step) -> Losses:
        """Both frames of a pair lie in one episode, and so share its outcome."""
        success = step.both(step.window.success).float()  # (2B,)
        actor = (success * step.policy_loss()).mean()
        return {"actor": actor}, {"actor/success_fraction": success.mean()}
