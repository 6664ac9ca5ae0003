"""Regressions that other fits are made of agree with other software, and refuse what carries no fit."""

import numpy as np
import pytest
from scipy import optimize, stats

from robo_orl.results.regression import exponent_fit, logistic, probability


def test_exponent_fit_finds_a_power_law_and_is_scipys_regression():
    x = np.array([1, 2, 4, 8, 16.0])
    exact = exponent_fit(x, 3 * x**1.7)
    assert exact.exponent == pytest.approx(1.7) and exact.scale == pytest.approx(3.0)
    assert exact.low == pytest.approx(1.7) and exact.high == pytest.approx(1.7) and exact.points == 5
    noisy = 3 * x**1.7 * np.exp(np.random.default_rng(0).normal(0, 0.3, 5))
    found = exponent_fit(x, noisy)
    assert found.exponent == pytest.approx(stats.linregress(np.log(x), np.log(noisy)).slope)
    assert found.low < found.exponent < found.high


def test_two_points_carry_no_exponent_and_zero_has_no_logarithm():
    assert exponent_fit([1, 2], [1, 2]) is None
    assert exponent_fit([1, 2, 4], [0, 1, 2]) is None
    assert exponent_fit([1, 1, 2, 4], [1, 1, 2, 4]).points == 4


HORIZONS = np.log([100, 200, 400, 800, 1600])  # of a suite: far from 0, where Newton's steps are too long at first


@pytest.mark.parametrize(
    ("x", "k", "n"),
    [
        (np.arange(4.0), [0, 1, 3, 6], [5, 6, 4, 6]),
        (HORIZONS, [95, 100, 99, 67, 3], [100] * 5),
        (HORIZONS, [100, 100, 100, 92, 4], [100] * 5),
        (HORIZONS, [0, 0, 0, 0, 0], [50] * 5),
        (HORIZONS, [100, 100, 100, 100, 0], [100] * 5),
    ],
)
def test_firths_estimate_maximises_the_penalised_likelihood(x, k, n):
    k, n = np.array(k), np.array(n)
    centred = np.stack((np.ones(len(x)), x - x.mean()), 1)  # in which a search of another kind finds the maximum

    def penalised(b):
        eta = centred @ b
        p = 1 / (1 + np.exp(-eta))
        information = centred.T @ (centred * (n * p * (1 - p))[:, None])
        return -(k * eta - n * np.logaddexp(0, eta)).sum() - 0.5 * np.linalg.slogdet(information)[1]

    options = {"xatol": 1e-9, "fatol": 1e-13, "maxiter": 10_000, "maxfev": 10_000}
    middle, slope = optimize.minimize(penalised, [0, 0], method="Nelder-Mead", options=options).x
    found = logistic(np.stack((np.ones(len(x)), x), 1), k, n)
    assert found == pytest.approx([middle - slope * x.mean(), slope], abs=1e-4)


def test_steps_that_would_lower_the_likelihood_are_shortened():
    """Steep counts on which whole steps swing: at the estimate the likelihood has no slope."""
    x = [-34.1, 87.9, -147.5, -105.9, 157.1, 150.3, 3.2, -112.9, -86.7, 50.7, 99.6, 16.1]
    y = [-14.9, 3.1, -6.8, 2.1, 10.3, 0.5, 4.1, 2.6, 5.1, 8.1, 6.7, 5.6]
    k = np.array([0, 240, 0, 0, 7138, 4281, 6, 0, 0, 1, 385, 1558])
    n = np.array([1, 240, 4135, 962, 7138, 4281, 6, 168, 9, 1, 385, 1558])
    design = np.linalg.qr(np.stack((np.ones(12), x, y), 1))[0]
    found = logistic(design, k, n)

    def penalised(b):
        eta = design @ b
        weight = n * probability(design, b) * (1 - probability(design, b))
        return k @ eta - n @ np.logaddexp(0, eta) + 0.5 * np.linalg.slogdet(design.T @ (design * weight[:, None]))[1]

    assert optimize.approx_fprime(found, penalised, 1e-5) == pytest.approx(np.zeros(3), abs=1e-3)


def test_rows_without_episodes_leave_the_others_as_they_are():
    """Nobody reached the stages of the last two rows: what they alone would tell stays at 0."""
    design = np.stack((np.ones(5), np.arange(5.0), [0, 0, 0, 1, 1]), 1)
    k, n = np.array([5, 3, 1, 0, 0]), np.array([6, 6, 6, 0, 0])
    assert logistic(design, k, n)[:2] == pytest.approx(logistic(design[:3, :2], k[:3], n[:3]), abs=1e-6)


def test_many_fits_at_once_are_each_alone():
    design = np.stack((np.ones(4), np.arange(4.0)), 1)
    k = np.array([[0, 1, 3, 6], [5, 6, 4, 6], [5, 2, 2, 0]])
    n = np.array([5, 6, 4, 6])
    together = logistic(design, k, n)
    assert together == pytest.approx(np.stack([logistic(design, row, n) for row in k]), abs=1e-7)
    assert probability(design, together).shape == (3, 4)


def test_more_successes_than_trials_are_refused():
    with pytest.raises(ValueError, match="k of n"):
        logistic(np.ones((1, 1)), np.array([3]), np.array([2]))
