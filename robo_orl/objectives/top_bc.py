"""Behaviour cloning of the best episodes by return (X%BC: Chen et al. 2021, Decision Transformer, arXiv:2106.01345,
section 5.1): min E_best[-log pi(a_t..t+h | s_t)].

Episodes are ranked by their discounted return, so that of two successes the faster is the better. Equal returns keep
the order of the file: where the share reaches past the successes, the failures that come first in it are imitated too.
Other episodes are never drawn, and every frame of a batch counts.
"""

from __future__ import annotations

import math

import numpy as np
from pydantic import Field

from robo_orl.base.errors import UsageError
from robo_orl.config import Strict
from robo_orl.objectives.bc import BC


class TopBC(BC):
    """Behaviour cloning on the episodes with the highest discounted returns; the loss is BC's."""

    reads_rewards = True
    search = {"objective.params.share": (0.1, 0.25, 0.5)}

    class Params(Strict):
        """Chen et al. take 10, 25, 40 and 100 %."""

        share: float = Field(0.1, gt=0, le=1, description="of the episodes, rounded up to whole ones")

    def imitated(self, returns: np.ndarray) -> np.ndarray:
        """The `share` of the episodes with the highest returns (E,), of equal ones the first: (E,) bool.

        UsageError where all returns are equal, and the order of the file would choose.
        """
        if len(returns) > 1 and (returns == returns[0]).all():
            raise UsageError(
                f"All {len(returns)} episodes have the same return, and objective 'top_bc' ranks them by it: give data "
                "with successes and failures, or train `bc`."
            )
        best = np.argsort(-returns, kind="stable")[: math.ceil(self.params.share * len(returns) - 1e-9)]
        return np.isin(np.arange(len(returns)), best)
