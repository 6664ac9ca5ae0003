"""Intervals and tests against scipy and closed forms."""

import numpy as np
import pytest
from scipy import stats

from robo_orl.results.intervals import (
    _resampled_means,
    holm,
    mean_interval,
    newcombe_counts,
    newcombe_paired,
    paired_test,
    score,
    sign_test,
    two_level_bootstrap,
    wilson,
)


@pytest.mark.parametrize("k, n", [(0, 5), (1, 7), (40, 50), (50, 50), (199, 200)])
def test_wilson_is_scipys(k, n):
    expected = stats.binomtest(k, n).proportion_ci(0.95, "wilson")
    assert wilson(k, n) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_wilson_of_nothing_says_nothing():
    assert wilson(0, 0) == (0.0, 1.0)
    assert wilson(0, 10)[0] == 0.0 and wilson(10, 10)[1] == 1.0


def test_more_successes_than_episodes_are_refused():
    with pytest.raises(ValueError, match="3 of 2"):
        wilson(3, 2)


def test_score_keeps_k_and_n():
    s = score(40, 50)
    assert (s.k, s.n, s.rate) == (40, 50, 0.8) and s.low < 0.8 < s.high


@pytest.mark.parametrize("first, second", [(12, 3), (0, 9), (5, 5), (0, 0)])
def test_paired_test_is_the_exact_sign_test_on_discordant_pairs(first, second):
    a = [True] * first + [False] * second + [True] * 10 + [False] * 4
    b = [False] * first + [True] * second + [True] * 10 + [False] * 4
    result = paired_test(a, b)
    expected = stats.binomtest(first, first + second, 0.5).pvalue if first + second else 1.0
    assert result.p == pytest.approx(expected, abs=1e-12)
    assert (result.only_first, result.only_second, result.n) == (first, second, len(a))
    assert result.difference == pytest.approx(np.mean(b) - np.mean(a))


@pytest.mark.parametrize("seed", range(4))
def test_returns_are_compared_by_scipys_sign_test_without_their_ties(seed):
    rng = np.random.default_rng(seed)
    first, second = (rng.integers(0, 6, size=60) / 7 for _ in range(2))
    result = paired_test(first, second)
    wins, losses = int((second > first).sum()), int((second < first).sum())
    assert (result.only_second, result.only_first, result.ties) == (wins, losses, int((first == second).sum()))
    assert result.ties > 0 and result.p == pytest.approx(stats.binomtest(wins, wins + losses, 0.5).pvalue, abs=1e-12)
    assert result.difference == pytest.approx(np.sign(second - first).mean())


def test_returns_that_differ_by_rounding_are_ties():
    assert paired_test([0.1 + 0.2, 0.5], [0.3, 0.6]).ties == 1


@pytest.mark.parametrize("wins, losses", [(0, 0), (3, 3), (1, 400), (700, 640), (2_000, 1_900)])
def test_the_sign_test_of_many_pairs_is_scipys(wins, losses):
    expected = stats.binomtest(wins, wins + losses, 0.5).pvalue if wins + losses else 1.0
    assert sign_test(wins, losses) == pytest.approx(expected, rel=1e-9, abs=1e-300)


def test_holms_rejections_are_those_of_the_step_down_procedure():
    """Adjusted p <= level exactly where the procedure rejects that goes through the sorted p and stops at the first
    p_(i) > level / (m - i + 1)."""
    rng = np.random.default_rng(0)
    for _ in range(20):
        p = rng.random(15) ** 4
        adjusted = np.array(holm(p))
        for level in (0.01, 0.05, 0.2):
            rejected = np.zeros(15, dtype=bool)
            for rank, i in enumerate(np.argsort(p)):
                if p[i] > level / (15 - rank):
                    break
                rejected[i] = True
            assert ((adjusted <= level) == rejected).all()


def test_the_interval_of_starts_won_and_lost_is_that_of_pairs():
    pairs = [(True, True)] * 8 + [(False, True)] * 5 + [(True, False)] * 2 + [(False, False)] * 4
    assert newcombe_counts(8, 5, 2, 4) == newcombe_paired(pairs)
    low, high = newcombe_counts(0, 50, 0, 0)  # every start won
    assert high == 1.0 and 0.85 < low < 0.95


def test_pairs_need_equal_lengths():
    with pytest.raises(ValueError, match="equal lengths"):
        paired_test([True], [True, False])


def test_bootstrap_of_one_seed_is_the_bootstrap_of_its_episodes():
    outcomes = np.array([1.0] * 30 + [0.0] * 20)
    mean, low, high = two_level_bootstrap([outcomes])
    reference = stats.bootstrap((outcomes,), np.mean, n_resamples=9999, method="percentile", rng=1).confidence_interval
    assert mean == pytest.approx(0.6)
    assert (low, high) == pytest.approx((reference.low, reference.high), abs=0.021)  # one episode of 50


def test_bootstrap_over_seeds_is_as_wide_as_its_closed_form():
    """Var of a two-level mean of S seeds with n episodes each: between/S * (S-1)/S plus within/(S n), all plug-in."""
    rng = np.random.default_rng(0)
    groups = [rng.random(100) < p for p in np.linspace(0.2, 0.9, 20)]
    mean, low, high = two_level_bootstrap(groups, resamples=20_000)
    means = np.array([g.mean() for g in groups])
    variance = means.var() / 20 + np.mean([g.var() for g in groups]) / (20 * 100)
    assert mean == pytest.approx(means.mean())
    assert high - low == pytest.approx(2 * 1.96 * np.sqrt(variance), rel=0.05)


def test_seeds_that_disagree_widen_the_interval_that_episodes_alone_would_give():
    agree = two_level_bootstrap([[1, 0] * 50] * 3)
    disagree = two_level_bootstrap([[1] * 100, [0] * 100, [1, 0] * 50])
    assert disagree[2] - disagree[1] > 3 * (agree[2] - agree[1])


@pytest.mark.parametrize("sizes", [(30,), (40, 25)])
def test_the_shared_draws_of_returns_are_those_of_drawing_every_value(sizes):
    rng = np.random.default_rng(0)
    groups = [rng.random(size) for size in sizes]
    draws = np.random.default_rng(3)
    means = np.stack([_resampled_means(group, 2_500 * len(sizes), draws) for group in groups])
    seeds = draws.integers(len(sizes), size=(2_500, len(sizes)))
    means = means.reshape(len(sizes), 2_500, len(sizes))
    drawn = [np.mean([means[seeds[r, s], r, s] for s in range(len(sizes))]) for r in range(2_500)]
    expected = (np.mean([group.mean() for group in groups]), *np.percentile(drawn, [2.5, 97.5]))
    assert two_level_bootstrap(groups, 2_500, seed=3) == pytest.approx(expected, abs=1e-6)


def test_bootstrap_repeats_itself_and_refuses_a_seed_without_episodes():
    assert two_level_bootstrap([[1, 0, 1]], seed=3) == two_level_bootstrap([[1, 0, 1]], seed=3)
    with pytest.raises(ValueError, match="at least one episode"):
        two_level_bootstrap([[1.0], []])


def test_mean_interval_is_scipys_bootstrap():
    values = np.random.default_rng(0).exponential(size=60)
    value, low, high = mean_interval(values, resamples=5000)
    reference = stats.bootstrap((values,), np.mean, n_resamples=5000, method="percentile", rng=2).confidence_interval
    assert value == pytest.approx(values.mean())
    assert (low, high) == pytest.approx((reference.low, reference.high), rel=0.05)
