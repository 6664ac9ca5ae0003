"""Nominal 95 % intervals cover 93 to 97 % where trainings vary as in results/parity with CQL: rho 0.125."""

import numpy as np
import pytest

from robo_orl.results.aggregate import interquartile_mean, mean, over_tasks
from robo_orl.results.intervals import two_level_bootstrap
from robo_orl.results.trainings import design_effect, estimate

RATES = np.array([0.02, 0.05, 0.11, 0.15, 0.17, 0.25, 0.32, 0.5, 0.63, 0.7, 0.78, 0.82, 0.88, 0.9, 0.93, 0.98])


def trainings(rng: np.random.Generator, rate: float, rho: float, seeds: int, n: int) -> list[np.ndarray]:
    """The outcomes of `seeds` trainings whose rates vary around `rate` with the correlation `rho`."""
    shape = 1 / rho - 1
    own = rng.beta(rate * shape, (1 - rate) * shape, size=seeds)
    return [np.repeat([1.0, 0.0], [k, n - k]) for k in rng.binomial(n, own)]


def sweep_coverage(sweeps: int, rho: float | None, seeds: int = 3, n: int = 50, methods: int = 5, tasks: int = 4):
    """The share of intervals that hold the truth: of rows, of means and of interquartile means over the tasks.

    rho None: every row has another one, from 0.01 to 0.25.
    """
    rng, covered = np.random.default_rng(0), {"rows": [], "means": [], "middles": []}
    for _ in range(sweeps):
        rates = rng.choice(RATES, size=(methods, tasks))
        spread = rng.choice([0.01, 0.05, 0.125, 0.25], size=rates.shape) if rho is None else np.full(rates.shape, rho)
        rows = [[trainings(rng, rates[m, t], spread[m, t], seeds, n) for t in range(tasks)] for m in range(methods)]
        effect = design_effect([row for own in rows for row in own])
        for m, own in enumerate(rows):
            for row, rate in zip(own, rates[m], strict=True):
                made = estimate(row, effect, binary=True)
                covered["rows"].append(made.low <= rate <= made.high)
            for name, statistic in (("means", mean), ("middles", interquartile_mean)):
                made = over_tasks(own, effect, statistic)
                covered[name].append(made.low <= statistic(rates[m]) <= made.high)
    return {name: float(np.mean(held)) for name, held in covered.items()}


def test_a_few_sweeps_cover_about_as_often_as_they_say():
    found = sweep_coverage(40, 0.125, methods=4)
    assert 0.91 < found["rows"] < 0.99 and found["means"] > 0.88


@pytest.mark.slow
@pytest.mark.parametrize("rho", [0.125, None])
def test_two_thousand_sweeps_cover_93_to_97_percent(rho):
    found = sweep_coverage(2000, rho)
    print(rho, found)
    assert 0.93 <= found["rows"] <= 0.97 and 0.93 <= found["means"] <= 0.97 and 0.93 <= found["middles"] <= 0.97


@pytest.mark.slow
def test_the_two_level_bootstrap_of_three_seeds_covers_far_less():
    rng, held = np.random.default_rng(1), []
    for turn in range(2000):
        rate = RATES[turn % len(RATES)]
        _, low, high = two_level_bootstrap(trainings(rng, rate, 0.125, 3, 50), resamples=500, seed=turn)
        held.append(low <= rate <= high)
    print("two-level bootstrap", np.mean(held))
    assert 0.7 < np.mean(held) < 0.85
