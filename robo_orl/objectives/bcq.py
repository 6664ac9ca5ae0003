"""BCQ (Fujimoto, Meger and Precup 2019, arXiv:1812.02900, equation 13 and algorithm 1) on chunks, as robomimic has it.

    L_pi = BC of a generator: any action head that samples
    L_Q  = E[ ( r + gamma^n max_j [ lambda min_e Qbar_e(s_{t+n}, a_j) + (1 - lambda) max_e Qbar_e(s_{t+n}, a_j) ]
                - Q(s, a) )^2 ],   a_j ~ pi(.|s_{t+n}), N of them

Acting takes the best of `selection.num_samples` samples. The perturbation network is left out, as in robomimic, whose
study shows that it hurts.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from robo_orl.base.errors import UsageError
from robo_orl.config import PolicyConfig, Strict
from robo_orl.models.action_heads import ActionHead
from robo_orl.objectives.objective import Objective
from robo_orl.objectives.parts import Losses
from robo_orl.objectives.step import Step


class BCQ(Objective):
    """BCQ: the best of N samples of a cloned generator, backed up by a soft minimum of the ensemble."""

    spelled_out = frozenset({"num_samples"})
    heads = ("q",)
    bootstraps = True
    samples = True
    extractions = ("best_of_n",)
    routes = {"critic": "critic"}
    # the paper's values; robomimic's N is 100
    search = {"objective.params.min_weight": (0.75, 1.0), "selection.num_samples": (10, 32, 100)}

    class Params(Strict):
        """The authors' values."""

        num_samples: int = Field(10, ge=1, description="N of the backup; acting has its own, selection.num_samples")
        min_weight: float = Field(0.75, ge=0, le=1, description="lambda: share of the ensemble's minimum")
        flow_steps: int | None = Field(None, ge=1, description="Euler steps in the backup; default: the head's")

    def check(self, policy: PolicyConfig, head: type[ActionHead]) -> None:
        """Refuse a soft minimum over one member."""
        if "min_weight" in policy.objective.params and policy.critic is not None and policy.critic.ensemble == 1:
            raise UsageError("objective.params.min_weight does nothing here, critic.ensemble is 1: remove it.")

    def losses(self, step: Step) -> Losses:
        """actor over both frames of a pair; critic over the transitions t -> t+n."""
        return self.backed_up(step, self.best_value(step))

    @torch.no_grad()
    def best_value(self, step: Step) -> Tensor:
        """The best sample's soft minimum over the ensemble (B,)."""
        chunks = step.sample_next(self.params.num_samples, self.params.flow_steps)  # (B, N, c, A)
        q = step.q_target("next", chunks).value  # (E, B, N)
        return q.amax(0).lerp(q.amin(0), self.params.min_weight).amax(-1)
