"""Intervals and tests of success counts, lengths and returns: numpy and closed forms, every draw from a seed.

k of n: `wilson`. A mean over training seeds and their episodes: `two_level_bootstrap`. Two policies on the same start
states: `paired_test` for p, `newcombe_counts` for the interval of the difference, `holm` for many comparisons.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from math import comb, sqrt

import numpy as np
from einops import rearrange

from robo_orl.results.record import Score

Z95 = 1.959963984540054  # the 97.5 % quantile of the standard normal distribution


# --------------------------------------------------------------------------------------------------------- proportions


def wilson(k: int, n: int, z: float = Z95) -> tuple[float, float]:
    """Wilson's score interval of a proportion p = k/n; (0, 1) where n is 0.

        (p + z^2/2n  -+  z sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n)

    E. B. Wilson, Probable inference, the law of succession, and statistical inference, JASA 22 (1927); in this form
    equation 4 of Brown, Cai and DasGupta, Interval estimation for a binomial proportion, Statistical Science 16 (2001).
    """
    if not 0 <= k <= n:
        raise ValueError(f"k of n needs 0 <= k <= n, got {k} of {n}")
    return wilson_of_share(k / n, n, z) if n else (0.0, 1.0)


def wilson_of_share(p: float, n: float, z: float = Z95) -> tuple[float, float]:
    """`wilson` of a share p of n > 0 episodes, where n need not be whole: an effective number of them."""
    z2 = z * z
    centre = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = z / (1 + z2 / n) * sqrt(p * (1 - p) / n + z2 / (4 * n * n))
    # At p = 0 and p = 1 one end is exact; floating point leaves it a hair off.
    return (0.0 if p == 0 else max(0.0, centre - half)), (1.0 if p == 1 else min(1.0, centre + half))


def score(k: int, n: int) -> Score:
    """k of n with its 95 % Wilson interval."""
    low, high = wilson(k, n)
    return Score(k=k, n=n, low=low, high=high)


# -------------------------------------------------------------------------------------------------------- paired counts


TIE = 1e-9  # values nearer than this are equal: returns of episodes of one length differ by rounding alone


@dataclass(frozen=True, slots=True)
class PairedTest:
    """Two policies on n common start states; only_first: starts on which the first one has the higher value.

    Of outcomes (success or not) these are the starts that the first one alone solved.
    """

    n: int
    only_first: int
    only_second: int
    difference: float  # (only_second - only_first) / n; of outcomes the difference in success rate
    p: float

    @property
    def ties(self) -> int:
        """Starts on which both have the same value: no part of the test."""
        return self.n - self.only_first - self.only_second


def paired_test(first: Sequence[float] | np.ndarray, second: Sequence[float] | np.ndarray) -> PairedTest:
    """The exact two-sided sign test of the values of two policies per start state; ties are dropped, and counted.

    Of outcomes it is McNemar's test in its exact form: Q. McNemar, Note on the sampling error of the difference between
    correlated proportions, Psychometrika 12 (1947). Of returns: W. J. Dixon and A. M. Mood, The statistical sign test,
    JASA 41 (1946); it needs no assumption on how returns are distributed.
    """
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if a.shape != b.shape:
        raise ValueError(f"paired outcomes need equal lengths, got {len(a)} and {len(b)}")
    only_first, only_second = int((a - b > TIE).sum()), int((b - a > TIE).sum())
    difference = (only_second - only_first) / len(a) if len(a) else 0.0
    return PairedTest(len(a), only_first, only_second, difference, sign_test(only_first, only_second))


@cache
def sign_test(wins: int, losses: int) -> float:
    """Two-sided p of `wins` against `losses` under a fair coin, min(1, 2 P(X <= min)) with X ~ Binomial(wins + losses,
    1/2); 1 where there is nothing to compare."""
    n, ways, tail = wins + losses, 1, 1  # ways = comb(n, i), tail their sum so far
    for i in range(min(wins, losses)):
        ways = ways * (n - i) // (i + 1)
        tail += ways
    return min(1.0, 2 * tail / 2**n)


def newcombe_paired(pairs: Sequence[tuple[bool, bool]]) -> tuple[float, float]:
    """`newcombe_counts` of paired outcomes (first, second)."""
    first, second = np.asarray(pairs, dtype=bool).T
    counts = (first & second, second & ~first, first & ~second, ~first & ~second)
    return newcombe_counts(*(int(count.sum()) for count in counts))


def newcombe_counts(
    both: float, only_second: float, only_first: float, neither: float, z: float = Z95
) -> tuple[float, float]:
    """95 % interval of p_second - p_first on paired outcomes, from the two Wilson intervals [l, u]:

        d - sqrt((p2-l2)^2 - 2 phi (p2-l2)(u1-p1) + (u1-p1)^2),  d + sqrt((u2-p2)^2 - 2 phi (u2-p2)(p1-l1) + (p1-l1)^2)

    It keeps a width where every episode of both succeeded. Counts may be effective ones, divided by a design effect.
    R. G. Newcombe, Improved confidence intervals for the difference between binomial proportions based on paired data,
    Statistics in Medicine 17 (1998), method 10.
    """
    n = both + only_second + only_first + neither
    p2, p1 = (both + only_second) / n, (both + only_first) / n
    (l2, u2), (l1, u1) = wilson_of_share(p2, n, z), wilson_of_share(p1, n, z)
    phi = _phi(both, only_second, only_first, neither)
    below = (p2 - l2) ** 2 - 2 * phi * (p2 - l2) * (u1 - p1) + (u1 - p1) ** 2
    above = (u2 - p2) ** 2 - 2 * phi * (u2 - p2) * (p1 - l1) + (p1 - l1) ** 2
    difference = p2 - p1
    return max(-1.0, difference - sqrt(max(below, 0.0))), min(1.0, difference + sqrt(max(above, 0.0)))


def _phi(both: float, only_second: float, only_first: float, neither: float) -> float:
    """The correlation of the 2 x 2 table with Newcombe's continuity correction; 0 where a margin is empty."""
    margins = (both + only_second) * (only_first + neither) * (both + only_first) * (only_second + neither)
    if margins == 0:
        return 0.0
    cross, n = both * neither - only_second * only_first, both + only_second + only_first + neither
    corrected = max(cross - n / 2, 0.0) if cross > 0 else cross
    return corrected / sqrt(margins)


