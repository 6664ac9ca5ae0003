"""Scores over several tasks: mean and interquartile mean, probability of improvement, performance profiles, ranks.

The measures are those of R. Agarwal et al., Deep Reinforcement Learning at the Edge of the Statistical Precipice,
NeurIPS 2021; ranks follow M. Mogstad, J. Romano, A. Shaikh and D. Wilhelm, Inference for Ranks with Applications to
Mobility across Neighbourhoods and Academic Achievement across Countries, Review of Economic Studies 91 (2024).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from robo_orl.results.intervals import holm
from robo_orl.results.trainings import DesignEffect, Estimate, Values

RESAMPLES = 2_000

Statistic = Callable[[np.ndarray], np.ndarray]  # (..., tasks) -> (...)


def mean(values: np.ndarray) -> np.ndarray:
    """The mean over the last axis."""
    return values.mean(axis=-1)


def interquartile_mean(values: np.ndarray) -> np.ndarray:
    """The mean of the middle half over the last axis: scipy.stats.trim_mean(values, 0.25).

    With fewer than four values nothing is cut, and it is the mean.
    """
    ordered = np.sort(values, axis=-1)
    cut = int(0.25 * ordered.shape[-1])
    return ordered[..., cut : ordered.shape[-1] - cut].mean(axis=-1)


def over_tasks(
    tasks: Sequence[Values],
    effect: DesignEffect | None,
    statistic: Statistic = mean,
    binary: bool = True,
    seed: int = 0,
) -> Estimate:
    """A statistic of one method's means on several tasks with its 95 % interval, by a parametric two-level bootstrap.

    tasks: of every task the values of each training. Where `effect` is known, a resample draws how far trainings differ
    (effect f / chi^2(f)) and then, for every task, a mean of its effective number of episodes: of outcomes from
    Beta(k + 1/2, n - k + 1/2) of those numbers, of other values from a normal distribution. Else only the episodes are
    drawn, and the estimate says so.
    """
    rng = np.random.default_rng(seed)
    factor = effect.factor * effect.freedom / rng.chisquare(effect.freedom, RESAMPLES) if effect else np.ones(RESAMPLES)
    drawn = np.stack([_drawn_means(np.concatenate(task), np.maximum(factor, 1.0), binary, rng) for task in tasks], -1)
    value = float(statistic(np.array([np.concatenate(task).mean() for task in tasks])))
    low, high = np.percentile(statistic(drawn), [2.5, 97.5])
    n, trainings = sum(len(np.concatenate(task)) for task in tasks), min(map(len, tasks))
    return Estimate(value, min(value, float(low)), max(value, float(high)), trainings, n, effect is not None)


def _drawn_means(values: np.ndarray, factor: np.ndarray, binary: bool, rng: np.random.Generator) -> np.ndarray:
    """One mean a resample, of len(values)/factor effective episodes."""
    n, rate = len(values) / factor, values.mean()
    if binary:
        return rng.beta(rate * n + 0.5, (1 - rate) * n + 0.5)
    return rng.normal(rate, np.sqrt(values.var(ddof=1) / n) if len(values) > 1 else 0.0)


def probability_of_improvement(first: Sequence[np.ndarray], second: Sequence[np.ndarray]) -> float:
    """The chance that a run of `second` scores above a run of `first` on a task drawn at random, ties counted half.

    first, second: of every task the scores (runs,). The mean over the tasks of the Mann-Whitney statistic U / (m n).
    """
    chances = [np.mean((b[:, None] > a[None, :]) + 0.5 * (b[:, None] == a[None, :]))
               for a, b in zip(first, second, strict=True)]  # fmt: skip
    return float(np.mean(chances))


def performance_profile(scores: Sequence[float] | np.ndarray, levels: Sequence[float] | np.ndarray) -> np.ndarray:
    """The share of scores (of runs on tasks) that are at least each of `levels`, (levels,)."""
    ordered = np.sort(np.asarray(scores, dtype=np.float64))
    return 1 - np.searchsorted(ordered, np.asarray(levels) - 1e-12, side="left") / len(ordered)


@dataclass(frozen=True, slots=True)
class Rank:
    """A place in a ranking and its 95 % set: `best` to `worst`, from the others that are surely better or worse."""

    place: int
    best: int
    worst: int


def ranks(values: Sequence[float], p_values: np.ndarray) -> list[Rank]:
    """The place of every method by value (equal values share the best place) and the set of places that fit the data.

    values: higher is better. p_values: (methods, methods), the two-sided p of each pair. For each method the m - 1
    tests that it takes part in are corrected by Holm; those that are surely better bound its best place, those that
    are surely worse its worst. Each set holds the true place with at least 95 %.
    """
    scores, count = np.asarray(values, dtype=np.float64), len(values)
    result = []
    for i, value in enumerate(scores):
        others = [j for j in range(count) if j != i]
        decided = [j for j, p in zip(others, holm([p_values[i, j] for j in others]), strict=True) if p < 0.05]
        better, worse = sum(scores[j] > value for j in decided), sum(scores[j] < value for j in decided)
        result.append(Rank(1 + int((scores > value + 1e-12).sum()), 1 + int(better), count - int(worse)))
    return result
