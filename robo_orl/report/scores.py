"""The scores of a policy on a board, with training seeds pooled: counts, lengths and means with their intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from robo_orl.results.endpoints import Endpoint
from robo_orl.results.intervals import score, two_level_bootstrap
from robo_orl.results.record import EpisodeRow


@dataclass(frozen=True)
class SuccessRate:
    """k of n with its 95 % interval; interval: wilson, or two-level over several training seeds."""

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


def within(endpoint: Endpoint, seeds: Sequence[Sequence[EpisodeRow]], horizon: int) -> DeadlineRate:
    """Success within a deadline."""
    rate = success([endpoint.values(rows, horizon) for rows in seeds])
    return DeadlineRate(endpoint.name, rate.k, rate.n, rate.rate, rate.low, rate.high)


def success(seeds: Sequence[Sequence[bool] | np.ndarray]) -> SuccessRate:
    """k of n with its 95 % interval.

    One training seed: Wilson. Several: the wider of Wilson on the pooled count and of the two-level bootstrap.
    """
    pooled = score(int(sum(np.sum(seed) for seed in seeds)), sum(map(len, seeds)))
    low, high, interval = pooled.low, pooled.high, "wilson"
    if len(seeds) > 1:
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


def bootstrapped(seeds: Sequence[Sequence[float]]) -> Mean:
    """A mean with its 95 % interval over seeds, then episodes; no interval where every resample is the same.

    A bootstrap of equal values has no width, which says nothing about the next episode.
    """
    mean, low, high = two_level_bootstrap(seeds, 2_000)
    return Mean(mean, *((low, high) if high > low else (None, None)), sum(map(len, seeds)))
