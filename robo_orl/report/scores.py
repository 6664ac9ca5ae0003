"""The scores of a policy on a board, with training seeds pooled: counts, lengths, means and curves with intervals."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from robo_orl.report.contents import Cells
from robo_orl.results.endpoints import Endpoint, success_curve, success_times
from robo_orl.results.intervals import score, two_level_bootstrap
from robo_orl.results.record import EpisodeRow, Record
from robo_orl.results.trainings import DesignEffect, estimate


@dataclass(frozen=True)
class SuccessRate:
    """k of n with its 95 % interval; interval: wilson, two-level over two training seeds, or over trainings."""

    k: int
    n: int
    rate: float
    low: float
    high: float
    interval: str


@dataclass(frozen=True)
class ConditionalRate:
    """k of the n episodes that reached the stage before, with the Wilson interval."""

    k: int
    n: int
    low: float
    high: float
    rate: float | None


@dataclass(frozen=True)
class StageRow:
    """One stage: k of all n episodes reached it."""

    name: str
    k: int
    n: int
    conditional: ConditionalRate


@dataclass(frozen=True)
class DeadlineRate:
    """k of the n episodes solved within a deadline, with its 95 % interval as of success; endpoint: its name."""

    endpoint: str
    k: int
    n: int
    rate: float
    low: float
    high: float


@dataclass(frozen=True)
class Length:
    """Decisions of the n successes."""

    median: float | None
    low: float | None
    high: float | None
    n: int


@dataclass(frozen=True)
class Mean:
    """A mean over n episodes with its 95 % interval."""

    mean: float
    low: float | None
    high: float | None
    n: int


def within(
    endpoint: Endpoint, seeds: Sequence[Sequence[EpisodeRow]], horizon: int, effect: DesignEffect | None = None
) -> DeadlineRate:
    """Success within a deadline."""
    rate = success([endpoint.values(rows, horizon) for rows in seeds], effect)
    return DeadlineRate(endpoint.name, rate.k, rate.n, rate.rate, rate.low, rate.high)


def success(seeds: Sequence[Sequence[bool] | np.ndarray], effect: DesignEffect | None = None) -> SuccessRate:
    """k of n with its 95 % interval.

    effect: the design effect of the report's trainings, where some row has three: then the interval is one over
    trainings (results/trainings.py). Else one training seed: Wilson; two: the wider of Wilson on the pooled count and
    of the two-level bootstrap.
    """
    pooled = score(int(sum(np.sum(seed) for seed in seeds)), sum(map(len, seeds)))
    low, high, interval = pooled.low, pooled.high, "wilson"
    if effect is not None:
        made = estimate([np.asarray(seed, dtype=np.float64) for seed in seeds], effect, binary=True)
        low, high, interval = made.low, made.high, "over trainings"
    elif len(seeds) > 1:
        _, low_seeds, high_seeds = two_level_bootstrap([[float(outcome) for outcome in seed] for seed in seeds], 2_000)
        low, high, interval = min(low, low_seeds), max(high, high_seeds), "two-level"
    return SuccessRate(pooled.k, pooled.n, pooled.rate or 0.0, low, high, interval)


def stages(rows: Sequence[EpisodeRow], names: Sequence[str]) -> list[StageRow]:
    """Every stage: its count over all episodes, and over the episodes that reached the stage before."""
    result = []
    for index, name in enumerate(names):
        before = [row for row in rows if index == 0 or row.stages[index - 1]]
        given = score(sum(row.stages[index] for row in before), len(before))
        conditional = ConditionalRate(given.k, given.n, given.low, given.high, given.rate)
        result.append(StageRow(name, sum(row.stages[index] for row in rows), len(rows), conditional))
    return result


def bootstrapped(seeds: Sequence[Sequence[float]], effect: DesignEffect | None = None) -> Mean:
    """A mean with its 95 % interval over seeds, then episodes; no interval where every resample is the same.

    A bootstrap of equal values has no width, which says nothing about the next episode. effect: as in `success`.
    """
    if effect is not None:
        made = estimate([np.asarray(seed, dtype=np.float64) for seed in seeds], effect, binary=False)
        mean, low, high = made.mean, made.low, made.high
    else:
        mean, low, high = two_level_bootstrap(seeds, 2_000)
    return Mean(mean, *((low, high) if high > low else (None, None)), sum(map(len, seeds)))


# -------------------------------------------------------------------------------- success against the decisions allowed


STEPS = 20


@dataclass(frozen=True)
class CurveRow:
    """The episodes of one policy solved within each of a curve's decisions; the 95 % band where it is drawn."""

    policy: str
    n: int
    k: list[int]
    low: list[float] | None
    high: list[float] | None


@dataclass(frozen=True)
class Curve:
    """Success against the decisions allowed, at equal steps up to the limit.

    Drawn with a band: the policy with a critic and the one without that have the highest return, and the control.
    """

    decisions: list[int]
    rows: list[CurveRow]


def curve(
    cells: Cells, policies: Mapping[str, Sequence[Record]], names: Sequence[str], drawn: Collection[str], horizon: int
) -> Curve:
    """The curves of the policies `names` at STEPS equal steps up to the limit; those in `drawn` have a band."""
    decisions = sorted({max(1, horizon * step // STEPS) for step in range(1, STEPS + 1)})
    rows = []
    for name in names:
        times = [success_times(cells.rows[record.cell]) for record in policies[name]]
        k = sum(success_curve(seed, decisions) for seed in times)
        effect = cells.effects.get("success")
        band = [success([seed <= d for seed in times], effect) for d in decisions] if name in drawn else None
        low, high = ([getattr(rate, end) for rate in band] if band else None for end in ("low", "high"))
        rows.append(CurveRow(name, sum(map(len, times)), [int(count) for count in k], low, high))
    return Curve(decisions, rows)
