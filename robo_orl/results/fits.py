"""Fits over sizes: exponents of errors, slopes of success, and whether the data can tell one exponent from another.

A size is a horizon, a number of demonstrations, or a number of parameters. Each has trainings, and each training has
values (of episodes, frames or states). Trainings are the unit: with one of them a size, no fit decides anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from einops import rearrange
from scipy import stats

from robo_orl.base.errors import UsageError
from robo_orl.results.intervals import Z95
from robo_orl.results.regression import logistic

FEWEST_SIZES = 4
RESAMPLES = 4_000
Basis = Literal["trainings", "values", "residuals"]  # what an interval varies
Kind = Literal["decided", "neither", "cannot tell"]


@dataclass(frozen=True)
class Size:
    """The measurements at one size x: for each training its values."""

    x: float
    trainings: tuple[tuple[float, ...], ...]

    @classmethod
    def of(cls, x: float, trainings: Sequence[Sequence[float] | float]) -> Size:
        """Trainings as lists of values, or as one number each."""
        return cls(float(x), tuple(tuple(np.atleast_1d(np.asarray(t, float)).tolist()) for t in trainings))


@dataclass(frozen=True)
class Interval:
    """An estimate with its 95 % interval."""

    value: float
    low: float
    high: float

    def holds(self, value: float) -> bool:
        """Whether `value` lies inside."""
        return self.low <= value <= self.high

    def __str__(self) -> str:
        return f"{self.value:.2f} [{self.low:.2f}, {self.high:.2f}]"


@dataclass(frozen=True)
class Outcome:
    """What a fit says about exponents that were named before it: one of them, none, or that it cannot tell."""

    kind: Kind
    exponent: float | None
    reason: str


@dataclass(frozen=True)
class Prediction:
    """The value at the largest size, predicted from the smaller ones alone; `measured` is their geometric mean there.

    inside: None where the largest size was not looked at yet.
    """

    x: float
    value: Interval
    measured: float | None = None

    @property
    def inside(self) -> bool | None:
        """Whether the measured value fell into the interval."""
        return None if self.measured is None else self.value.holds(self.measured)


@dataclass(frozen=True)
class PowerFit:
    """y = scale x^slope through the sizes.

    basis: what the interval of the slope varies. candidates: exponent -> log-likelihood with this slope, relative to
    the best of them (0). lack_of_fit: p of the hypothesis that the sizes lie on a line in log-log, from the spread of
    trainings about their own size; None with one training a size. without_largest: the slope of the smaller sizes;
    prediction: theirs of the largest; both None where four sizes are all there are.
    """

    slope: Interval
    scale: float
    sizes: int
    fewest_trainings: int
    basis: Basis
    outcome: Outcome
    candidates: dict[float, float]
    lack_of_fit: float | None
    without_largest: Interval | None
    prediction: Prediction | None


@dataclass(frozen=True)
class SuccessFit:
    """logit P(success) = intercept + slope log x."""

    slope: Interval
    intercept: float
    sizes: int
    fewest_trainings: int
    outcome: Outcome


def power_fit(sizes: Sequence[Size], candidates: Sequence[float] = (1.0, 2.0), seed: int = 0) -> PowerFit:
    """The exponent of positive values over sizes, by least squares of log y on log x, one point a training.

    candidates: the exponents that a theory allows, named before the fit; the outcome is one of them, neither, or
    'cannot tell'. A training's y is the mean of its values.

    Raises UsageError for fewer than four sizes, and for values that have no logarithm.
    """
    ordered = _checked(sizes)
    if any(value <= 0 for size in ordered for training in size.trainings for value in training):
        raise UsageError("A power law needs positive values; fit counts of successes by success_fit.")
    slope, basis = _slope_interval(ordered, seed)
    fewest = min(len(size.trainings) for size in ordered)
    log_x, log_y = _points(ordered)
    smaller, largest = ordered[:-1], ordered[-1]
    many = len(smaller) >= FEWEST_SIZES
    return PowerFit(
        slope=slope,
        scale=float(np.exp(log_y.mean() - slope.value * log_x.mean())),
        sizes=len(ordered),
        fewest_trainings=fewest,
        basis=basis,
        outcome=decide(slope, candidates, fewest),
        candidates=compared(ordered, candidates),
        lack_of_fit=lack_of_fit(ordered),
        without_largest=_slope_interval(smaller, seed)[0] if many else None,
        prediction=judged(predict(smaller, largest.x, len(largest.trainings)), largest) if many else None,
    )


def success_fit(
    sizes: Sequence[Size], candidates: Sequence[float] = (0.0,), resamples: int = RESAMPLES, seed: int = 0
) -> SuccessFit:
    """The slope of logit(success) on log x from outcomes 0 and 1, with a two-level bootstrap interval.

    Episodes are drawn as successes with probability (k + 1/2) / (n + 1): where all of them succeeded, draws from them
    alone would give an interval of no width.

    Raises UsageError for fewer than four sizes, and for values other than 0 and 1.
    """
    ordered = _checked(sizes)
    if {value for size in ordered for training in size.trainings for value in training} - {0.0, 1.0}:
        raise UsageError("A fit of success needs outcomes, 0 or 1 an episode; fit errors by power_fit.")
    design = np.stack((np.ones(len(ordered)), np.log([size.x for size in ordered])), 1)
    counts = np.array([[sum(map(sum, size.trainings)), sum(map(len, size.trainings))] for size in ordered])
    drawn = np.stack([_drawn_rates(size, resamples, seed + i).mean(1) for i, size in enumerate(ordered)], 1)
    intercept, slope = logistic(design, counts[:, 0], counts[:, 1])
    slopes = logistic(design, drawn * counts[:, 1], counts[:, 1])[:, 1]
    interval = _expanded(float(slope), slopes, ordered)
    fewest = min(len(size.trainings) for size in ordered)
    return SuccessFit(interval, float(intercept), len(ordered), fewest, decide(interval, candidates, fewest))


def decide(slope: Interval, candidates: Sequence[float], trainings: int) -> Outcome:
    """The candidates that the interval holds: one decides it, several or a single training a size cannot."""
    held = [exponent for exponent in candidates if slope.holds(exponent)]
    names = " and ".join(f"{exponent:g}" for exponent in held)
    if trainings < 2:
        return Outcome("cannot tell", None, "one training a size: the interval covers no other training")
    if len(held) > 1:
        return Outcome("cannot tell", None, f"the interval holds {names}")
    if not held:
        return Outcome("neither", None, f"the interval holds none of {', '.join(f'{c:g}' for c in candidates)}")
    return Outcome("decided", held[0], f"of the candidates the interval holds {names} alone")


def predict(sizes: Sequence[Size], x: float, trainings: int) -> Prediction:
    """The mean of `trainings` trainings at a size x that was not looked at, from four other sizes or more.

    The interval is that of a new mean in a linear regression of log y on log x: t sqrt(s^2 (1/m + h)), s from the
    distances of the trainings to the line, h the leverage of x.
    """
    log_x, log_y = _points(_checked(sizes))
    fit = stats.linregress(log_x, log_y)
    free = len(log_x) - 2
    spread = np.sum((log_y - fit.intercept - fit.slope * log_x) ** 2) / free
    from_middle = np.log(x) - log_x.mean()
    leverage = 1 / len(log_x) + from_middle**2 / np.sum((log_x - log_x.mean()) ** 2)
    half = stats.t.ppf(0.975, free) * np.sqrt(spread * (1 / trainings + leverage))
    middle = fit.intercept + fit.slope * np.log(x)
    return Prediction(float(x), Interval(*(float(np.exp(middle + d)) for d in (0.0, -half, half))))


def judged(prediction: Prediction, size: Size) -> Prediction:
    """The prediction with the geometric mean of the trainings that were then measured at its size."""
    measured = float(np.exp(np.mean([np.log(np.mean(training)) for training in size.trainings])))
    return Prediction(prediction.x, prediction.value, measured)


def compared(sizes: Sequence[Size], candidates: Sequence[float]) -> dict[float, float]:
    """Log-likelihood of each fixed exponent, its intercept free, relative to the best: -n/2 log(residual squares)."""
    log_x, log_y = _points(sizes)
    residual = {c: np.sum((log_y - c * log_x - np.mean(log_y - c * log_x)) ** 2) for c in candidates}
    best = max(min(residual.values(), default=0.0), 1e-300)
    return {c: float(-len(log_x) / 2 * np.log(max(r, 1e-300) / best)) for c, r in residual.items()}


def lack_of_fit(sizes: Sequence[Size]) -> float | None:
    """p of the F test of the sizes' means against a straight line in log-log; None without repeated trainings.

    N. R. Draper and H. Smith, Applied Regression Analysis (1998), section 2.1.
    """
    log_x, log_y = _points(sizes)
    groups = [log_y[log_x == x] for x in np.unique(log_x)]
    free, m = len(log_y) - len(groups), len(groups)
    pure = sum(float(np.sum((g - g.mean()) ** 2)) for g in groups)
    if free == 0 or pure == 0 or m < 3:
        return None
    fit = stats.linregress(log_x, log_y)
    lack = float(np.sum((log_y - fit.intercept - fit.slope * log_x) ** 2)) - pure
    return float(stats.f.sf(lack / (m - 2) / (pure / free), m - 2, free))


# ---------------------------------------------------------------------------------------------------------------- parts


def _checked(sizes: Sequence[Size]) -> list[Size]:
    ordered = sorted(sizes, key=lambda size: size.x)
    distinct = {size.x for size in ordered}
    if len(distinct) < FEWEST_SIZES or len(distinct) < len(ordered):
        raise UsageError(
            f"A fit needs {FEWEST_SIZES} sizes or more, each once, here {len(distinct)} of {len(ordered)}: two or three"
            " points fit any curve."
        )
    if ordered[0].x <= 0 or not all(size.trainings and all(size.trainings) for size in ordered):
        raise UsageError("A fit needs positive sizes, and at least one training with values at each.")
    return ordered


def _points(sizes: Sequence[Size]) -> tuple[np.ndarray, np.ndarray]:
    """log x and log y (trainings,)."""
    pairs = [(size.x, np.mean(training)) for size in sizes for training in size.trainings]
    log_x, log_y = np.log(np.asarray(pairs, dtype=np.float64)).T
    return log_x, log_y


def _slope_interval(sizes: Sequence[Size], seed: int) -> tuple[Interval, Basis]:
    """The slope with a bootstrap interval over trainings and values; where neither is repeated, from the residuals."""
    log_x, log_y = _points(sizes)
    fit = stats.linregress(log_x, log_y)
    fewest = min(len(size.trainings) for size in sizes)
    if fewest == 1 and min(len(t) for size in sizes for t in size.trainings) == 1:
        half = stats.t.ppf(0.975, len(log_x) - 2) * fit.stderr
        return Interval(float(fit.slope), float(fit.slope - half), float(fit.slope + half)), "residuals"
    counts = np.array([len(size.trainings) for size in sizes])
    drawn = [np.log(_drawn_means(size, RESAMPLES, seed + i)).mean(1) for i, size in enumerate(sizes)]  # mean of logs
    x = np.log([size.x for size in sizes])
    centred = counts * (x - np.average(x, weights=counts))
    slopes = np.stack(drawn, 1) @ centred / np.sum(centred * x)
    return _expanded(float(fit.slope), slopes, sizes), "trainings" if fewest > 1 else "values"


def _drawn_means(size: Size, resamples: int, seed: int) -> np.ndarray:
    """(resamples, trainings): trainings are drawn with replacement, then values within each that was drawn."""
    rng, count = np.random.default_rng(seed), len(size.trainings)
    means = []
    for values in map(np.asarray, size.trainings):
        alone = len(values) == 1
        pick = np.zeros((1, 1), int) if alone else rng.integers(len(values), size=(resamples * count, len(values)))
        means.append(np.broadcast_to(values[pick].mean(1), resamples * count))
    return _drawn_trainings(np.stack(means), count, rng)


def _drawn_rates(size: Size, resamples: int, seed: int) -> np.ndarray:
    """The same for outcomes 0 and 1, with a share that is never 0 or 1."""
    rng, count = np.random.default_rng(seed), len(size.trainings)
    k, n = np.array([[sum(training), len(training)] for training in size.trainings]).T[..., None]
    rates = rng.binomial(n.astype(int), (k + 0.5) / (n + 1), size=(count, resamples * count)) / n
    return _drawn_trainings(rates, count, rng)


def _drawn_trainings(means: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """(training, resamples x count) means -> (resamples, count), each slot of a training drawn with replacement."""
    by_training = rearrange(means, "training (resample slot) -> resample slot training", slot=count)
    drawn = rng.integers(count, size=(*by_training.shape[:2], 1))
    return rearrange(np.take_along_axis(by_training, drawn, 2), "resample slot 1 -> resample slot")


def _expanded(value: float, drawn: np.ndarray, sizes: Sequence[Size]) -> Interval:
    """The percentile interval, widened for few trainings: a bootstrap of n draws has the variance of (n - 1) / n.

    T. Hesterberg, What teachers should know about the bootstrap, The American Statistician 69 (2015), section 5.3: the
    expanded percentile interval. n is the fewest trainings a size, of one training its fewest values.
    """
    fewest = min(len(size.trainings) for size in sizes)
    groups = [len(size.trainings) if fewest > 1 else min(map(len, size.trainings)) for size in sizes]
    n, free = min(groups), sum(groups) - len(groups)
    wider = np.sqrt(n / max(n - 1, 1)) * stats.t.ppf(0.975, max(free, 1)) / Z95
    low, high = np.percentile(drawn, [2.5, 97.5])
    return Interval(value, *(float(value + wider * (end - value)) for end in (low, high)))
