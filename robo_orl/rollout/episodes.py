"""Many episodes at once: which process steps what, and when the policy is asked.

The policy answers for all waiting episodes in one call, and is asked as late as no process runs dry: then batches are
as large as they can be while every core has work. A finished episode's slot goes to the next one at once.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import wait
from pathlib import Path
from time import perf_counter

import numpy as np

from robo_orl.base.errors import RunError, UsageError
from robo_orl.rollout.pool import Simulator, SimulatorDied
from robo_orl.rollout.simulator import Hello, Outcome, Scene

CRASHES_ALLOWED = 2  # an episode whose process dies once more than this fails the evaluation
START_PATIENCE_S = 900.0  # a start may compile the physics loop, and draw the start states of a user's own task


@dataclass(frozen=True)
class Ask:
    """One episode that needs an action: `decision` counts the policy's answers so far."""

    episode: int
    decision: int
    obs: dict[str, np.ndarray]


@dataclass(frozen=True)
class Finished:
    """One episode done. wall_s: seconds from its reset to its end; restarts: times it was run again."""

    episode: int
    outcome: Outcome
    wall_s: float
    restarts: int


Policy = Callable[[list[Ask]], np.ndarray]  # B asks -> actions (B, c, A), all c to be executed


@dataclass
class Rollouts:
    """Runs episodes i = 0, 1, ... (start state i) of a scene with a policy. A context manager: leaving stops the pool.

    workers: simulator processes; slots: episodes under way in each. recycle_after: episodes after which a process is
    replaced by a fresh one (simulators leak). patience_s: silence after which a process counts as hung.
    """

    scene: Scene
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

    def __enter__(self) -> Rollouts:
        self._pending: deque[int] = deque()
        self._restarts: Counter[int] = Counter()
        self._crashes: Counter[int] = Counter()
        self._simulators = [Simulator(self.scene, self.slots) for _ in range(self.workers)]
        return self

    def __exit__(self, *_: object) -> None:
        for simulator in self._simulators:
            simulator.stop()

    def hello(self) -> Hello:
        """What the scene is, as the first process to stand tells."""
        while not any(simulator.hello for simulator in self._simulators):
            list(self._listen())
        return next(simulator.hello for simulator in self._simulators if simulator.hello)

    def run(self, episodes: Iterable[int]) -> Iterator[Finished]:
        """The episodes, in the order in which they end.

        Raises RunError where an episode's process dies three times, and what the simulator refuses to do.
        """
        self._pending.extend(episodes)
        self._check_starts()
        while self._pending or any(simulator.running for simulator in self._simulators):
            self._assign()
            if any(s.waiting and not s.outstanding for s in self._simulators):
                self._decide()
            else:
                yield from self._listen()

    def _check_starts(self) -> None:
        held = self.hello().starts
        if self._pending and max(self._pending) >= held:
            raise UsageError(
                f"{self.scene.task.name} has {held} start states; ask for at most {held} episodes, not "
                f"{max(self._pending) + 1}."
            )

    def _assign(self) -> None:
        """Give pending episodes to free slots, the least busy process first; recycle those that are due."""
        for index, simulator in enumerate(self._simulators):
            if self._pending and self._is_spent(simulator) and not simulator.running:
                simulator.stop()
                self._simulators[index] = Simulator(self.scene, self.slots)
        while self._pending:
            free = [s for s in self._simulators if s.hello and None in s.slots and not self._is_spent(s)]
            if not free:
                return
            episode = self._pending.popleft()
            least_busy = min(free, key=lambda s: len(s.running))
            least_busy.begin(episode, episode, self.gamma, self.videos.get(episode))

    def _is_spent(self, simulator: Simulator) -> bool:
        return simulator.finished + len(simulator.running) >= self.recycle_after

    def _decide(self) -> None:
        """Ask the policy for every episode that waits, and send the answers."""
        waiting = [(s, slot, running) for s in self._simulators for slot, running in s.waiting]
        began = perf_counter()
        actions = self.policy([Ask(r.episode, r.decision, r.obs) for _, _, r in waiting])  # (B, c, A)
        self.policy_s += perf_counter() - began
        self.decisions += len(waiting)
        self.policy_calls += 1
        for (simulator, slot, _), chunk in zip(waiting, actions, strict=True):
            simulator.act(slot, chunk)

    def _listen(self) -> Iterator[Finished]:
        """Wait for at least one message and take all that have arrived."""
        by_connection = {simulator.connection: simulator for simulator in self._simulators}
        ready = wait(list(by_connection), timeout=min(5.0, self.patience_s))
        for connection in ready:
            yield from self._take(by_connection[connection])
        for simulator in self._simulators:
            patience_s = START_PATIENCE_S if simulator.hello is None else self.patience_s
            due = simulator.outstanding or simulator.hello is None
            if due and perf_counter() - simulator.heard_at > patience_s:
                simulator.process.kill()
                self._replace(simulator, f"silent for {patience_s:.0f} s")

    def _take(self, simulator: Simulator) -> Iterator[Finished]:
        slot = simulator.outstanding[0] if simulator.outstanding else None
        try:
            message = simulator.receive()
        except SimulatorDied as death:
            self._replace(simulator, str(death))
            return
        if isinstance(message, Hello):
            return
        running = simulator.slots[slot]
        self.simulation_s += message.busy_s
        if message.outcome is None:
            running.obs = message.obs
            return
        simulator.slots[slot] = None
        simulator.finished += 1
        wall_s = perf_counter() - running.began
        yield Finished(running.episode, message.outcome, wall_s, self._restarts[running.episode])

    def _replace(self, simulator: Simulator, reason: str) -> None:
        """A fresh process for a dead one; its episodes run again from their start states.

        The episode that was being stepped is held to have killed it; a process that dies before any episode began
        counts against the evaluation as a whole (key -1).
        """
        blamed = simulator.slots[simulator.outstanding[0]].episode if simulator.outstanding else -1
        self._crashes[blamed] += 1
        if self._crashes[blamed] > CRASHES_ALLOWED:
            what = f"Episode {blamed} of {self.scene.task.name}" if blamed >= 0 else "Starting a simulator process"
            raise RunError(f"{what} crashed {self._crashes[blamed]} times; the last time: {reason}.")
        for running in reversed(simulator.running):
            self._restarts[running.episode] += 1
            self._pending.appendleft(running.episode)
        simulator.stop()
        self._simulators[self._simulators.index(simulator)] = Simulator(self.scene, self.slots)
