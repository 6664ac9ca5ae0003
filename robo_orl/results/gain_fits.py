"""What a critic gains over its control as data and size grow: slopes and their interaction, trainings as the unit.

    gain = a + b log2 N + c log2 P + d (log2 N) (log2 P),    N demonstrations, P parameters, both logarithms centred

gain is the mean of the critic's trainings less that of the control's at the same N and P, of any number a training has:
a success rate, a mean return. At one size there is no c and no d.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from robo_orl.base.errors import UsageError
from robo_orl.results.fits import FEWEST_SIZES, RESAMPLES, Interval, Outcome
from robo_orl.results.intervals import Z95


@dataclass(frozen=True)
class GainCell:
    """One amount of data at one size: a number for each training of the critic and of its control."""

    demonstrations: float
    parameters: float
    critic: tuple[float, ...]
    control: tuple[float, ...]


@dataclass(frozen=True)
class GainFit:
    """Changes of the gain for each doubling, at the middle of the other axis; interaction: of one slope for each
    doubling of the other axis, both None at one size. outcome: whether the gain changes with the data.

    middle: the gain at the middle of both axes. trainings: fewest of a cell and an arm.
    """

    middle: Interval
    per_doubling_of_data: Interval
    per_doubling_of_size: Interval | None
    interaction: Interval | None
    cells: int
    trainings: int
    outcome: Outcome


def gain_fit(cells: Sequence[GainCell], resamples: int = RESAMPLES, seed: int = 0) -> GainFit:
    """Least squares over the cells; intervals by a bootstrap over the trainings of every cell and arm.

    They are widened for few trainings as those of `power_fit`. With one training a cell nothing varies: the intervals
    are those of the regression's residuals, and the outcome is 'cannot tell'.

    Raises UsageError for fewer than four amounts of data, and for cells of several sizes that do not cross them.
    """
    design = _design(cells)
    gains = np.array([np.mean(cell.critic) - np.mean(cell.control) for cell in cells])
    inverse = np.linalg.pinv(design)  # (terms, cells)
    estimate, trainings = inverse @ gains, min(min(len(c.critic), len(c.control)) for c in cells)
    if trainings > 1:
        half = _spread(cells, inverse, resamples, seed)
    else:
        free = len(cells) - design.shape[1]
        variance = np.sum((gains - design @ estimate) ** 2) / free * (inverse**2).sum(1)
        half = stats.t.ppf(0.975, free) * np.sqrt(variance)[None].repeat(2, 0)
    parts = [Interval(float(v), float(v - low), float(v + high)) for v, low, high in zip(estimate, *half, strict=True)]
    middle, of_data, of_size, both = [*parts, None, None][:4]
    return GainFit(middle, of_data, of_size, both, len(cells), trainings, _outcome(of_data, trainings))


def _design(cells: Sequence[GainCell]) -> np.ndarray:
    """(cells, 4), and (cells, 2) where all are of one size."""
    amounts, sizes = ({getattr(cell, axis) for cell in cells} for axis in ("demonstrations", "parameters"))
    if len(amounts) < FEWEST_SIZES:
        raise UsageError(f"A gain is fitted over {FEWEST_SIZES} amounts of data or more, here {len(amounts)}.")
    if min(*amounts, *sizes) <= 0 or not all(cell.critic and cell.control for cell in cells):
        raise UsageError("A fit needs positive amounts and sizes, and trainings of the critic and of its control.")
    data, size = (np.log2([getattr(cell, axis) for cell in cells]) for axis in ("demonstrations", "parameters"))
    data, size = data - data.mean(), size - size.mean()
    terms = [np.ones(len(cells)), data] + ([size, data * size] if len(sizes) > 1 else [])
    design = np.stack(terms, 1)
    if len(cells) <= len(terms) or np.linalg.matrix_rank(design) < len(terms):
        raise UsageError("The cells do not cross data and size: run every amount of data at every size.")
    return design


def _spread(cells: Sequence[GainCell], inverse: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """(2, terms): how far the interval reaches below and above each estimate."""
    rng = np.random.default_rng(seed)
    moved = np.stack([_drawn(c.critic, resamples, rng) - _drawn(c.control, resamples, rng) for c in cells], 1)
    low, high = np.percentile(moved @ inverse.T, [2.5, 97.5], axis=0)
    groups = [len(arm) for cell in cells for arm in (cell.critic, cell.control)]
    wider = np.sqrt(min(groups) / (min(groups) - 1)) * stats.t.ppf(0.975, sum(groups) - len(groups)) / Z95
    return wider * np.stack((-low, high))


def _drawn(trainings: Sequence[float], resamples: int, rng: np.random.Generator) -> np.ndarray:
    """(resamples,): means of trainings drawn with replacement, less their own mean."""
    values = np.asarray(trainings, dtype=np.float64)
    return values[rng.integers(len(values), size=(resamples, len(values)))].mean(1) - values.mean()


def _outcome(slope: Interval, trainings: int) -> Outcome:
    if trainings < 2:
        return Outcome("cannot tell", None, "one training a cell: the interval covers no other training")
    if slope.holds(0):
        return Outcome("cannot tell", None, "the interval of the slope over the data holds 0")
    return Outcome("decided", None, f"the gain {'grows' if slope.value > 0 else 'falls'} with the data")
