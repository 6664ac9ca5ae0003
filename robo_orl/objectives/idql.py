"""IDQL (Hansen-Estruch et al. 2023, arXiv:2304.10573, algorithms 1 and 2) on action chunks.

    L_V, L_Q  as IQL (iql.py)
    L_pi    = E[ -log pi(a|s) ], unweighted: a diffusion there, a flow here (IFQL in Park et al. 2025, arXiv:2502.02538)
    act       argmax of Q over N samples of pi

The authors' greedy variant; with one sample per weight drawn instead of the best it would be their stochastic one.
"""

from __future__ import annotations

from pydantic import Field

from robo_orl.config import Strict
from robo_orl.objectives.iql import IQL


class IDQL(IQL):
    """IDQL: IQL's critic chooses among samples of a cloned policy."""

    as_given = frozenset()
    extractions = ("best_of_n",)
    # the authors' code; 32 is that of its flow version
    search = {"objective.params.expectile": (0.7, 0.9), "selection.num_samples": (16, 32, 64)}

    class Params(Strict):
        """0.9 for sparse rewards, 0.7 for dense ones; N is selection.num_samples: 64 there, 32 in IFQL."""

        expectile: float = Field(0.9, gt=0, lt=1, description="tau of the value: 0.5 is the mean, 1 the maximum")
