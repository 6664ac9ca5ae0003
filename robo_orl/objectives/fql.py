"""Flow Q-learning (Park, Li and Levine 2025, arXiv:2502.02538, algorithm 1) on action chunks.

    L_Q    = E[ ( r + gamma^n Qbar(s_{t+n}, mu(s_{t+n}, z)) - Q(s, a) )^2 ],  z normal
    L_flow = BC of a flow policy                                              (both in distil.py)
    L_mu   = E[ alpha | mu(s, z) - flow(s, z) |^2 - Q(s, mu(s, z)) ]

The one-step policy mu acts and is backed up; the flow is its teacher.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from robo_orl.config import Strict
from robo_orl.objectives.objective import Objective
from robo_orl.objectives.parts import Losses
from robo_orl.objectives.step import Step


class FQL(Objective):
    """Flow Q-learning: a one-step policy climbs Q and stays near a cloned flow."""

    heads = ("q",)
    bootstraps = True
    extractions = ("distil",)
    routes = {"critic": "critic"}
    # Park et al. choose 300 for OGBench's cubes, Li et al. (2025) 10000 of 100 to 10000 for robomimic's tasks; both at
    # values a hundred times these, and for a distance over one action, not ten.
    search = {"objective.params.alpha": (10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0)}

    class Params(Strict):
        """The official default; tuned per task there, and the first thing to tune here."""

        alpha: float = Field(10.0, ge=0, description="weight of the distance to the flow")

    def losses(self, step: Step) -> Losses:
        """The critic learns from the transitions t -> t+n, the policy from both frames of a pair."""
        return self.backed_up(step, step.aggregate(step.q_target("next", self.next_chunk(step)).value))

    @staticmethod
    @torch.no_grad()
    def next_chunk(step: Step) -> Tensor:
        """mu(s_{t+n}, z) (B, c, A)."""
        z = step.draws.normal("critic", step.pairs, 1, *step.agent.action_head.shape)
        return step.valued(step.module("one_step")(step.part(step.tokens, "next"), z).squeeze(1).clamp(-1, 1))
