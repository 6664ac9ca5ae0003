"""Calibrated Q-learning (Nakamoto et al. 2023, arXiv:2303.05479, section 5): CQL with a lower bound on values.

    L_cons = w E[ T log sum_j exp( max( Q(s, a_j), G_t ) / T - log mu(a_j) ) - Q(s, a) ]

G is the data's return-to-go: values of the policy's actions are not pushed below the return of the behaviour (those of
uniform actions are). Everything else is cql.py.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from robo_orl.objectives.cql import CQL
from robo_orl.objectives.step import Step


class CalQL(CQL):
    """Calibrated Q-learning: CQL that pushes no value of the policy below the data's return."""

    spelled_out = frozenset({"bc_steps"})

    class Params(CQL.Params):
        """The authors' values: CQL's, with the maximal backup."""

        max_backup: bool = Field(True, description="back up the best of N samples instead of one")

    def of_policy(self, step: Step, q: Tensor) -> Tensor:
        """max(Q, G), without gradient where G is larger."""
        return torch.maximum(q, step.window.return_to_go[:, None].to(q))
