"""The gain of a critic over data and size: known slopes are found, and no more is claimed than trainings carry."""

import numpy as np
import pytest
from scipy import stats

from robo_orl.base.errors import UsageError
from robo_orl.results.gain_fits import GainCell, gain_fit

AMOUNTS, SIZES = (25, 50, 100, 200, 400), (0.3e6, 1.2e6, 4.8e6)


def crossed(data=0.05, size=-0.02, both=0.01, trainings=4, noise=0.05, seed=0):
    rng = np.random.default_rng(seed)
    middle = np.log2(AMOUNTS).mean(), np.log2(SIZES).mean()
    cells = []
    for n in AMOUNTS:
        for p in SIZES:
            x, y = np.log2(n) - middle[0], np.log2(p) - middle[1]
            gain = 0.1 + data * x + size * y + both * x * y
            control = tuple(0.4 + 0.03 * x + rng.normal(0, noise, trainings))
            critic = tuple(0.4 + 0.03 * x + gain + rng.normal(0, noise, trainings))
            cells.append(GainCell(n, p, critic, control))
    return cells


def test_known_slopes_are_found_and_what_both_arms_gain_is_no_gain():
    fit = gain_fit(crossed())
    assert fit.middle.holds(0.1) and fit.per_doubling_of_data.holds(0.05) and fit.per_doubling_of_size.holds(-0.02)
    assert fit.interaction.holds(0.01) and (fit.cells, fit.trainings) == (15, 4)
    assert fit.outcome.kind == "decided" and "grows with the data" in fit.outcome.reason


def test_the_estimates_are_numpys_and_the_interval_that_of_the_trainings_spread():
    cells = crossed(trainings=30)
    fit = gain_fit(cells)
    x = np.log2([c.demonstrations for c in cells]) - np.log2(AMOUNTS).mean()
    y = np.log2([c.parameters for c in cells]) - np.log2(SIZES).mean()
    gain = [np.mean(c.critic) - np.mean(c.control) for c in cells]
    b = np.linalg.lstsq(np.stack((np.ones(15), x, y, x * y), 1), gain, rcond=None)[0]
    found = (fit.middle, fit.per_doubling_of_data, fit.per_doubling_of_size, fit.interaction)
    assert [one.value for one in found] == pytest.approx(b)
    half = stats.norm.ppf(0.975) * 0.05 * np.sqrt(2 / 30) / np.sqrt(np.sum(x**2))
    assert fit.per_doubling_of_data.high - fit.per_doubling_of_data.low == pytest.approx(2 * half, rel=0.15)


def test_at_one_size_the_slope_over_the_data_is_that_of_a_line():
    cells = [c for c in crossed(size=0.0, both=0.0, trainings=3) if c.parameters == SIZES[1]]
    fit = gain_fit(cells)
    gain = [np.mean(c.critic) - np.mean(c.control) for c in cells]
    line = stats.linregress(np.log2([c.demonstrations for c in cells]), gain)
    assert fit.per_doubling_of_data.value == pytest.approx(line.slope)
    assert (fit.middle.value, fit.per_doubling_of_size, fit.interaction) == (pytest.approx(np.mean(gain)), None, None)
    assert fit.per_doubling_of_data.holds(0.05) and fit.outcome.kind == "decided"


def test_a_gain_that_does_not_change_cannot_be_told_from_one_that_does_a_little():
    fit = gain_fit(crossed(data=0.0, noise=0.2))
    assert fit.outcome.kind == "cannot tell" and fit.per_doubling_of_data.holds(0)


def test_one_training_a_cell_decides_nothing():
    fit = gain_fit(crossed(trainings=1))
    assert fit.trainings == 1 and fit.outcome.kind == "cannot tell" and "one training" in fit.outcome.reason
    assert fit.per_doubling_of_data.low < fit.per_doubling_of_data.value < fit.per_doubling_of_data.high


def test_too_few_amounts_or_cells_that_do_not_cross_are_refused():
    cells = crossed()
    with pytest.raises(UsageError, match="4 amounts of data or more, here 3"):
        gain_fit([c for c in cells if c.demonstrations <= 100])
    with pytest.raises(UsageError, match="do not cross"):
        gain_fit([c for c in cells if (c.demonstrations == 25) != (c.parameters == SIZES[0])][:5])
    with pytest.raises(UsageError, match="trainings of the critic"):
        gain_fit([*cells[1:], GainCell(25, SIZES[0], (), (0.1,))])


@pytest.mark.slow
def test_the_interval_of_the_interaction_covers_it_as_often_as_it_says():
    held = [gain_fit(crossed(trainings=3, seed=s), resamples=1000, seed=s).interaction.holds(0.01) for s in range(300)]
    assert 0.92 <= np.mean(held) <= 0.98
