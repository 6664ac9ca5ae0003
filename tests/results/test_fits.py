"""Fits find the exponents of made-up data, agree with scipy and numpy, and say when they cannot tell."""

import numpy as np
import pytest
from scipy import optimize, stats

from robo_orl.base.errors import UsageError
from robo_orl.results.fits import Interval, Size, decide, lack_of_fit, power_fit, predict, success_fit

X = (16.0, 32.0, 64.0, 128.0, 256.0)


def made(slope, trainings=8, noise=0.1, values=1, within=0.0, seed=0, x=X):
    """Sizes whose trainings lie about 3 x^slope; log-normal noise of trainings, and of values within one."""
    rng = np.random.default_rng(seed)
    middle = [[3 * u**slope * np.exp(rng.normal(0, noise)) for _ in range(trainings)] for u in x]
    spread = [[m * np.exp(rng.normal(0, within, values)) for m in row] for row in middle]
    return [Size.of(u, row) for u, row in zip(x, spread, strict=True)]


# ------------------------------------------------------------------------------------------------------------ exponents


@pytest.mark.parametrize("slope", [-1.99, -1.0, 1.0, 2.0])
def test_a_known_exponent_is_recovered_and_told_from_the_others(slope):
    fit = power_fit(made(slope), candidates=(slope, slope + 1, slope - 1))
    assert fit.slope.value == pytest.approx(slope, abs=0.1) and fit.slope.holds(slope)
    assert fit.outcome.kind == "decided" and fit.outcome.exponent == slope
    assert fit.candidates[slope] == 0 and fit.candidates[slope + 1] < -20
    assert fit.scale == pytest.approx(3, rel=0.4) and (fit.sizes, fit.fewest_trainings, fit.basis) == (
        5,
        8,
        "trainings",
    )


def test_the_slope_is_scipys_and_the_likelihoods_are_numpys():
    sizes = made(1.3, noise=0.4)
    fit = power_fit(sizes)
    log_x = np.repeat(np.log(X), 8)
    log_y = np.log([np.mean(t) for size in sizes for t in size.trainings])
    assert fit.slope.value == pytest.approx(stats.linregress(log_x, log_y).slope)
    ones = np.ones((len(log_x), 1))
    rss = {c: np.linalg.lstsq(ones, log_y - c * log_x, rcond=None)[1][0] for c in (1, 2)}
    assert fit.candidates[2.0] - fit.candidates[1.0] == pytest.approx(-20 * np.log(rss[2] / rss[1]))


def test_the_interval_is_that_of_the_regression_where_trainings_are_the_only_noise():
    fit = power_fit(made(1.0, trainings=30, noise=0.3))
    sizes = made(1.0, trainings=30, noise=0.3)
    log_y = np.log([t[0] for size in sizes for t in size.trainings])
    line = stats.linregress(np.repeat(np.log(X), 30), log_y)
    half = stats.t.ppf(0.975, 148) * line.stderr
    assert fit.slope.high - fit.slope.low == pytest.approx(2 * half, rel=0.1)


def test_one_number_a_size_has_the_interval_of_the_residuals_and_decides_nothing():
    x, y = np.array(X), 3 * np.array(X) ** 1.1 * np.exp([0.1, -0.1, 0.05, 0.1, -0.15])
    fit = power_fit([Size.of(u, [v]) for u, v in zip(x, y, strict=True)])
    line = stats.linregress(np.log(x), np.log(y))
    assert fit.basis == "residuals" and fit.lack_of_fit is None
    assert fit.slope.high - fit.slope.value == pytest.approx(stats.t.ppf(0.975, 3) * line.stderr)
    assert fit.outcome.kind == "cannot tell" and "one training" in fit.outcome.reason


def test_one_training_of_many_values_says_that_it_covers_no_other():
    fit = power_fit(made(1.0, trainings=1, noise=0.0, values=40, within=0.2))
    assert fit.basis == "values" and fit.slope.holds(1.0) and fit.outcome.kind == "cannot tell"


def test_noise_that_hides_the_exponent_cannot_tell():
    fit = power_fit(made(1.5, trainings=2, noise=2.0, seed=1))
    assert fit.slope.holds(1) and fit.slope.holds(2)
    assert fit.outcome.kind == "cannot tell" and fit.outcome.exponent is None and "1 and 2" in fit.outcome.reason


def test_an_exponent_that_nobody_named_is_neither():
    assert power_fit(made(3.0)).outcome.kind == "neither"
    assert decide(Interval(1.4, 1.2, 1.6), (1, 2), 8).kind == "neither"
    assert decide(Interval(1.4, 0.9, 1.6), (1, 2), 8).exponent == 1


def test_a_curve_that_bends_is_told_from_a_line_by_the_classical_test():
    refused = np.mean([lack_of_fit(made(1.0, seed=seed)) < 0.05 for seed in range(200)])
    bent = [Size.of(s.x, [v + 400 for (v,) in s.trainings]) for s in made(1.0)]
    assert 0.02 <= refused <= 0.08, "straight lines are refused as often as the level says"
    assert lack_of_fit(bent) < 1e-6
    log_x, log_y = np.repeat(np.log(X), 8), np.log([t[0] for s in bent for t in s.trainings])
    groups = log_y.reshape(5, 8)
    pure = ((groups - groups.mean(1, keepdims=True)) ** 2).sum()
    _, (total,), *_ = np.linalg.lstsq(np.stack((np.ones(40), log_x), 1), log_y, rcond=None)
    assert lack_of_fit(bent) == pytest.approx(stats.f.sf((total - pure) / 3 / (pure / 35), 3, 35))


# ---------------------------------------------------------------------------------------------------------- predictions


