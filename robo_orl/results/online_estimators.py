"""Estimators of a curve after the switch: dips at named steps, their deepest and its null, recovery, regret, area.

A curve is judged at a few steps from n start states, the same ones at all steps and of the start policy: differences
are paired. Over trainings an interval is that of results/trainings.py: counts are divided by the design effect of the
rows that are compared. R trainings, P points, n start states.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from robo_orl.results.intervals import Z95, newcombe_counts, wilson_of_share
from robo_orl.results.online_record import OnlineRecord
from robo_orl.results.trainings import DesignEffect, Estimate, estimate

FIRST_STEPS = 20_000  # after the switch, which published curves do not resolve
GAIN = 0.2  # "+20 points"


@dataclass(frozen=True)
class Curve:
    """One training. steps: (P,) environment steps of its points; solved: (P, n) bool; start: (n,) bool, of the policy
    that learning began with, choosing as it does itself."""

    steps: np.ndarray
    solved: np.ndarray
    start: np.ndarray

    @classmethod
    def of(cls, record: OnlineRecord) -> Curve:
        """That of a record."""
        steps = np.array([point.at for point in record.points])
        return cls(steps, np.stack([_bits(p.solved) for p in record.points]), _bits(record.start.judged.solved))

    @classmethod
    def in_other(cls, record: OnlineRecord, task: str) -> Curve:
        """That of a record in another task that its start learned, from that task's start states."""
        steps = np.array([point.at for point in record.points])
        solved = np.stack([_bits(point.others[task].solved) for point in record.points])
        return cls(steps, solved, _bits(record.start.judged.others[task].solved))

    def until(self, step: int) -> Curve:
        """Its points up to a step."""
        kept = self.steps <= step
        return Curve(self.steps[kept], self.solved[kept], self.start)

    def at(self, step: int) -> np.ndarray | None:
        """(n,) bool: the starts that are solved at a step; None where it was not judged."""
        places = np.flatnonzero(self.steps == step)
        return self.solved[places[0]] if len(places) else None


def _bits(text: str) -> np.ndarray:
    return np.array([bit == "1" for bit in text])


@dataclass(frozen=True)
class Change:
    """Success at a step less that of the start, with its 95 % interval; lost and won: starts, of all trainings."""

    step: int
    trainings: int
    n: int
    difference: float
    low: float
    high: float
    lost: int
    won: int
    solved_before: int
    over_trainings: bool


def change_at(curves: Sequence[Curve], step: int, effect: DesignEffect | None = None) -> Change | None:
    """The change at a named step over the trainings that were judged there; None without one. A dip is below 0.

    Newcombe's paired interval (results/intervals.py) of the counts of all trainings, divided by `effect`.
    """
    pairs = [(curve.start, now) for curve in curves if (now := curve.at(step)) is not None]
    if not pairs:
        return None
    before, now = (np.concatenate(column) for column in zip(*pairs, strict=True))
    counts = [int(c.sum()) for c in (before & now, now & ~before, before & ~now, ~before & ~now)]
    factor, quantile = (effect.factor, effect.quantile) if effect else (1.0, Z95)
    low, high = newcombe_counts(*(count / factor for count in counts), z=quantile)
    _, won, lost, _ = counts
    return Change(
        step=step,
        trainings=len(pairs),
        n=len(before),
        difference=(won - lost) / len(before),
        low=low,
        high=high,
        lost=lost,
        won=won,
        solved_before=int(before.sum()),
        over_trainings=effect is not None,
    )


def success_at(curves: Sequence[Curve], step: int, effect: DesignEffect | None = None) -> Estimate | None:
    """Success at a step, with the interval of results/trainings.py; None where no training was judged there."""
    rows = [now.astype(float) for curve in curves if (now := curve.at(step)) is not None]
    return estimate(rows, effect, binary=True) if rows else None


def lost_share(change: Change) -> tuple[float, float, float] | None:
    """Of the starts that were solved before the switch the share that is lost, with Wilson's 95 % interval of the
    episodes; None where none was solved."""
    if not change.solved_before:
        return None
    share = change.lost / change.solved_before
    return share, *wilson_of_share(share, change.solved_before)


# ---------------------------------------------------------------------------------------------------- the deepest point


@dataclass(frozen=True)
class DeepestDip:
    """The lowest of P evaluations after the switch, and what the lowest of as many is where nothing changed.

    depth: success of the start less the lowest. null_median, null_high: median and 95 % quantile of the depth under the
    null. p: the chance of such a depth under it.
    """

    step: int
    evaluations: int
    depth: float
    null_median: float
    null_high: float
    p: float


