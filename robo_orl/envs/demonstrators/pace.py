"""Pace: the time that a pick-and-place still takes, and the speed at which it ends when it is due.

The hand moves along its largest coordinate at `HAND` metres per second at full speed; opening, closing and settling
take time at every speed. Both were read off clean episodes at 20 Hz, at speeds from 0.2 to 1, and are right to a few
tenths of a second; whoever keeps time corrects the rest on the way.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from robo_orl.envs.chain_layout import PLACE_SLOTS
from robo_orl.envs.demonstrators.experts import HOVER, PickAndPlace, holds
from robo_orl.envs.scene import Scene

HAND = 0.22  # metres per second
CLOSING, OPENING, SETTLING, RELEASING = 0.45, 0.45, 0.25, 0.3  # seconds
LIFTING = 0.04  # metres that going up and down adds to a carry
USUAL = 0.95  # of full speed: whoever is to be fast and in time leaves room on both sides


@dataclass(frozen=True)
class Left:
    """The remainder of a pick-and-place: metres that take longer at a lower speed, seconds that do not."""

    metres: float
    seconds: float

    def duration(self, speed: float) -> float:
        """Seconds at a speed in (0, 1]."""
        return self.seconds + self.metres / (HAND * speed)

    def speed(self, seconds: float) -> float:
        """The speed that ends it in so many seconds; above 1, or infinite, where none does."""
        moving = seconds - self.seconds
        return self.metres / (HAND * moving) if moving > 0 else np.inf


def left(scene: Scene, pick: PickAndPlace) -> Left:
    """The remainder of the pick-and-place at hand."""
    if pick.delivered:
        return Left(0.0, RELEASING)
    carry = _largest(pick.goal - scene.position(pick.index)) + LIFTING
    if holds(scene, pick):
        return Left(carry, SETTLING + RELEASING)
    low = scene.grip_position[2] < pick.grasp[2] + HOVER - 0.03
    reach = _largest(pick.grasp - scene.grip_position)
    return Left(reach + carry, (OPENING if low else 0.0) + CLOSING + SETTLING + RELEASING)


def of_cube(scene: Scene, index: int) -> Left:
    """The whole pick-and-place of a cube of chain, from the place of the cube before it."""
    cube, goal = scene.position(index)[:2], PLACE_SLOTS[index]
    metres = _largest(cube - PLACE_SLOTS[index - 1]) + _largest(goal - cube) + LIFTING
    return Left(metres, OPENING + CLOSING + SETTLING + RELEASING)


def _largest(vector: np.ndarray) -> float:
    """Metres along x or y, the larger."""
    return float(np.abs(vector[:2]).max())
