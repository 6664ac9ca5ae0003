"""Intervals and tests for success counts: numpy and closed forms, every random draw from an explicit seed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import comb, sqrt

import numpy as np

from robo_orl.results.record import Score

Z95 = 1.959963984540054  # the 97.5 % quantile of the standard normal distribution


def wilson(k: int, n: int, z: float = Z95) -> tuple[float, float]:
    """Wilson's score interval of a proportion (Wilson, JASA 1927); (0, 1) where n is 0."""
    if not 0 <= k <= n:
        raise ValueError(f"k of n needs 0 <= k <= n, got {k} of {n}")
    if n == 0:
        return 0.0, 1.0
    p, z2 = k / n, z * z
    centre = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = z / (1 + z2 / n) * sqrt(p * (1 - p) / n + z2 / (4 * n * n))
    # At k = 0 and k = n one end is exact; floating point leaves it a hair off.
    return (0.0 if k == 0 else max(0.0, centre - half)), (1.0 if k == n else min(1.0, centre + half))


def score(k: int, n: int) -> Score:
    """k of n with its 95 % Wilson interval."""
    low, high = wilson(k, n)
    return Score(k=k, n=n, low=low, high=high)


def two_level_bootstrap(
    seeds: Sequence[Sequence[float]], resamples: int = 10_000, level: float = 0.95, seed: int = 0
) -> tuple[float, float, float]:
    """(mean, low, high) of a score over training seeds: seeds are drawn first, then episodes within each drawn seed.

    seeds: per training seed the episodes' outcomes (0/1 or any number). With one seed only the episodes vary, and the
    interval says nothing about another training run.
    """
    groups = [np.asarray(group, dtype=np.float64) for group in seeds]
    if not groups or any(len(group) == 0 for group in groups):
        raise ValueError("every training seed needs at least one episode")
    rng = np.random.default_rng(seed)
    drawn_means = np.stack([_resampled_means(group, resamples * len(groups), rng) for group in groups])  # (S, R*S)
    drawn_means = drawn_means.reshape(len(groups), resamples, len(groups))
    which = rng.integers(len(groups), size=(resamples, len(groups)))  # (R, S): the seed in each slot
    slots = np.arange(len(groups))[None, :]
    means = drawn_means[which, np.arange(resamples)[:, None], slots].mean(axis=1)
    tail = 100 * (1 - level) / 2
    low, high = np.percentile(means, [tail, 100 - tail])
    return float(np.mean([group.mean() for group in groups])), float(low), float(high)


def _resampled_means(values: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """`count` means of len(values) draws with replacement.

    Few distinct values (counts): by drawing how often each appears. Many (returns): by drawing the values, in slices
    that keep memory small.
    """
    distinct, frequency = np.unique(values, return_counts=True)
    if len(distinct) <= 8:
        drawn = rng.multinomial(len(values), frequency / len(values), size=count)  # (count, distinct)
        return drawn @ distinct / len(values)
    sizes = [min(2_000, count - first) for first in range(0, count, 2_000)]
    return np.concatenate([values[rng.integers(len(values), size=(n, len(values)))].mean(axis=1) for n in sizes])


def paired_test(first: Sequence[bool], second: Sequence[bool]) -> dict[str, float | int]:
    """Exact McNemar test of two policies on the same start states: a sign test on the discordant pairs, two-sided.

    Returns n, only_first, only_second (episodes that just one of them solved), difference (second - first) and p.
    """
    a, b = np.asarray(first, dtype=bool), np.asarray(second, dtype=bool)
    if a.shape != b.shape:
        raise ValueError(f"paired outcomes need equal lengths, got {len(a)} and {len(b)}")
    only_first, only_second = int((a & ~b).sum()), int((b & ~a).sum())
    return {
        "n": len(a),
        "only_first": only_first,
        "only_second": only_second,
        "difference": (only_second - only_first) / len(a) if len(a) else 0.0,
        "p": sign_test(only_first, only_second),
    }


def sign_test(wins: int, losses: int) -> float:
    """Two-sided exact binomial p of `wins` against `losses` under a fair coin; 1 where there is nothing to compare."""
    n, tail = wins + losses, min(wins, losses)
    return min(1.0, 2 * sum(comb(n, i) for i in range(tail + 1)) / 2**n)


def exponent_fit(
    x: Sequence[float], y: Sequence[float], resamples: int = 2_000, level: float = 0.95, seed: int = 0
) -> dict[str, float | int] | None:
    """The exponent b of y = a x^b, by least squares in log-log, with a bootstrap interval over the points.

    None where fewer than three distinct positive x remain: an exponent through two points has no interval.
    """
    points = [(u, v) for u, v in zip(x, y, strict=True) if u > 0 and v > 0]
    if len({u for u, _ in points}) < 3:
        return None
    log_x, log_y = np.log(np.asarray(points, dtype=np.float64)).T
    rng = np.random.default_rng(seed)
    slopes = []
    while len(slopes) < resamples:
        pick = rng.integers(len(points), size=len(points))
        if len(np.unique(log_x[pick])) > 1:  # one x alone has no slope
            slopes.append(_slope(log_x[pick], log_y[pick]))
    tail = 100 * (1 - level) / 2
    low, high = np.percentile(slopes, [tail, 100 - tail])
    exponent = _slope(log_x, log_y)
    scale = float(np.exp(log_y.mean() - exponent * log_x.mean()))
    return {"exponent": exponent, "low": float(low), "high": float(high), "scale": scale, "points": len(points)}


def _slope(x: np.ndarray, y: np.ndarray) -> float:
    centred = x - x.mean()
    return float((centred * (y - y.mean())).sum() / (centred * centred).sum())


def mean_interval(
    values: Sequence[float], statistic: Callable[[np.ndarray], float] = np.mean, resamples: int = 2_000, seed: int = 0
) -> tuple[float, float, float]:
    """(value, low, high) of a statistic of lengths or returns, 95 % by a percentile bootstrap over the episodes."""
    data = np.asarray(values, dtype=np.float64)
    if len(data) == 0:
        raise ValueError("an interval needs at least one value")
    rng = np.random.default_rng(seed)
    drawn = [float(statistic(data[rng.integers(len(data), size=len(data))])) for _ in range(resamples)]
    low, high = np.percentile(drawn, [2.5, 97.5])
    return float(statistic(data)), float(low), float(high)
