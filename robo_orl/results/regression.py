"""Regressions that other fits are made of: a logistic one on counts, and a power law with a bootstrap interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from einops import einsum

STEPS = 1_000  # of scoring: a dozen are enough unless counts are extreme, where the last digits come slowly
HALVINGS = 40  # of a step
LONGEST = 10.0  # of a step, its largest coefficient in an orthonormal basis
TINY = 1e-12  # of the information: less is a direction that rows without episodes leave open


def logistic(design: np.ndarray, k: np.ndarray, n: np.ndarray, tolerance: float = 1e-9) -> np.ndarray:
    """Coefficients b of logit P = X b from k of n successes, by Firth's likelihood.

    design: X (rows, columns), of full rank. k, n: (..., rows) counts, which may be fractions; leading axes are separate
    fits. Returns (..., columns).

    The likelihood is multiplied by Jeffreys' prior, |X' W X|^(1/2): the estimate is less biased than that of maximum
    likelihood, and exists where outcomes are all alike. The score is X' (k - n p + h (1/2 - p)), h the diagonal of
    W^(1/2) X (X' W X)^-1 X' W^(1/2). D. Firth, Bias reduction of maximum likelihood estimates, Biometrika 80 (1993).
    """
    design = np.asarray(design, dtype=np.float64)
    k, n = np.broadcast_arrays(np.asarray(k, dtype=np.float64), np.asarray(n, dtype=np.float64))
    if (k < 0).any() or (k > n).any():
        raise ValueError("k of n needs 0 <= k <= n")
    basis, triangle = np.linalg.qr(design)  # of equal scale: the estimate does not depend on the coordinates
    b = np.zeros((*k.shape[:-1], design.shape[1]))
    value = _penalised(basis, b, k, n)
    for _ in range(STEPS):
        step = _ascent(basis, b, k, n)
        b, value, step = _improved(basis, b, step, value, k, n)
        if np.abs(step).max() < tolerance:
            break
    return einsum(np.linalg.inv(triangle), b, "i j, ... j -> ... i")


def _ascent(design: np.ndarray, b: np.ndarray, k: np.ndarray, n: np.ndarray) -> np.ndarray:
    """Newton's step, by the expected information: uphill everywhere, and too long far from the maximum."""
    p = probability(design, b)
    weight = n * p * (1 - p)
    inverse = np.linalg.pinv(_information(design, weight), TINY, hermitian=True)
    leverage = weight * einsum(design, inverse, design, "r i, ... i j, r j -> ... r")
    score = einsum(design, k - n * p + leverage * (0.5 - p), "r i, ... r -> ... i")
    step = einsum(inverse, score, "... i j, ... j -> ... i")
    return step / np.maximum(np.abs(step).max(-1, keepdims=True) / LONGEST, 1.0)  # shorter, and still uphill


def _improved(
    design: np.ndarray, b: np.ndarray, step: np.ndarray, value: np.ndarray, k: np.ndarray, n: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Each fit's step is halved until its likelihood does not fall; without it fits of steep slopes swing for ever."""
    for _ in range(HALVINGS):
        found = _penalised(design, b + step, k, n)
        worse = found < value - 1e-12 * np.abs(value)
        if not worse.any():
            break
        step = np.where(worse[..., None], step / 2, step)
    else:
        step = np.where(worse[..., None], 0.0, step)  # a maximum, as far as numbers tell
        found = np.where(worse, value, found)
    return b + step, found, step


def _penalised(design: np.ndarray, b: np.ndarray, k: np.ndarray, n: np.ndarray) -> np.ndarray:
    """The logarithm of the likelihood times Jeffreys' prior, one number a fit."""
    logit = einsum(design, b, "r i, ... i -> ... r")
    likelihood = (k * logit - n * np.logaddexp(0, logit)).sum(-1)
    p = probability(design, b)
    parts = np.linalg.eigvalsh(_information(design, n * p * (1 - p)))
    known = parts > TINY * parts.max(-1, keepdims=True)
    return likelihood + 0.5 * np.log(np.where(known, parts, 1.0)).sum(-1)


def _information(design: np.ndarray, weight: np.ndarray) -> np.ndarray:
    return einsum(design, weight, design, "r i, ... r, r j -> ... i j")


def probability(design: np.ndarray, coefficients: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-X b)): (rows, columns) and (..., columns) -> (..., rows)."""
    return 0.5 * (1 + np.tanh(einsum(design, coefficients, "r i, ... i -> ... r") / 2))


@dataclass(frozen=True, slots=True)
class ExponentFit:
    """y = scale x^exponent through `points` points; low and high: the 95 % interval of the exponent."""

    exponent: float
    low: float
    high: float
    scale: float
    points: int


def exponent_fit(
    x: Sequence[float], y: Sequence[float], resamples: int = 2_000, level: float = 0.95, seed: int = 0
) -> ExponentFit | None:
    """The exponent b of y = a x^b, by least squares of log y on log x, with a bootstrap interval over the points.

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
    return ExponentFit(exponent, float(low), float(high), scale, len(points))


def _slope(x: np.ndarray, y: np.ndarray) -> float:
    centred = x - x.mean()
    return float((centred * (y - y.mean())).sum() / (centred * centred).sum())
