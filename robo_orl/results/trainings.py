"""Intervals over training seeds: what another training of the same policy would score, not only another episode.

Two trainings of one policy differ by more than the luck of their episodes. With R rows of S trainings of n episodes,

    effect = n * mean of the variances of the S rates / mean of p (1 - p)  =  1 + (n - 1) rho

is the design effect of a sample in clusters: L. Kish, Survey Sampling (1965), section 5.4; J. Rao and A. Scott, A
simple method for the analysis of clustered binary data, Biometrics 48 (1992). It is estimated over all rows of a
comparison together, because three trainings of one row say little about their spread (two degrees of freedom), and
divides the number of episodes: an interval of k of n becomes Wilson's of the same share of n/effect. Rows of one
or two trainings borrow it from the rows beside them; where no row has TRAININGS, an interval holds the luck of the
episodes.

Why not the two-level bootstrap (seeds, then episodes): with three seeds its 95 % interval covers 76.5 % where seeds
vary as ours did (rho = 0.125 over the rows of results/parity that had CQL among them). This one covers 95.4 % over
2,000 simulated sweeps of 20 rows, and 94.5 % where every row has another rho (`pytest tests/results/test_coverage.py -m
slow -s`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

from robo_orl.results.intervals import Z95, wilson_of_share

TRAININGS = 3  # a row of so many says how far trainings differ

Values = Sequence[np.ndarray]  # of one row: for each training seed the value of its episodes


@dataclass(frozen=True, slots=True)
class DesignEffect:
    """The factor by which trainings widen the variance of a mean over episodes; freedom: its degrees of freedom."""

    factor: float
    freedom: int

    @property
    def quantile(self) -> float:
        """The 97.5 % quantile of Student's t with its degrees of freedom."""
        return float(stdtrit(self.freedom, 0.975))


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over n episodes of some trainings with its 95 % interval.

    over_trainings: whether the interval speaks of other trainings; else it holds the luck of the episodes alone.
    """

    mean: float
    low: float
    high: float
    trainings: int
    n: int
    over_trainings: bool


def design_effect(rows: Sequence[Values]) -> DesignEffect | None:
    """The design effect over all rows that have TRAININGS or more; None without such a row.

    rows: of every row the values of each training. At least 1: chance alone can make trainings look too equal.
    """
    between = within = 0.0
    freedom = 0
    for row in rows:
        if len(row) < TRAININGS:
            continue
        rates, n = np.array([values.mean() for values in row]), np.mean([len(values) for values in row])
        variance = rates.var(ddof=1)
        between += n * variance * (len(row) - 1)
        within += (np.concatenate(row).var() + variance / len(row)) * (len(row) - 1)
        freedom += len(row) - 1
    if not freedom:
        return None
    return DesignEffect(max(1.0, between / within) if within > 0 else 1.0, freedom)


def estimate(row: Values, effect: DesignEffect | None, binary: bool) -> Estimate:
    """The mean of a row and its interval: over trainings where `effect` is known.

    row: of each training the values of its episodes. binary: values are 0 or 1, and the interval is Wilson's; of other
    values it is the normal one, mean +- t sqrt(effect s^2 / n).
    """
    values = np.concatenate([np.asarray(training, dtype=np.float64) for training in row])
    mean, n = float(values.mean()), len(values)
    factor, quantile = (effect.factor, effect.quantile) if effect else (1.0, Z95)
    if binary:
        low, high = wilson_of_share(mean, n / factor, quantile)
    else:
        half = quantile * float(np.sqrt(factor * values.var(ddof=1) / n)) if n > 1 else np.inf
        low, high = mean - half, mean + half
    return Estimate(mean, low, high, len(row), n, over_trainings=effect is not None)
