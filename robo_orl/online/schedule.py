"""When what is collected and learned: a function of the collected episodes alone, and so the same after any kill.

In slot r the episodes of round r are collected with the weights that the updates before this slot left, while the
updates that are due for the rounds before are made on the episodes of those rounds. Neither waits for the other, and
neither sees what the other does: how fast each is changes nothing.

Where the method is on-policy the updates of slot r are made on the episodes of round r-1 first, and round r is then
collected with the weights that they left.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from robo_orl.config import OnlineConfig
from robo_orl.online.replay import CollectedEpisode
from robo_orl.online.rounds import RoundPlan


@dataclass(frozen=True)
class Slot:
    """The work of slot `number`.

    collected: environment steps of the rounds before it. warm_up: whether its round is collected before the policy
    learns. before: updates made before it. critic_only: updates of the critic alone, which come first. updates: of
    everything that learns.
    """

    number: int
    collected: int
    warm_up: bool
    before: int
    critic_only: int
    updates: int

    @property
    def after(self) -> int:
        """Updates made once it is done."""
        return self.before + self.critic_only + self.updates


@dataclass(frozen=True)
class Schedule:
    """execute: actions of a chunk. has_data: whether updates draw from the run's data too. successes_alone: whether
    they draw from collected successes alone. rounds: of an on-policy method, what is learned of each."""

    config: OnlineConfig
    execute: int
    has_data: bool
    successes_alone: bool = False
    rounds: RoundPlan | None = None

    def round_of(self, number: int, episodes: Sequence[CollectedEpisode]) -> Sequence[CollectedEpisode]:
        """The episodes of a round, as many of them as are collected."""
        size = self.config.collection.episodes
        return episodes[number * size : (number + 1) * size]

    def slots(self, episodes: Sequence[CollectedEpisode]) -> list[Slot]:
        """The slots whose rounds before are whole: one more than there are whole rounds."""
        if self.rounds is not None:
            return self._on_policy(self.rounds, episodes)
        whole = len(episodes) // self.config.collection.episodes
        slots: list[Slot] = []
        collected, before, owed, ready_before, something = 0, 0, 0.0, False, self.has_data
        for number in range(whole + 1):
            ready = collected >= self.config.warm_up.steps
            critic_only = self.config.warm_up.critic_updates if ready and not ready_before else 0
            done = math.floor(owed)
            owed -= done
            if not something:
                critic_only = done = 0
            slots.append(Slot(number, collected, not ready, before, critic_only, done))
            if number == whole:
                break
            of_round = self.round_of(number, episodes)
            collected += sum(episode.length for episode in of_round)
            if ready:
                owed += self.config.updates * sum(-(-episode.length // self.execute) for episode in of_round)
            something |= any(episode.success or not self.successes_alone for episode in of_round)
            before, ready_before = slots[-1].after, ready
        return slots

    def _on_policy(self, rounds: RoundPlan, episodes: Sequence[CollectedEpisode]) -> list[Slot]:
        """Of a round of the warm-up the critic alone learns."""
        whole = len(episodes) // self.config.collection.episodes
        slots: list[Slot] = []
        collected, before, due, warm = 0, 0, 0, False
        for number in range(whole + 1):
            critic_only = due if warm else 0
            warm = collected < self.config.warm_up.steps
            slots.append(Slot(number, collected, warm, before, critic_only, due - critic_only))
            if number == whole:  # a round that is cut short by a kill has no whole groups yet
                break
            of_round = self.round_of(number, episodes)
            collected, before, due = collected + sum(e.length for e in of_round), before + due, rounds.updates(of_round)
        return slots

    def place_of(self, updates: int, slots: Sequence[Slot]) -> int | None:
        """The first slot before which so many updates were made; None where no slot is."""
        return next((slot.number for slot in slots if slot.before == updates), None)
