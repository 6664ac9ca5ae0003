"""Episodes of a policy in the simulator processes of a pool: the actions of all waiting episodes in one call.

The policy is called as late as no process runs dry: then batches are as large as they can be while every core has work.
A finished episode's slot goes to the next one at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from time import perf_counter

import numpy as np

from robo_orl.base.errors import UsageError
from robo_orl.base.text import notice
from robo_orl.rollout.env_spec import Frame, TaskEnvSpec
from robo_orl.rollout.pool import Item, Pool, SimulatorProcess
from robo_orl.rollout.search import Search
from robo_orl.rollout.simulator import (
    Act,
    Begin,
    EnvSpec,
    Outcome,
    Reply,
    SimulatorInfo,
    Trajectory,
    serve_episodes,
)


@dataclass(frozen=True)
class PolicyQuery:
    """One episode that needs an action. decision: number of the policy's answers so far; obs: key -> (D,) or (k, D)."""

    episode: int
    decision: int
    obs: Frame


@dataclass(frozen=True)
class Fresh:
    """Episode `number` of a collection, from the start state that is drawn with `seed`; its trajectory is kept.

    lasting: it goes on after a success until its time is over.
    """

    number: int
    seed: int
    lasting: bool = False


@dataclass(frozen=True)
class FinishedEpisode:
    """One episode done. wall_s: seconds from its reset to its end; restarts: times it was run again.

    simulated: the decisions of its branches, in episodes whose decisions are tried in the simulator. simulation_s: the
    seconds that its process spent on it. trajectory: of a Fresh episode.
    """

    episode: int
    outcome: Outcome
    wall_s: float
    restarts: int
    simulated: int = 0
    simulation_s: float = 0.0
    trajectory: Trajectory | None = None


Policy = Callable[[list[PolicyQuery]], np.ndarray]  # B queries -> actions (B, c, A), all c to be executed


@dataclass
class ActiveEpisode:
    """An episode in a slot of a process. obs: what it waits for an action on, None while it is being stepped.

    search: that of the present decision, where decisions are tried first; simulated: the decisions of all branches.
    """

    slot: int
    began: float
    decision: int = 0
    obs: Frame | None = None
    search: Search | None = None
    simulated: int = 0
    simulation_s: float = 0.0


