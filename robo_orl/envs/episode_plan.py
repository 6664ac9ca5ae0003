"""One episode to be recorded, as a value."""

from __future__ import annotations

from dataclasses import dataclass

from robo_orl.envs.operators import OperatorStyle


@dataclass(frozen=True)
class EpisodePlan:
    """One episode to be recorded.

    index: in the data set. seed: of the operator. start_seed: of the start state. start: its index among the data
    set's starts (paired episodes share one). styles: one per object, in order; the last one goes on for the rest.
    operator, grade, masks: as in Episode.
    """

    index: int
    regime: str
    seed: int
    start: int
    start_seed: int
    styles: tuple[OperatorStyle, ...]
    operator: str
    grade: str = ""
    masks: tuple[str, ...] = ()