def test_the_largest_size_is_predicted_from_the_others_and_then_looked_at():
    sizes = made(1.0)
    fit = power_fit(sizes)
    assert fit.prediction.x == 256 and fit.prediction.inside
    assert fit.prediction.measured == pytest.approx(stats.gmean([t[0] for t in sizes[-1].trainings]))
    assert fit.without_largest.value == pytest.approx(power_fit(sizes[:-1]).slope.value)
    away = [*sizes[:-1], Size.of(256, [2 * t[0] for t in sizes[-1].trainings])]
    wrong = power_fit(away).prediction
    assert wrong.value == fit.prediction.value, "the prediction saw the largest size"
    assert wrong.inside is False


def test_a_prediction_is_the_interval_of_a_new_mean_in_a_regression():
    sizes = made(1.0, trainings=3, noise=0.3)
    found = predict(sizes, 512, trainings=3)
    x, y = np.repeat(np.log(X), 3), np.log([t[0] for s in sizes for t in s.trainings])
    design = np.stack((np.ones(15), x), 1)
    b, (rss,), *_ = np.linalg.lstsq(design, y, rcond=None)
    new = np.array([1, np.log(512)])
    half = stats.t.ppf(0.975, 13) * np.sqrt(rss / 13 * (1 / 3 + new @ np.linalg.inv(design.T @ design) @ new))
    assert np.log([found.value.low, found.value.high]) == pytest.approx([new @ b - half, new @ b + half])
    assert found.inside is None


def test_four_sizes_leave_too_few_for_a_prediction():
    fit = power_fit(made(1.0, x=X[:4]))
    assert fit.prediction is None and fit.without_largest is None
    with pytest.raises(UsageError, match="four|4 sizes"):
        predict(made(1.0, x=X[:3]), 512, 3)


# -------------------------------------------------------------------------------------------------------------- success


def outcomes(intercept, slope, trainings=4, episodes=200, seed=0, x=(1.0, 2.0, 4.0, 8.0)):
    rng = np.random.default_rng(seed)
    rate = [1 / (1 + np.exp(-intercept - slope * np.log(u))) for u in x]
    return [Size.of(u, [rng.binomial(1, p, episodes) for _ in range(trainings)]) for u, p in zip(x, rate, strict=True)]


def test_the_slope_of_success_is_recovered_and_is_that_of_maximum_likelihood():
    sizes = outcomes(2.0, -1.0)
    fit = success_fit(sizes)
    assert fit.slope.holds(-1.0) and fit.outcome.kind == "neither"  # 0 was the candidate: success falls
    k = np.array([sum(map(sum, s.trainings)) for s in sizes])
    log_x = np.log([s.x for s in sizes])

    def loss(b):
        eta = b[0] + b[1] * log_x
        return -(k * eta - 800 * np.logaddexp(0, eta)).sum()

    ml = optimize.minimize(loss, [0, 0]).x
    assert [fit.intercept, fit.slope.value] == pytest.approx(ml, abs=0.02)  # 3,200 episodes: the prior hardly counts


def test_success_everywhere_has_a_slope_of_zero_and_an_interval_with_a_width():
    fit = success_fit([Size.of(x, [[1.0] * 50] * 3) for x in (1, 2, 4, 8)])
    assert abs(fit.slope.value) < 0.05 and np.isfinite(fit.intercept)
    assert fit.slope.low < -0.2 and fit.slope.high > 0.2


# ------------------------------------------------------------------------------------------------------------- refusals


def test_fewer_than_four_sizes_are_refused():
    with pytest.raises(UsageError, match="needs 4 sizes or more"):
        power_fit(made(1.0, x=X[:3]))
    with pytest.raises(UsageError, match="each once"):
        power_fit([*made(1.0, x=X[:4]), *made(1.0, x=X[:1])])
    with pytest.raises(UsageError, match="needs 4 sizes or more"):
        success_fit(outcomes(1, 1)[:3])


def test_what_has_no_logarithm_is_refused():
    with pytest.raises(UsageError, match="positive values"):
        power_fit([Size.of(x, [[0.0, 1.0]]) for x in X])
    with pytest.raises(UsageError, match="positive sizes"):
        power_fit([Size.of(x, [1.0]) for x in (0, 1, 2, 3)])
    with pytest.raises(UsageError, match="at least one training"):
        power_fit([Size.of(x, []) for x in X])
    with pytest.raises(UsageError, match="outcomes, 0 or 1"):
        success_fit([Size.of(x, [0.5]) for x in X])


# ------------------------------------------------------------------------------------------------------------- coverage


def covered(truth, made_up, rounds):
    return np.mean([made_up(seed).holds(truth) for seed in range(rounds)])


@pytest.mark.slow
@pytest.mark.parametrize("trainings, values, within", [(8, 1, 0.0), (4, 1, 0.0), (3, 10, 0.5)])
def test_the_interval_of_an_exponent_covers_it_as_often_as_it_says(trainings, values, within):
    share = covered(
        1.0, lambda seed: power_fit(made(1.0, trainings, 0.3, values, within, seed), seed=seed).slope, rounds=300
    )
    assert 0.92 <= share <= 0.99, share


@pytest.mark.slow
def test_predictions_hold_the_largest_size_as_often_as_they_say():
    fits = [power_fit(made(1.0, 4, 0.3, seed=seed)) for seed in range(300)]
    assert 0.92 <= np.mean([fit.prediction.inside for fit in fits]) <= 0.98


@pytest.mark.slow
def test_the_interval_of_success_covers_its_slope_as_often_as_it_says():
    share = covered(-0.5, lambda seed: success_fit(outcomes(1, -0.5, 4, 50, seed), resamples=1000).slope, rounds=300)
    assert 0.93 <= share <= 1.0, share