@dataclass
class Rollouts:
    """Runs episodes i = 0, 1, ... (start state i) of `spec` with a policy. A context manager: leaving stops the pool.

    workers: simulator processes; slots: episodes under way in each. videos: episode -> the mp4 it becomes.
    recycle_after: episodes after which a process is replaced by a fresh one (simulators leak). patience_s: seconds
    without an answer after which a process counts as hung. policy_s, simulation_s: seconds spent by the policy, and by
    all processes together.
    """

    spec: EnvSpec
    policy: Policy
    workers: int
    slots: int = 3
    gamma: float = 1.0
    videos: dict[int, Path] = field(default_factory=dict)
    recycle_after: int = 100
    patience_s: float = 180.0
    policy_s: float = 0.0
    simulation_s: float = 0.0
    decisions: int = 0
    policy_calls: int = 0

    def __post_init__(self) -> None:
        self.pool = Pool(
            partial(serve_episodes, self.spec),
            self.workers,
            self._subject,
            room=self.slots,
            patience_s=self.patience_s,
            recycle_after=self.recycle_after,
        )

    def __enter__(self) -> Rollouts:
        if isinstance(self.spec, TaskEnvSpec) and (work := self.spec.first_work()):
            notice(work)
        self.pool.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.pool.__exit__()

    def _subject(self, episode: Item | None) -> str:
        if episode is None:
            return f"Starting a simulator process for {self.spec.task.name}"
        return f"Episode {_number(episode)} of {self.spec.task.name}"

    def info(self) -> SimulatorInfo:
        """The description of the environment by the first process that stands.

        Raises RunError where processes die three times at their start, and what the simulator refuses.
        """
        while not any(process.ready for process in self.pool.processes):
            list(self.pool.listen())
        return next(process.info for process in self.pool.processes if process.ready)

    def run(self, episodes: Iterable[int | Fresh]) -> Iterator[FinishedEpisode]:
        """The episodes, in the order in which they end.

        Raises RunError where an episode's process dies three times, UsageError for more episodes than start states, and
        what the simulator refuses.
        """
        self.add(episodes)
        while self.pool.busy:
            yield from self.turn()

    def add(self, episodes: Iterable[int | Fresh]) -> None:
        """Have these episodes played by the turns that follow. Raises UsageError as `run`."""
        self.pool.pending.extend(episodes)
        self._check_starts()

    def turn(self, wait_s: float | None = None) -> Iterator[FinishedEpisode]:
        """Start episodes in free slots, then answer those that wait, or hear what processes say; episodes that ended.

        wait_s: seconds to wait for a process at most, default as long as the pool does.
        """
        for process, episode in self.pool.assign():
            self._begin(process, episode)
        if any(_waiting(process) and not process.outstanding for process in self.pool.processes):
            self._decide()
        else:
            for process, episode, reply in self.pool.listen(wait_s):
                yield from self._take(process, episode, reply)

    def _check_starts(self) -> None:
        starts = self.info().starts
        last = max((item for item in self.pool.pending if not isinstance(item, Fresh)), default=-1)
        if last >= starts:
            raise UsageError(
                f"{self.spec.task.name} has {starts} start states; ask for at most {starts} episodes, not {last + 1}."
            )

    def _begin(self, process: SimulatorProcess, episode: int) -> None:
        """Start an episode in a free slot."""
        taken = {active.slot for active in process.held.values()}
        slot = next(slot for slot in range(self.slots) if slot not in taken)
        process.held[episode] = ActiveEpisode(slot, perf_counter())
        seed, lasting = (episode.seed, episode.lasting) if isinstance(episode, Fresh) else (None, False)
        process.send(episode, Begin(slot, _number(episode), self.gamma, self.videos.get(episode), seed, lasting))

    def _decide(self) -> None:
        """Call the policy for every episode that waits, and send the actions."""
        waiting = self._waiting()
        began = perf_counter()
        actions = self.policy(
            [PolicyQuery(_number(i), active.decision, active.obs) for _, i, active in waiting]
        )  # (B, c, A)
        self.policy_s += perf_counter() - began
        self.decisions += len(waiting)
        self.policy_calls += 1
        for (process, episode, active), chunk in zip(waiting, actions, strict=True):
            active.obs, active.decision = None, active.decision + 1
            process.send(episode, Act(active.slot, chunk))

    def _waiting(self) -> list[tuple[SimulatorProcess, int, ActiveEpisode]]:
        return [(process, *item) for process in self.pool.processes for item in _waiting(process)]

    def _take(self, process: SimulatorProcess, episode: int, reply: Reply) -> Iterator[FinishedEpisode]:
        self.simulation_s += reply.busy_s
        process.held[episode].simulation_s += reply.busy_s
        if reply.outcome is None:
            process.held[episode].obs = reply.obs
            return
        done: ActiveEpisode = self.pool.finish(process, episode)
        yield FinishedEpisode(
            episode=_number(episode),
            outcome=reply.outcome,
            wall_s=perf_counter() - done.began,
            restarts=self.pool.restarts[episode],
            simulated=done.simulated,
            simulation_s=done.simulation_s,
            trajectory=reply.trajectory,
        )


def _number(episode: int | Fresh) -> int:
    return episode.number if isinstance(episode, Fresh) else episode


def _waiting(process: SimulatorProcess) -> list[tuple[int, ActiveEpisode]]:
    """(episode, its state) of those in a process that need an action."""
    return [(episode, active) for episode, active in process.held.items() if active.obs is not None]
