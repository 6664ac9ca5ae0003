"""Intervals over trainings, and scores over tasks, against scipy and closed forms."""

import numpy as np
import pytest
from scipy import stats

from robo_orl.results.aggregate import (
    interquartile_mean,
    over_tasks,
    performance_profile,
    probability_of_improvement,
    ranks,
)
from robo_orl.results.intervals import wilson
from robo_orl.results.trainings import DesignEffect, design_effect, estimate


def outcomes(k: int, n: int) -> np.ndarray:
    return np.repeat([1.0, 0.0], [k, n - k])


def test_without_a_design_effect_the_interval_is_wilsons_of_the_episodes():
    one = estimate([outcomes(41, 50)], None, binary=True)
    assert (one.low, one.high) == pytest.approx(wilson(41, 50)) and one.mean == 0.82
    assert not one.over_trainings and (one.trainings, one.n) == (1, 50)


def test_equal_trainings_have_no_design_effect_and_far_ones_the_number_of_episodes():
    alike = design_effect([[outcomes(25, 50)] * 3])
    apart = design_effect([[outcomes(50, 50), outcomes(50, 50), outcomes(0, 50), outcomes(0, 50)]])
    assert alike == DesignEffect(1.0, 2)
    assert apart.factor == pytest.approx(50) and apart.freedom == 3  # rho = 1: a training is one observation


def test_the_design_effect_is_one_plus_n_minus_one_rho():
    rng, rho, n = np.random.default_rng(0), 0.2, 40
    shape = 1 / rho - 1
    rows = [[(rng.random(n) < rng.beta(0.5 * shape, 0.5 * shape)).astype(float) for _ in range(5)] for _ in range(600)]
    assert design_effect(rows).factor == pytest.approx(1 + (n - 1) * rho, rel=0.06)


def test_rows_of_fewer_than_three_trainings_say_nothing_about_their_spread():
    assert design_effect([[outcomes(10, 50)], [outcomes(10, 50), outcomes(40, 50)]]) is None
    assert design_effect([[np.zeros(50)] * 3]).factor == 1.0  # no episode succeeded: nothing to compare


def test_the_interval_over_trainings_is_wilsons_of_the_effective_episodes():
    effect = DesignEffect(4.0, 10**6)
    wide = estimate([outcomes(30, 50)] * 4, effect, binary=True)
    assert (wide.low, wide.high) == pytest.approx(wilson(30, 50), abs=1e-4) and wide.over_trainings
    few = estimate([outcomes(30, 50)] * 4, DesignEffect(4.0, 2), binary=True)
    assert few.low < wide.low and few.high > wide.high  # two degrees of freedom know little


def test_other_values_get_the_interval_of_their_mean():
    values = np.random.default_rng(1).random(60)
    made = estimate([values], DesignEffect(1.0, 59), binary=False)
    low, high = stats.t.interval(0.95, 59, values.mean(), stats.sem(values))
    assert (made.low, made.high) == pytest.approx((low, high))


@pytest.mark.parametrize("count", [4, 8, 9, 21])
def test_the_interquartile_mean_is_scipys_trimmed_mean(count):
    values = np.random.default_rng(count).random((3, count))
    assert interquartile_mean(values) == pytest.approx(stats.trim_mean(values, 0.25, axis=1))
    assert interquartile_mean(np.array([0.1, 0.9])) == pytest.approx(0.5)


def test_a_mean_over_tasks_has_the_interval_of_independent_means():
    tasks = [[outcomes(k, 200)] for k in (60, 100, 140)]
    made = over_tasks(tasks, None)
    error = np.sqrt(sum(p * (1 - p) / 200 for p in (0.3, 0.5, 0.7))) / 3
    assert made.mean == pytest.approx(0.5) and made.n == 600
    assert (made.low, made.high) == pytest.approx((0.5 - 1.96 * error, 0.5 + 1.96 * error), abs=0.004)
    assert over_tasks(tasks, DesignEffect(9.0, 40)).low < made.low - error  # three times as wide
    assert over_tasks(tasks, None, statistic=interquartile_mean).mean == pytest.approx(0.5)


def test_the_probability_of_improvement_is_the_mann_whitney_statistic_over_its_largest_value():
    rng = np.random.default_rng(2)
    first, second = [rng.integers(0, 9, 6) / 9 for _ in range(5)], [rng.integers(2, 9, 4) / 9 for _ in range(5)]
    expected = np.mean([stats.mannwhitneyu(b, a).statistic / 24 for a, b in zip(first, second, strict=True)])
    assert probability_of_improvement(first, second) == pytest.approx(expected)
    assert probability_of_improvement(first, first) == pytest.approx(0.5, abs=0.2)


def test_a_performance_profile_is_one_minus_scipys_distribution_function():
    scores, levels = np.array([0.1, 0.4, 0.4, 0.9]), [0.0, 0.4, 0.41, 0.9, 1.0]
    below = stats.ecdf(scores).cdf.evaluate(np.array(levels) - 1e-9)
    assert performance_profile(scores, levels) == pytest.approx(1 - below)


def test_ranks_count_who_is_surely_better_and_surely_worse():
    undecided = np.ones((4, 4))
    assert [(r.place, r.best, r.worst) for r in ranks([0.9, 0.5, 0.5, 0.1], undecided)] == [
        (1, 1, 4), (2, 1, 4), (2, 1, 4), (4, 1, 4)]  # fmt: skip
    decided = np.where(np.eye(4) == 1, 1.0, 1e-6)
    assert [(r.place, r.best, r.worst) for r in ranks([0.9, 0.5, 0.4, 0.1], decided)] == [
        (1, 1, 1), (2, 2, 2), (3, 3, 3), (4, 4, 4)]  # fmt: skip


def test_holms_correction_of_a_row_keeps_weak_evidence_out_of_its_places():
    p = np.full((4, 4), 0.03)  # each alone is below 0.05, three of them together are not
    assert ranks([0.4, 0.3, 0.2, 0.1], p)[0].worst == 4
    p[0, 3] = p[3, 0] = 0.001
    assert ranks([0.4, 0.3, 0.2, 0.1], p)[0].worst == 3