def holm(p_values: Sequence[float]) -> list[float]:
    """p values adjusted for m comparisons, in the order given: the i-th smallest becomes max over j <= i of
    min(1, (m - j + 1) p_j).

    S. Holm, A simple sequentially rejective multiple test procedure, Scandinavian Journal of Statistics 6 (1979).
    """
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted, highest = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(order):
        highest = max(highest, min(1.0, p_values[i] * (len(p_values) - rank)))
        adjusted[i] = highest
    return adjusted


# ---------------------------------------------------------------------------------------------------- means and medians


COUNTED = 8  # groups with more distinct values are drawn value by value
SHARED = 20_000_000  # draws that `_shared_draws` may keep: 80 MB


def two_level_bootstrap(
    seeds: Sequence[Sequence[float]], resamples: int = 10_000, level: float = 0.95, seed: int = 0
) -> tuple[float, float, float]:
    """(mean, low, high) of a score over training seeds: seeds are drawn first, then episodes within each drawn seed.

    seeds: for each training seed the outcomes of its episodes (0/1 or any number). With one seed only the episodes
    vary, and the interval covers no other training run. Percentile bootstrap with replacement at both levels, strategy
    1 of Davison and Hinkley, Bootstrap Methods and their Application (1997), section 3.8.
    """
    groups = [np.asarray(group, dtype=np.float64) for group in seeds]
    if not groups or any(len(group) == 0 for group in groups):
        raise ValueError("every training seed needs at least one episode")
    sizes = tuple(map(len, groups))
    if resamples * len(groups) * sum(sizes) <= SHARED and all(len(np.unique(group)) > COUNTED for group in groups):
        weights, drawn_seeds = _shared_draws(sizes, resamples, seed)
        drawn_means = np.stack([w @ group.astype(np.float32) for w, group in zip(weights, groups, strict=True)])
    else:
        rng = np.random.default_rng(seed)
        drawn_means = np.stack([_resampled_means(group, resamples * len(groups), rng) for group in groups])
        drawn_seeds = rng.integers(len(groups), size=(resamples, len(groups)))  # (resample, slot)
    drawn_means = rearrange(drawn_means, "seed (resample slot) -> seed resample slot", resample=resamples)
    slots = np.arange(len(groups))[None, :]
    means = drawn_means[drawn_seeds, np.arange(resamples)[:, None], slots].mean(axis=1)
    tail = 100 * (1 - level) / 2
    low, high = np.percentile(means, [tail, 100 - tail])
    return float(np.mean([group.mean() for group in groups])), float(low), float(high)


