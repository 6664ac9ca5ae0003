"""Returns from rows, and a critic's values beside them, against loops."""

from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats

from robo_orl.online.calibration import calibration, outcome_auc, returns_to_go


def row(episode, length, steps):
    return SimpleNamespace(episode=episode, length=length, stage_steps=steps, success_once=steps[-1] is not None)


@pytest.mark.parametrize("reward, paid", [("success", {9: 1.0}), ("stages", {4: 0.5, 9: 0.5})])
def test_returns_of_decisions_are_the_sums_of_a_loop(reward, paid):
    own = returns_to_go(row(0, 9, [4, 9]), SimpleNamespace(reward=reward), 0.9, execute=2)
    rewards = [paid.get(step + 1, 0.0) for step in range(9)]
    loop = [sum(0.9 ** (t - first) * rewards[t] for t in range(first, 9)) for first in range(0, 9, 2)]
    assert np.allclose(own, loop)
    assert not returns_to_go(row(0, 9, [None, None]), SimpleNamespace(reward=reward), 0.9, 2).any()


def test_bias_is_over_decisions_and_the_order_of_outcomes_over_starts():
    rows = [row(0, 4, [4]), row(1, 4, [None]), row(2, 2, [2])]
    values = {0: [0.5, 0.7], 1: [0.6, 0.1], 2: [0.9]}
    found = calibration(values, rows, SimpleNamespace(reward="success"), 0.5, 2)
    returned = np.array([0.125, 0.5, 0, 0, 0.5])
    assert found["decisions"]["bias"] == pytest.approx(np.mean([0.5, 0.7, 0.6, 0.1, 0.9] - returned))
    assert found["decisions"]["mean_absolute"] == pytest.approx(np.abs([0.5, 0.7, 0.6, 0.1, 0.9] - returned).mean())
    assert found["starts"]["n"] == 3 and found["outcome_auc"] == 0.5  # 0.9 is above 0.6, 0.5 is not
    assert calibration({}, rows, SimpleNamespace(reward="success"), 0.5, 2) is None


def test_the_order_of_outcomes_is_scipys_mann_whitney():
    rng = np.random.default_rng(0)
    values, success = rng.integers(0, 9, 60) / 9, rng.random(60) < 0.4
    u = stats.mannwhitneyu(values[success], values[~success]).statistic
    assert outcome_auc(values, success) == pytest.approx(u / (success.sum() * (~success).sum()))
    assert outcome_auc(values, np.ones(60, bool)) is None
