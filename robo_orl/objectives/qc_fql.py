"""QC-FQL (Li, Zhou and Levine 2025, arXiv:2507.07969, equations 13 and 15): flow Q-learning on chunks.

The losses are those of fql.py; what makes it Q-chunking is that mu, the flow and Q all have the whole chunk of n
actions that the backup covers, which makes the n-step backup unbiased where the whole chunk is executed.
"""

from __future__ import annotations

from pydantic import Field

from robo_orl.base.errors import UsageError
from robo_orl.config import PolicyConfig, Strict
from robo_orl.models.action_heads import ActionHead
from robo_orl.objectives.fql import FQL


class QChunkingFQL(FQL):
    """Q-chunking with a one-step policy distilled from a flow (QC-FQL)."""

    spelled_out = frozenset({"alpha"})
    search = {"objective.params.alpha": (1.0, 3.0, 10.0, 30.0, 100.0, 300.0)}

    class Params(Strict):
        """The official default for chunks."""

        alpha: float = Field(100.0, ge=0, description="weight of the distance to the flow")

    def check(self, policy: PolicyConfig, head: type[ActionHead]) -> None:
        """Refuse a backup over another number of steps than the chunk's."""
        if policy.n != policy.action_head.chunk:
            raise UsageError(
                f"Objective 'qc_fql' backs up over the chunk of {policy.action_head.chunk} actions, and n_step is "
                f"{policy.n}: remove n_step, or use objective fql."
            )
