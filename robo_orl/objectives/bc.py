"""Behaviour cloning (Pomerleau 1988; as supervised learning in Ross, Gordon and Bagnell 2011, arXiv:1011.0686,
section 2.1): min E_data[-log pi(a_t..t+h | s_t)], in the form of the action head's loss."""

from __future__ import annotations

from robo_orl.objectives.objective import Objective
from robo_orl.objectives.parts import Losses
from robo_orl.objectives.step import Step


class BC(Objective):
    """Behaviour cloning: imitate every frame of the data."""

    reads_rewards = False
    routes = {"actor": "policy"}
    search = {"optim.weight_decay": (0.0001, 0.01)}  # it has no parameter of its own

    def losses(self, step: Step) -> Losses:
        """Both frames of a pair count as one observation each."""
        actor = step.policy_loss().mean()
        return {"actor": actor}, {}
