"""Q-chunking with best-of-N (Li, Zhou and Levine 2025, arXiv:2507.07969, equations 9 to 11: QC).

    L_pi = BC of a flow policy
    L_Q  = E[ ( sum_k<n gamma^k r_{t+k} + gamma^n Qbar(s_{t+n}, a*) - Q(s_t, a_t..t+n) )^2 ]
    a*   = argmax over N samples a_j ~ pi(.|s_{t+n}) of Q(s_{t+n}, a_j)

Where the whole chunk is executed (action_head.execute = chunk) it is executed as it is valued, and the n-step backup is
unbiased; executing less is more reactive than Q knows. No gradient flows from Q into the policy: acting takes the best
of `selection.num_samples` samples as well.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from robo_orl.config import Strict
from robo_orl.objectives.objective import Objective
from robo_orl.objectives.parts import Losses
from robo_orl.objectives.step import Step


class QChunking(Objective):
    """Q-chunking: a chunked critic picks the best of N samples of a behaviour-cloned flow."""

    spelled_out = frozenset({"num_samples"})
    heads = ("q",)
    bootstraps = True
    samples = ranks_candidates = True
    extractions = ("best_of_n", "ddpg_bc", "distil")
    routes = {"critic": "critic"}
    # 32 is the authors' N; in the backup it would double the step
    search = {"objective.params.num_samples": (4, 8), "selection.num_samples": (4, 8, 16, 32)}

    class Params(Strict):
        """The paper takes N = 32; with little data 4 does no worse and keeps the backup near the data."""

        num_samples: int = Field(4, ge=1, description="N of the backup; acting has its own, selection.num_samples")
        flow_steps: int = Field(4, ge=1, description="Euler steps per sample of the backup; acting has its own")

    def losses(self, step: Step) -> Losses:
        """actor over both frames of a pair; critic over the transitions t -> t+n."""
        return self.backed_up(step, self.best_value(step))

    @torch.no_grad()
    def best_value(self, step: Step) -> Tensor:
        """Qbar(s_{t+n}, a*) (B,): chosen by the online critic, valued by the target."""
        chunks = step.sample_next(self.params.num_samples, self.params.flow_steps)  # (B, N, c, A)
        return step.best_value("next", chunks)
