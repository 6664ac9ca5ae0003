"""RECAP (Physical Intelligence 2025, "pi*0.6: a VLA that learns from experience", section IV,
equations 1 and 3): advantage conditioning on a distributional Monte-Carlo value.

    L_V  = E[ CE( V(s_t), G_t ) ]                      (critic.loss hl_gauss: K bins; no bootstrapping, no slow copy)
    A    = G_t - V(s_t)                                (advantage: return, theirs in pre-training)
         = sum_k<n gamma^k r_{t+k} + gamma^n V(s_{t+n}) - V(s_t)   (advantage: n_step, theirs in post-training, n = 50)
    L_pi = E[ -log pi(a | s, 1(A > eps)) ]             (conditioned.py)

Their reward is -1 per step and the value that of success in time; here G is the project's discounted return, which
orders episodes alike. Human corrections, which they force to be positive, are not in the data. The second frame of a
pair has no n steps after it: with n_step it trains the policy without the indicator.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from robo_orl.objectives.conditioned import AdvantageCondition
from robo_orl.objectives.objective import Objective
from robo_orl.objectives.parts import Losses
from robo_orl.objectives.step import Step


class Recap(Objective):
    """RECAP: cloning given whether an action was better than its Monte-Carlo value."""

    heads = ("v",)
    critic_frames = "both"
    extractions = ("advantage_condition",)
    routes = {"value": "critic"}

    class Params(AdvantageCondition.Params):
        """The paper's values: 40 % positive in fine-tuning (30 % in pre-training), 30 % dropout, no guidance."""

        advantage: Literal["return", "n_step"] = Field("return", description="compared with V")

    # the paper's range
    search = {"objective.params.positive_fraction": (0.1, 0.3, 0.4), "objective.params.guidance": (1.0, 1.5, 2.5)}

    def losses(self, step: Step) -> Losses:
        """Every term learns from both frames of a pair."""
        v = step.v("both")
        value = v.loss(step.returns).mean()
        advantage, known = self.advantage(step, v.value.squeeze(0).detach())
        policy, of_policy = self.extraction.terms(step, advantage, known)
        return {"value": value} | policy, {"value/v": v.value.mean()} | of_policy

    def advantage(self, step: Step, v: Tensor) -> tuple[Tensor, Tensor]:
        """v (2B,) -> the advantages (2B,), and 1 where they are known."""
        if self.params.advantage == "return":
            return step.returns - v, torch.ones_like(v)
        window, (now, later) = step.window, v.chunk(2)
        ahead = window.reward + window.discount * later - now  # (B,)
        return torch.cat((ahead, torch.zeros_like(ahead))), torch.cat((window.td_valid.to(v), torch.zeros_like(now)))
