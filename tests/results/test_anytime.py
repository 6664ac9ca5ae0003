"""The sequential test errs seldom enough at any time, decides what differs, and its confidence sequence covers."""

from itertools import product

import numpy as np
import pytest

from robo_orl.results.anytime import BETS, SequentialSignTest
from robo_orl.results.intervals import sign_test


def of(signs, alpha=0.05):
    test = SequentialSignTest(alpha)
    for sign in signs:
        test.add(sign)
    return test


def test_the_evidence_is_the_mean_capital_of_fixed_bets():
    test = of([1, 1, 0, -1, 1])
    assert test.evidence == pytest.approx(np.mean((1 + BETS) ** 3 * (1 - BETS)))
    assert (test.wins, test.losses, test.ties, test.pairs) == (3, 1, 1, 5) and test.difference == pytest.approx(0.4)


@pytest.mark.parametrize("tie", [0.0, 0.5])
def test_its_expectation_is_one_where_the_policies_are_equal(tie):
    chance = {0: tie, 1: (1 - tie) / 2, -1: (1 - tie) / 2}
    games = list(product(chance, repeat=5))
    expected = sum(np.prod([chance[sign] for sign in signs]) * of(signs).evidence for signs in games)
    assert expected == pytest.approx(1)


def first_decision(signs, alpha=0.05):
    """(sequences,) whether the evidence ever reaches 1/alpha within (sequences, pairs) of signs."""
    capital = np.cumsum(np.log1p(BETS[:, None, None] * signs), axis=-1)
    return (np.exp(capital).mean(axis=0) >= 1 / alpha).any(axis=-1)


@pytest.mark.parametrize("ties", [0.0, 0.8])
def test_looked_at_after_each_of_400_pairs_it_errs_in_fewer_than_alpha(ties):
    rng = np.random.default_rng(7)
    signs = rng.choice([-1, 0, 1], p=[(1 - ties) / 2, ties, (1 - ties) / 2], size=(2_000, 400))
    assert first_decision(signs).mean() < 0.05


def test_the_test_for_a_fixed_number_would_err_far_more_often_when_looked_at():
    rng = np.random.default_rng(7)
    wins = np.cumsum(rng.random((300, 200)) < 0.5, axis=1)
    erred = [any(sign_test(int(k), n + 1 - int(k)) < 0.05 for n, k in enumerate(row)) for row in wins]
    assert np.mean(erred) > 0.15


def test_what_differs_is_decided_and_the_better_side_is_named():
    rng = np.random.default_rng(3)
    signs = rng.choice([-1, 0, 1], p=[0.1, 0.5, 0.4], size=(300, 200))
    assert first_decision(signs).mean() > 0.95
    test = of([1] * 12)
    assert test.decided and test.difference == 1 and test.interval()[0] > 0
    assert of([-1] * 12).decided and not of([0] * 500).decided and not of([1, -1] * 50).decided


def test_the_confidence_sequence_covers_at_all_times_together():
    rng, kept = np.random.default_rng(5), 0
    for _ in range(60):
        test, mean = SequentialSignTest(), 0.3
        for sign in rng.choice([-1, 0, 1], p=[0.1, 0.5, 0.4], size=120):
            test.add(int(sign))
        low, high = test.interval()  # the intersection of all times
        kept += low <= mean <= high
    assert kept >= 54 and high - low < 0.6


def test_alpha_is_a_probability():
    with pytest.raises(ValueError, match="between 0 and 1"):
        SequentialSignTest(1.0)