@lru_cache(maxsize=8)
def _shared_draws(sizes: tuple[int, ...], resamples: int, seed: int) -> tuple[list[np.ndarray], np.ndarray]:
    """The draws of a bootstrap of many-valued groups, which only their sizes decide: reports repeat them by hundreds.

    For each group the share of every value in a resample, (resamples x groups, size), and the seeds (resample, slot).
    """
    rng, count, weights = np.random.default_rng(seed), resamples * len(sizes), []
    for size in sizes:
        rows = np.repeat(np.arange(count), size)
        drawn = np.concatenate([rng.integers(size, size=(n, size)).ravel() for n in _slices(count)])
        times = np.bincount(rows * size + drawn, minlength=count * size).reshape(count, size)
        weights.append((times / size).astype(np.float32))
    return weights, rng.integers(len(sizes), size=(resamples, len(sizes)))


def _slices(count: int) -> list[int]:
    """Sizes of at most 2,000 that sum to `count`: slices that keep memory small."""
    return [min(2_000, count - first) for first in range(0, count, 2_000)]


def _resampled_means(values: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """`count` means of len(values) draws with replacement.

    Few distinct values (counts): by drawing how often each appears. Many (returns): by drawing the values, in slices
    that keep memory small.
    """
    distinct, frequency = np.unique(values, return_counts=True)
    if len(distinct) <= COUNTED:
        drawn = rng.multinomial(len(values), frequency / len(values), size=count)  # (count, distinct)
        return (drawn * distinct).sum(axis=1) / len(values)  # too small for the threads of a matrix product
    draws = (rng.integers(len(values), size=(n, len(values))) for n in _slices(count))
    return np.concatenate([values[drawn].mean(axis=1) for drawn in draws])


def mean_interval(
    values: Sequence[float], statistic: Callable[[np.ndarray], float] = np.mean, resamples: int = 2_000, seed: int = 0
) -> tuple[float, float, float]:
    """(value, low, high) of a statistic of lengths or returns, 95 % by a percentile bootstrap over the episodes.

    B. Efron and R. Tibshirani, An Introduction to the Bootstrap (1993), section 13.3.
    """
    data = np.asarray(values, dtype=np.float64)
    if len(data) == 0:
        raise ValueError("an interval needs at least one value")
    rng = np.random.default_rng(seed)
    drawn = [float(statistic(data[rng.integers(len(data), size=len(data))])) for _ in range(resamples)]
    low, high = np.percentile(drawn, [2.5, 97.5])
    return float(statistic(data)), float(low), float(high)


def median_interval(values: Sequence[float]) -> tuple[float | None, float | None]:
    """Distribution-free interval of the median, at least 95 %, from order statistics; None under six values.

    The number of values below the median is Binomial(n, 1/2): the interval is [x_(r), x_(n-r+1)] with the largest r of
    which P(X <= r - 1) <= 0.025. W. J. Conover, Practical Nonparametric Statistics (1999), section 3.2.
    """
    n, ordered = len(values), sorted(values)
    below, rank = 0.0, 0
    while rank < n and below + comb(n, rank) / 2**n <= 0.025:
        below += comb(n, rank) / 2**n
        rank += 1
    return (float(ordered[rank - 1]), float(ordered[n - rank])) if rank else (None, None)
