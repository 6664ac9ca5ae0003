"""Credit against loops, numpy and, for what is unbiased, enumeration of everything that can happen."""

from itertools import product

import numpy as np
import pytest

from robo_orl.objectives.credit import Outcomes, gae, in_mixed_groups, leave_one_out, standardised

RNG = np.random.default_rng(0)


def round_of(*lengths):
    """Random rewards and values; every second episode ends in a terminal."""
    episode = np.repeat(np.arange(len(lengths)), lengths)
    discount = np.full(len(episode), 0.9)
    discount[np.cumsum(lengths)[::2] - 1] = 0.0
    success = np.zeros(len(lengths), bool)
    return Outcomes(episode, RNG.normal(size=len(episode)), discount, success, 1), *RNG.normal(size=(2, len(episode)))


@pytest.mark.parametrize("decay", [0.0, 0.7, 1.0])
def test_generalised_advantages_are_the_sum_of_the_paper(decay):
    outcomes, value, following = round_of(3, 1, 5, 4)
    expected = []
    for t in range(len(value)):
        total, weight = 0.0, 1.0
        for later in range(t, len(value)):
            if outcomes.episode[later] != outcomes.episode[t]:
                break
            delta = outcomes.reward[later] + outcomes.discount[later] * following[later] - value[later]
            total += weight * delta
            weight *= outcomes.discount[later] * decay
        expected.append(total)
    np.testing.assert_allclose(gae(outcomes, value, following, decay), expected, atol=1e-12)


def test_with_lambda_one_and_a_terminal_an_advantage_is_the_return_less_the_value():
    outcomes, value, _ = round_of(4)
    following = np.append(value[1:], 123.0)  # beyond the terminal, where nothing is read
    returns = [sum(0.9**k * outcomes.reward[t + k] for k in range(4 - t)) for t in range(4)]
    np.testing.assert_allclose(gae(outcomes, value, following, 1.0), returns - value, atol=1e-12)


@pytest.mark.parametrize("group", [2, 3])
def test_the_leave_one_out_gradient_is_unbiased_where_everything_is_enumerated(group):
    """A bandit of three arms: the mean over all groups, each by its probability, is the gradient of expected reward."""
    logits, reward = np.array([0.2, -0.4, 0.9]), np.array([0, 1, 1], bool)
    p = np.exp(logits) / np.exp(logits).sum()
    score = np.eye(3) - p  # row a: d log p(a) / d logits
    estimate, variance, plain = np.zeros(3), 0.0, 0.0
    for arms in product(range(3), repeat=group):
        arms = np.array(arms)
        weight = p[arms].prod()
        gradient = (leave_one_out(reward[arms], group)[:, None] * score[arms]).mean(0)
        estimate += weight * gradient
        variance += weight * gradient @ gradient
        unaided = (reward[arms][:, None] * score[arms]).mean(0)
        plain += weight * unaided @ unaided
    exact = p * (reward - p @ reward)
    np.testing.assert_allclose(estimate, exact, atol=1e-12)
    assert variance < plain  # and the baseline is worth something


def test_the_mean_of_all_as_a_baseline_would_be_biased_in_that_enumeration():
    """What the test above would see of a baseline that holds the episode itself: a gradient that is too small."""
    outcome = np.array([1, 0, 0, 1, 1, 0], bool)
    with_itself = outcome.reshape(-1, 3) - outcome.reshape(-1, 3).mean(1, keepdims=True)
    np.testing.assert_allclose(leave_one_out(outcome, 3), (1.5 * with_itself).ravel())


def test_a_group_is_standardised_as_numpy_does():
    outcome = RNG.random(24) < 0.4
    outcome[:4] = True
    for i, row in enumerate(outcome.reshape(6, 4).astype(float)):
        expected = (row - row.mean()) / row.std() if row.std() else np.zeros(4)
        np.testing.assert_allclose(standardised(outcome, 4)[4 * i : 4 * i + 4], expected, atol=1e-6)


def test_groups_that_end_alike_are_found():
    success = np.array([1, 1, 0, 1, 0, 0], bool)
    assert in_mixed_groups(success, 2).tolist() == [False, False, True, True, False, False]
    assert not in_mixed_groups(success[:2], 2).any() and in_mixed_groups(success, 3).all()
