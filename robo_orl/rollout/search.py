"""The search at one decision of an episode: the branches of its candidates, and which of them are worth going on with.

A branch that cannot overtake the leader any more is left: the choice is the same as if it were played to its end.
"""

from __future__ import annotations

import numpy as np

from robo_orl.rollout.branches import BranchState, Tried
from robo_orl.rollout.env_spec import Frame


class Search:
    """One decision: the chunks (N, c, A) that are tried, and what each branch has gained so far.

    values: (N,) of a critic, None without one. complete: play every branch to its end, the hopeless ones too.
    """

    def __init__(
        self,
        chunks: np.ndarray,
        values: np.ndarray | None,
        obs: Frame,
        look_ahead: int,
        gamma: float,
        complete: bool = False,
    ):
        self.chunks, self.values, self.obs, self.look_ahead, self.gamma = chunks, values, obs, look_ahead, gamma
        self.complete, self.stage, self.rounds = complete, 0, 0
        self.branches: list[BranchState] = []

    def take(self, answer: Tried) -> None:
        """Keep the newest state of the branches that moved."""
        newest = {state.branch: state for state in [*self.branches, *answer.branches]}
        self.branches = [newest[index] for index in sorted(newest)]
        self.stage, self.rounds = answer.stage, self.rounds + 1

    @property
    def gained(self) -> np.ndarray:
        """(N,) the discounted reward of each branch."""
        return np.array([state.gained for state in self.branches])

    @property
    def best(self) -> int:
        """The branch that has gained the most, of equal ones the first."""
        return int(np.argmax(self.gained))

    @property
    def simulated(self) -> int:
        """The decisions of all branches together."""
        return sum(state.decisions for state in self.branches)

    def unfinished(self) -> list[BranchState]:
        """The branches to play on; none once the best one is known."""
        alive = [state for state in self.branches if state.obs is not None and state.decisions < self.look_ahead]
        kept = [state for state in alive if self.complete or state.branch == self.best or not self._beaten(state)]
        return kept if self.complete or any(state.branch != self.best for state in kept) else []

    def _beaten(self, state: BranchState) -> bool:
        """Whether the leader would stay ahead if this branch got all that may come in its next decision."""
        bound, leader = state.gained + self.gamma**state.decisions * state.to_come, self.branches[self.best].gained
        return bound < leader or (bound == leader and state.branch > self.best)
