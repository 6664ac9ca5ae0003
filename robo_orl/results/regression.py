"""Regressions that other fits are made of: a logistic one on counts, and a power law with a bootstrap interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from einops import einsum

STEPS = 100  # Newton's; a dozen are enough unless the counts are extreme
LONGEST = 3.0  # of a step, per coefficient


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
    b = np.zeros((*k.shape[:-1], design.shape[1]))
    for _ in range(STEPS):
        p = probability(design, b)
        weight = n * p * (1 - p)
        information = einsum(design, weight, design, "r i, ... r, r j -> ... i j")
        inverse = np.linalg.pinv(information, hermitian=True)
        leverage = weight * einsum(design, inverse, design, "r i, ... i j, r j -> ... r")
        score = einsum(design, k - n * p + leverage * (0.5 - p), "r i, ... r -> ... i")
        step = np.clip(einsum(inverse, score, "... i j, ... j -> ... i"), -LONGEST, LONGEST)
        b = b + step
        if np.abs(step).max() < tolerance:
            break
    return b


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
