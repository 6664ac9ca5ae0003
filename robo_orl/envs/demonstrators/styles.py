"""Styles: the habits of an operator, good and bad, as numbers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class OperatorStyle:
    """The habits of an operator. Probabilities are per attempt: one reach for an object, or one carry of it.

    speed: of the fastest motion. noise: standard deviation of the arm's actions (1 = 5 cm or 0.5 rad per decision).
    detour: goes by way of a point 6 to 12 cm aside. miss: reaches `miss_offset` metres beside the object, closes,
    rises, tries once more. drop: lets go on the way. early_release: lets go 6 to 14 cm before the goal. pause: stands
    still for 0.3 to 1.5 s. misplace: drops the object 20 cm from its goal and gives up. give_up: per object, within 4 s
    of work on it, lets go, draws the arm back, waits there, and leaves. short: sets the object down so many metres
    before its goal along y, below 0 beyond it, and gives up; 0: never. least_speed: the slowest at which it keeps time.
    """

    name: str
    grade: str = ""
    speed: float = 1.0
    noise: float = 0.1
    detour: float = 0.0
    miss: float = 0.0
    miss_offset: float = 0.036
    drop: float = 0.0
    early_release: float = 0.0
    pause: float = 0.0
    misplace: float = 0.0
    give_up: float = 0.0
    short: float = 0.0
    least_speed: float = 0.0
