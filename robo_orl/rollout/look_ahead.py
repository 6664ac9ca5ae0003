"""Episodes of which each decision is tried in the simulator first: the best of N chunks by what follows them.

When the policy is due it proposes N chunks. Each is carried out in a branch of the episode, in which the policy then
goes on without a search, until `look_ahead` decisions have passed since the branch began or its episode has ended. The
episode carries out the chunk whose branch has gained the most discounted reward, of equal ones the first.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from time import perf_counter
from typing import ClassVar, Protocol

import numpy as np

from robo_orl.rollout.branches import Follow, Tried, Try
from robo_orl.rollout.episodes import ActiveEpisode, FinishedEpisode, PolicyQuery, Rollouts
from robo_orl.rollout.pool import SimulatorProcess
from robo_orl.rollout.search import Search
from robo_orl.rollout.simulator import Act, Reply


@dataclass(frozen=True)
class Proposals:
    """The chunks (B, N, c, A) among which B episodes choose, and a critic's values (B, N) of them, None without one."""

    chunks: np.ndarray
    values: np.ndarray | None = None


class Proposer(Protocol):
    """A policy that a search asks twice: for the chunks to try, and for how it would go on."""

    def propose(self, queries: list[PolicyQuery]) -> Proposals:
        """The chunks to try."""

    def __call__(self, queries: list[PolicyQuery]) -> np.ndarray:
        """(B, c, A): the actions by which a branch goes on."""


@dataclass
class LookAheadRollouts(Rollouts):
    """Rollouts that try the N proposed chunks for `look_ahead` decisions and carry out the best.

    policy: a Proposer. every: chunks from one search to the next; between them the first proposal is carried out.
    """

    complete: ClassVar[bool] = False  # play every branch to its end, the hopeless ones too

    look_ahead: int = field(kw_only=True)
    every: int = field(default=1, kw_only=True)

    def _decide(self) -> None:
        """Ask for proposals where a decision begins, and for the next actions of branches under way."""
        waiting = self._waiting()
        fresh = [item for item in waiting if item[2].search is None]
        searching = [item for item in waiting if item[2].search is not None]
        began = perf_counter()
        if fresh:
            self._propose(fresh)
        if searching:
            self._go_on(searching)
        self.policy_s += perf_counter() - began

    def _propose(self, fresh: list[tuple[SimulatorProcess, int, ActiveEpisode]]) -> None:
        queries = [PolicyQuery(i, active.decision, active.obs) for _, i, active in fresh]
        proposals = self.policy.propose(queries)
        self._count(queries)
        for row, (process, episode, active) in enumerate(fresh):
            values = None if proposals.values is None else proposals.values[row]
            chunks = proposals.chunks[row]
            search = Search(chunks, values, active.obs, self.look_ahead, self.gamma, self.complete)
            self._begin_search(process, episode, active, search)

    def _begin_search(self, process: SimulatorProcess, episode: int, active: ActiveEpisode, search: Search) -> None:
        active.obs = None
        if active.decision % self.every:
            self._act(process, episode, active, search, self._untried(search))
            return
        active.search = search
        process.send(episode, Try(active.slot, search.chunks[:, : self.look_ahead]))

    def _untried(self, search: Search) -> int:
        """The chunk that is carried out where none is tried."""
        return 0

    def _go_on(self, searching: list[tuple[SimulatorProcess, int, ActiveEpisode]]) -> None:
        open_branches = [active.search.unfinished() for _, _, active in searching]
        queries = [
            PolicyQuery(episode, active.decision + active.search.rounds, state.obs)
            for (_, episode, active), states in zip(searching, open_branches, strict=True)
            for state in states
        ]
        actions = iter(self.policy(queries))
        self._count(queries)
        for (process, episode, active), states in zip(searching, open_branches, strict=True):
            left = self.look_ahead - states[0].decisions  # all open branches have come equally far
            chunks = np.stack([next(actions) for _ in states])[:, :left]
            active.obs = None
            process.send(episode, Follow(active.slot, tuple(state.branch for state in states), chunks))

    def _count(self, queries: list[PolicyQuery]) -> None:
        self.decisions += len(queries)
        self.policy_calls += 1

    def _take(self, process: SimulatorProcess, episode: int, reply: Reply | Tried) -> Iterator[FinishedEpisode]:
        if isinstance(reply, Reply):
            yield from super()._take(process, episode, reply)
            return
        self.simulation_s += reply.busy_s
        active = process.held[episode]
        active.search.take(reply)
        if active.search.unfinished():
            active.obs = active.search.obs  # waits for the policy again, on behalf of its branches
            return
        self._settle(process, episode, active)

    def _settle(self, process: SimulatorProcess, episode: int, active: ActiveEpisode) -> None:
        """Carry out the chosen chunk."""
        search, active.search = active.search, None
        active.simulated += search.simulated
        self._act(process, episode, active, search, self._chosen(episode, active, search))

    def _chosen(self, episode: int, active: ActiveEpisode, search: Search) -> int:
        return search.best

    def _act(self, process: SimulatorProcess, episode: int, active: ActiveEpisode, search: Search, chosen: int) -> None:
        active.decision += 1
        process.send(episode, Act(active.slot, search.chunks[chosen]))


@dataclass(frozen=True)
class RankedSamples:
    """One decision: a critic's values (N,) of the samples, and the discounted reward (N,) that each gained.

    stage: stages that the episode had reached by then. simulated: the decisions of all branches.
    """

    stage: int
    values: np.ndarray
    gained: np.ndarray
    simulated: int


@dataclass
class RankingRollouts(LookAheadRollouts):
    """Rollouts by a critic's choice, in which the samples of every so many chunks are tried too, each to its end.

    policy: a Proposer whose proposals have values. ranked: (episode, number of the chunk) -> what was found there. The
    episodes are those of the critic's policy.
    """

    complete: ClassVar[bool] = True

    ranked: dict[tuple[int, int], RankedSamples] = field(default_factory=dict)

    def _untried(self, search: Search) -> int:
        return int(np.argmax(search.values))

    def _chosen(self, episode: int, active: ActiveEpisode, search: Search) -> int:
        found = RankedSamples(search.stage, search.values, search.gained, search.simulated)
        self.ranked[episode, active.decision] = found  # an episode that is run again finds the same
        return int(np.argmax(search.values))