DRAWS = 2_000


def deepest_dip(curve: Curve, draws: int = DRAWS, seed: int = 0) -> DeepestDip:
    """The lowest evaluation of a training against its null, by permutation within start states.

    Where nothing changes, the start policy and the P evaluations are P + 1 equal looks at each start state: their
    outcomes at one start can be exchanged, however hard that start is. The null is the depth of curves whose looks are
    exchanged at every start alone: a lowest value of many is low by itself, and a test of one step is none of it.
    """
    looks = np.concatenate([curve.start[None], curve.solved]).astype(np.int8)  # (P+1, n)
    depth, lowest = _depth(looks)
    rng = np.random.default_rng(seed)
    null = np.array([_depth(rng.permuted(looks, axis=0))[0] for _ in range(draws)])
    p = (1 + int((null >= depth - 1e-12).sum())) / (1 + draws)
    median, high = np.percentile(null, [50, 95])
    return DeepestDip(int(curve.steps[lowest]), len(curve.steps), depth, float(median), float(high), p)


def _depth(looks: np.ndarray) -> tuple[float, int]:
    means = looks.mean(1)
    lowest = int(means[1:].argmin())
    return float(means[0] - means[1 + lowest]), lowest


# ------------------------------------------------------------------------------------------------------ times to events


@dataclass(frozen=True)
class Time:
    """Environment steps until an event was seen, or until watching ended. seen: False where it is censored."""

    steps: int
    seen: bool


def recovery(curve: Curve) -> Time:
    """Steps until success is back and stays: the first point from which every one is at least that of the start less
    two standard errors of it, sqrt(p (1 - p) / n). Points are seen, and not what is between them."""
    p, n = curve.start.mean(), len(curve.start)
    return _from_then_on(curve, p - 2 * np.sqrt(p * (1 - p) / n))


def gain(curve: Curve, points: float = GAIN) -> Time | None:
    """Steps until success is `points` above the start and stays there; None where the start leaves no such room."""
    level = curve.start.mean() + points
    return None if level > 1 + 1e-9 else _from_then_on(curve, level)


def _from_then_on(curve: Curve, level: float) -> Time:
    reached = curve.solved.mean(1) >= level - 1e-9
    for place, step in enumerate(curve.steps):
        if reached[place:].all():
            return Time(int(step), True)
    return Time(int(curve.steps[-1]), False)


@dataclass(frozen=True)
class Survival:
    """Kaplan-Meier. steps: at which events were seen; share: of trainings without the event after each; events, n."""

    steps: list[int]
    share: list[float]
    events: int
    n: int

    @property
    def median(self) -> int | None:
        """The first step at which at most half are without the event; None where more than half stay so."""
        return next((step for step, share in zip(self.steps, self.share, strict=True) if share <= 0.5), None)


def kaplan_meier(times: Sequence[Time]) -> Survival:
    """The share of trainings without an event, by step, of which some were watched for less long than others.

        S(t) = product over event times t_i <= t of (1 - d_i / n_i),  n_i: still watched and without it just before t_i

    E. Kaplan and P. Meier, Nonparametric estimation from incomplete observations, JASA 53 (1958), equation 2b. Who is
    censored at a step is watched through it.
    """
    steps, share, left = [], [], 1.0
    for step in sorted({time.steps for time in times if time.seen}):
        at_risk = sum(time.steps >= step for time in times)
        events = sum(time.seen and time.steps == step for time in times)
        left *= 1 - events / at_risk
        steps.append(step)
        share.append(left)
    return Survival(steps, share, sum(time.seen for time in times), len(times))


# ------------------------------------------------------------------------------------------------------ area and regret


def area(curve: Curve) -> np.ndarray:
    """(n,) of each start state the mean of solving it over the steps of the curve, by the trapezoid rule.

    The mean over starts is the area under the curve of success, divided by the budget.
    """
    if len(curve.steps) < 2:
        return curve.solved[0].astype(float)
    between = (curve.solved[1:].astype(float) + curve.solved[:-1]) / 2  # (P-1, n)
    return np.diff(curve.steps) @ between / (curve.steps[-1] - curve.steps[0])


def area_of(curves: Sequence[Curve], effect: DesignEffect | None = None) -> Estimate:
    """The area over trainings."""
    return estimate([area(curve) for curve in curves], effect, binary=False)


def regret_of(curves: Sequence[Curve], effect: DesignEffect | None = None) -> Estimate:
    """Success of staying with the start, less the area: what learning cost in success on the way; below 0 it paid."""
    return estimate([curve.start - area(curve) for curve in curves], effect, binary=False)
