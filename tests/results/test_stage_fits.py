"""Stages that fail independently, stages that get worse with the chain, and critics that lose more than cloning."""

from pathlib import Path

import numpy as np
import pytest
from scipy import optimize

from robo_orl.base.errors import UsageError
from robo_orl.results.stage_fits import chains_of, stage_counts, stage_fits
from robo_orl.results.store import read_cells

LENGTHS = (1, 2, 4, 8)


def rate(log_odds):
    return 1 / (1 + np.exp(-log_odds))


def played(a, b=0.0, c=0.0, starts=200, trainings=3, seed=0, hard=0.0):
    """Episodes whose stage i of k succeeds with log odds a + b (i - 1) + c log2 k + hard x (the start's own)."""
    rng = np.random.default_rng(seed)
    chains = {}
    for k in LENGTHS:
        own = hard * np.random.default_rng(1000 + k).normal(size=(1, starts, 1))
        log_odds = a + b * np.arange(k) + c * np.log2(k) + own
        solved = rng.random((trainings, starts, k)) < rate(log_odds)
        chains[k] = np.logical_and.accumulate(solved, axis=-1)
    return chains


def test_independent_stages_give_a_power_of_one_rate_and_no_effect():
    chains = played(1.5)
    (fit,) = stage_fits({"bc": chains}, "bc")
    assert fit.per_stage.holds(0) and fit.per_doubling.holds(0) and fit.first_stage.holds(0)
    assert "does not change measurably" in fit.says() and fit.trainings == 3
    p = rate(1.5)
    assert fit.counts[8][-1].k / 600 == pytest.approx(p**8, abs=0.04), "the last of eight is reached by p^8"


def test_a_critic_whose_first_stage_worsens_with_the_chain_is_told_from_cloning():
    control, critic = stage_fits({"bc": played(2.0), "iql": played(2.0, c=-0.8, seed=1)}, "bc")
    assert critic.per_doubling.holds(-0.8) and critic.first_stage.holds(-0.8)
    assert critic.beyond_control.high < 0 and critic.first_beyond_control.high < 0
    assert "more than the control's" in critic.says() and control.beyond_control is None


def test_what_worsens_cloning_as_much_is_not_the_critics():
    fits = stage_fits({"iql": played(2.0, -0.2, -0.6, seed=1), "bc": played(2.0, -0.2, -0.6)}, "bc")
    assert [fit.policy for fit in fits] == ["bc", "iql"], "the control comes first"
    assert all(fit.first_stage.high < 0 and fit.per_stage.holds(-0.2) for fit in fits)
    assert fits[1].beyond_control.holds(0) and "not told from" in fits[1].says()


def test_shared_start_states_make_the_difference_sharper_than_its_parts():
    fits = stage_fits({"bc": played(1.0, hard=2.5), "iql": played(1.0, hard=2.5, seed=1)}, "bc")

    def width(interval):
        return interval.high - interval.low

    apart = np.hypot(width(fits[0].first_stage), width(fits[1].first_stage))
    assert width(fits[1].first_beyond_control) < 0.9 * apart


def test_the_effects_are_those_of_maximum_likelihood():
    chains = played(2.0, -0.2, -0.6)
    (fit,) = stage_fits({"bc": chains}, "bc")
    rows = [(1.0, i, np.log2(k), c.k, c.n) for k in LENGTHS for i, c in enumerate(fit.counts[k])]
    *x, k, n = np.array(rows).T
    x = np.stack(x, 1)
    ml = optimize.minimize(lambda b: -(k * (x @ b) - n * np.logaddexp(0, x @ b)).sum(), np.zeros(3)).x
    assert [fit.per_stage.value, fit.per_doubling.value] == pytest.approx(ml[1:], abs=0.03)


def test_a_stage_is_counted_among_those_that_reached_the_one_before():
    reached = np.array([[[1, 1, 0], [1, 0, 0], [0, 0, 0], [1, 1, 1]]], dtype=bool)
    assert [(c.k, c.n) for c in stage_counts(reached)] == [(3, 4), (2, 3), (1, 2)]


def test_a_stage_that_never_fails_leaves_an_interval_with_a_width():
    chains = {k: np.ones((1, 50, k), dtype=bool) for k in LENGTHS}
    (fit,) = stage_fits({"bc": chains}, "bc")
    assert fit.first_stage.low < -0.1 and fit.first_stage.high > 0.1 and fit.trainings == 1


def test_three_lengths_another_control_and_other_starts_are_refused():
    chains = played(1.0)
    with pytest.raises(UsageError, match="4 chain lengths or more, here 3"):
        stage_fits({"bc": {k: chains[k] for k in (1, 2, 4)}}, "bc")
    with pytest.raises(UsageError, match="'bc' is none of iql"):
        stage_fits({"iql": chains}, "bc")
    with pytest.raises(UsageError, match="not evaluated from the same start states"):
        stage_fits({"bc": chains, "iql": played(1.0, starts=20)}, "bc")


def test_chains_are_read_from_the_shipped_records():
    cells = read_cells(Path(__file__).parents[2] / "results" / "horizon_controls")
    chains = chains_of(cells, "bc", "mh")
    assert {k: reached.shape for k, reached in chains.items()} == {k: (3, 100, k) for k in LENGTHS}
    ours = [
        record.evaluation.success_once.k
        for record, _ in cells
        if (record.task.name, record.policy.name) == ("chain1", "bc")
    ]
    assert chains[1][..., 0].sum() == sum(ours), "chain1+10hz has one stage too and is not among them"
    record, rows = next(cell for cell in cells if (cell[0].task.name, cell[0].policy.name) == ("chain1", "bc"))
    other = record.model_copy(update={"evaluation": record.evaluation.model_copy(update={"starts_sha256": "another"})})
    with pytest.raises(UsageError, match="two banks"):
        chains_of([*cells, (other, rows)], "bc", "mh")


@pytest.mark.slow
def test_the_difference_covers_none_as_often_as_it_says():
    held = [
        stage_fits({"bc": played(1, 0, -0.4, 50, 1, s), "iql": played(1, 0, -0.4, 50, 1, 500 + s)}, "bc", s)[1]
        for s in range(100)
    ]
    assert np.mean([fit.first_beyond_control.holds(0) for fit in held]) >= 0.9
