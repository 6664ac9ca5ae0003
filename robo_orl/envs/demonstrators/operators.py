"""Operators: an expert with a style, good or bad, as a person at the controls has one.

Noise averages out when many demonstrations are cloned; the faults here do not: an operator misses to the same side,
lets go too early, wanders, waits, puts the object in the wrong place, gives up.
"""

from __future__ import annotations

import numpy as np

from robo_orl.envs.demonstrators.hands import Hand
from robo_orl.envs.demonstrators.styles import OperatorStyle
from robo_orl.envs.task_env import TaskEnv

__all__ = ["Operator", "OperatorStyle"]


class Operator:
    """One operator at work on one episode, with one hand for every arm; it has left once one of them has given up.

    styles: by the part of the work; the last one goes on for the rest. due: seconds after its first decision at which
    the last object is to lie in its place; 0: it keeps no time.
    """

    def __init__(self, styles: tuple[OperatorStyle, ...], control_hz: int, rng: np.random.Generator, due: float = 0.0):
        self.styles, self.hz, self.rng, self.due = styles, control_hz, rng, due
        self._hands: list[Hand] = []

    def act(self, env: TaskEnv) -> np.ndarray | None:
        """The next action (A,) in [-1, 1], 7 numbers an arm, or None once the operator has left."""
        arms = len(env.scene.hands)
        if not self._hands:
            draws = [self.rng] if arms == 1 else self.rng.spawn(arms)
            self._hands = [Hand(arm, self.styles, self.hz, draws[arm], self.due) for arm in range(arms)]
        actions = [hand.act(env) for hand in self._hands]
        return None if any(action is None for action in actions) else np.concatenate(actions)
