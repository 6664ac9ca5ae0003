"""Estimators of curves after the switch, against independent computations."""

import numpy as np
import pytest
from scipy import integrate, stats

from robo_orl.results.online_estimators import (
    Curve,
    Time,
    area,
    area_of,
    change_at,
    deepest_dip,
    gain,
    kaplan_meier,
    lost_share,
    recovery,
    regret_of,
)
from robo_orl.results.trainings import DesignEffect


def curve(start, *rows, steps=(0, 1000, 5000)):
    return Curve(np.array(steps[: len(rows)]), np.array(rows, bool), np.array(start, bool))


def random_curve(rng, p, points, n=200):
    return Curve(1000 * np.arange(points), rng.random((points, n)) < p, rng.random(n) < p)


def test_the_change_at_a_step_is_paired_and_counts_what_is_lost():
    one = curve([1, 1, 1, 0], [1, 0, 0, 1], [1, 1, 1, 1])
    found = change_at([one, one], 0)
    assert (found.lost, found.won, found.difference, found.n, found.trainings) == (4, 2, -0.25, 8, 2)
    assert found.low < found.difference < found.high and not found.over_trainings
    wide = change_at([one, one], 0, DesignEffect(3.0, 4))
    assert wide.low < found.low and wide.high > found.high
    assert lost_share(found)[0] == 4 / 6 and change_at([one], 3000) is None


def test_its_interval_holds_the_truth_as_often_as_it_says():
    rng, held = np.random.default_rng(0), 0
    for _ in range(400):
        start = rng.random(200) < 0.7
        now = np.where(rng.random(200) < 0.8, start, rng.random(200) < 0.45)  # truth: 0.8 * 0.7 + 0.2 * 0.45 - 0.7
        found = change_at([Curve(np.array([0]), now[None], start)], 0)
        held += found.low <= -0.05 <= found.high
    assert 0.92 <= held / 400 <= 0.98


def test_the_null_of_the_lowest_of_ten_looks_is_that_of_normal_order_statistics():
    """E[max of 10 normals] = 1.539; the start's own look is one more, so that the depth has the variance of both."""
    ten = integrate.quad(lambda x: 10 * x * stats.norm.pdf(x) * stats.norm.cdf(x) ** 9, -9, 9)[0]
    assert ten == pytest.approx(1.5388, abs=1e-3)
    rng = np.random.default_rng(1)
    medians = [deepest_dip(random_curve(rng, 0.5, 10), 200, seed).null_median for seed in range(10)]
    assert np.mean(medians) == pytest.approx(ten * np.sqrt(0.25 / 200), rel=0.12)


def test_a_lowest_look_without_any_dip_is_called_one_as_rarely_as_it_should():
    rng = np.random.default_rng(2)
    hardness = rng.random(60)
    p = [deepest_dip(random_curve(rng, hardness, 6, 60), 99, s).p for s in range(200)]
    assert np.mean(np.array(p) <= 0.05) < 0.09
    fallen = random_curve(rng, 0.8, 6)
    fallen.solved[2] = rng.random(200) < 0.5
    assert deepest_dip(fallen, 200).step == 2000 and deepest_dip(fallen, 200).p < 0.01


def test_recovery_is_of_the_points_from_which_all_are_back():
    start = np.arange(100) < 50  # two standard errors: 10 points
    rows = [np.arange(100) < k for k in (20, 45, 30, 41, 60)]
    found = curve(start, *rows, steps=(0, 1, 2, 5, 10))
    assert recovery(found) == Time(5, True) and gain(found) == Time(10, False)
    assert recovery(curve(start, rows[0], rows[2])) == Time(1000, False)
    assert gain(curve(np.ones(10), np.ones(10))) is None
    assert gain(curve(start, rows[0], np.arange(100) < 70)) == Time(1000, True)


@pytest.mark.parametrize("seed", range(5))
def test_kaplan_meier_is_scipys(seed):
    rng = np.random.default_rng(seed)
    times = [
        Time(int(step), bool(seen)) for step, seen in zip(rng.integers(1, 9, 30), rng.random(30) < 0.6, strict=True)
    ]
    found = kaplan_meier(times)
    data = stats.CensoredData.right_censored([t.steps for t in times], [not t.seen for t in times])
    sf = stats.ecdf(data).sf
    assert np.allclose(found.share, sf.evaluate(np.array(found.steps)))
    assert found.events == sum(t.seen for t in times)
    below = [step for step in range(10) if sf.evaluate(step) <= 0.5]
    assert found.median == (below[0] if below else None)


def test_area_and_regret_are_sums_of_trapezoids():
    one = curve([1, 1, 0, 0], [0, 1, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0])
    loop = [
        sum((s[i] + s[i + 1]) / 2 * w for i, w in enumerate((1000, 4000))) / 5000 for s in one.solved.T.astype(float)
    ]
    assert np.allclose(area(one), loop)
    found, regret = area_of([one, one]), regret_of([one, one])
    assert found.mean == pytest.approx(np.mean(loop)) and regret.mean == pytest.approx(0.5 - np.mean(loop))
    assert regret.low < regret.mean < regret.high and regret.trainings == 2
    assert area(one.until(1000)).tolist() == [0.5, 1, 0, 0]
