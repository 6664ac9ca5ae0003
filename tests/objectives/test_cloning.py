"""bc, filtered_bc, top_bc and mc_awr: one policy loss, other weights or other episodes."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import toy_agents as toy

from robo_orl.base.rng import Draws
from robo_orl.data.windows import PairedWindows
from robo_orl.objectives import OBJECTIVES
from robo_orl.objectives.step import Step


def loss_per_frame(learner, window):
    return Step(learner, window, Draws(0, 0)).policy_loss().detach().double().numpy()


def terms_of(learner, window):
    terms, _ = learner.objective.losses(Step(learner, window, Draws(0, 0)))
    return {name: term.item() for name, term in terms.items()}


def test_cloning_counts_both_frames_of_every_pair_once():
    learner, window = toy.agent(toy.policy("bc")), toy.window(8)
    per_frame = loss_per_frame(learner, window)
    assert per_frame.shape == (16,)
    assert terms_of(learner, window)["actor"] == pytest.approx(per_frame.mean(), rel=1e-6)


def test_filtering_is_cloning_of_the_successes():
    learner, window = toy.agent(toy.policy("filtered_bc")), toy.window(8)
    success = np.tile(window.success.numpy(), 2)
    expected = loss_per_frame(learner, window)[success].sum() / 16
    assert terms_of(learner, window)["actor"] == pytest.approx(expected, rel=1e-6)


def test_failures_teach_a_filtering_policy_nothing():
    learner, window = toy.agent(toy.policy("filtered_bc")), toy.window(8)
    gradients = []
    for shift in (0.0, 1.0):
        failed = ~window.success[:, None, None]
        moved = replace(window, actions=window.actions + shift * failed)
        terms, _ = learner.objective.losses(Step(learner, moved, Draws(0, 0)))
        gradients.append(torch.autograd.grad(terms["actor"], list(learner.parameters())))
    for first, second in zip(*gradients, strict=True):
        torch.testing.assert_close(first, second, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("advantage", ["return", "q"])
def test_advantage_weights_equal_their_equation_in_float64(advantage):
    params = {"advantage": advantage, "beta": 3.0, "max_weight": 2.0}
    learner, window = toy.agent(toy.policy("mc_awr", objective={"params": params})), toy.window(8)
    toy.train(learner, 2)
    step = Step(learner, window, Draws(0, 0))
    returns = torch.cat((window.return_to_go, window.next_return_to_go)).double().numpy()
    v = step.v("both").value.squeeze(0).detach().double().numpy()
    expected = {"value": ((v - returns) ** 2).mean()}
    estimate = returns
    if advantage == "q":
        q = step.q("both").value.detach().double().numpy()
        expected["critic"] = ((q - returns) ** 2).mean()
        estimate = q.mean(0)
    weight = np.minimum(np.exp(3.0 * (estimate - v)), 2.0)
    expected["actor"] = (weight * loss_per_frame(learner, window)).mean()
    assert terms_of(learner, window) == pytest.approx(expected, rel=1e-5)


def test_better_than_expected_is_imitated_more():
    learner, window = toy.agent(toy.policy("mc_awr", objective={"params": {"max_weight": 1e9}})), toy.window(8)
    better = replace(window, return_to_go=window.return_to_go + 0.1, next_return_to_go=window.next_return_to_go + 0.1)
    ratio = terms_of(learner, better)["actor"] / terms_of(learner, window)["actor"]
    assert ratio == pytest.approx(np.exp(10 * 0.1), rel=1e-4)


def imitated(share, returns):
    return OBJECTIVES["top_bc"](toy.policy("top_bc", objective={"params": {"share": share}})).imitated(
        np.array(returns)
    )


def test_the_best_share_is_that_of_the_highest_returns_and_the_first_of_equal_ones():
    returns = [0.0, 0.5, 0.9, 0.0, 0.7, 0.5, 0.0, 0.0, 0.0, 0.0]
    assert np.flatnonzero(imitated(0.1, returns)).tolist() == [2]
    assert np.flatnonzero(imitated(0.3, returns)).tolist() == [1, 2, 4]  # 1 and 5 are equal: the file's order
    assert np.flatnonzero(imitated(0.6, returns)).tolist() == [0, 1, 2, 3, 4, 5]  # failures, the first of them
    assert np.flatnonzero(imitated(0.25, returns)).tolist() == [1, 2, 4]  # 2.5 episodes are 3
    assert imitated(1.0, returns).all()
    assert imitated(0.07, range(100)).sum() == 7  # 0.07 * 100 is above 7 in floating point


def test_a_top_policy_draws_from_the_fastest_successes_alone():
    lengths, success = [6, 9, 6, 12, 8], [True, True, False, False, True]
    ends = np.cumsum(lengths)
    rewards = np.zeros(ends[-1])
    rewards[ends[success] - 1] = 1.0
    rows = np.zeros((ends[-1], sum(toy.SPEC.values())))
    arrays = toy.arrays(dict(toy.SPEC), lengths, success, rows, np.zeros((ends[-1], toy.ACTION_DIM)), rewards)
    windows = PairedWindows(arrays, 4, 4, 0.9, chosen_by=lambda returns: imitated(0.4, returns))
    assert set(windows.batch(0, 0, 0, 1, 256).episode.tolist()) == {0, 4}  # 6 and 8 frames to success; 9 is slower
    assert len(windows) == 6 + 8
    windows = PairedWindows(arrays, 4, 4, 1.0, chosen_by=lambda returns: imitated(0.4, returns))
    assert set(windows.batch(0, 0, 0, 1, 256).episode.tolist()) == {0, 1}  # undiscounted they are equal
    whole = PairedWindows(arrays, 4, 4, 0.9)
    everyone = PairedWindows(arrays, 4, 4, 0.9, chosen_by=OBJECTIVES["bc"](toy.policy("bc")).imitated)
    assert np.array_equal(whole.frames, everyone.frames)


def test_of_its_episodes_a_top_policy_imitates_every_frame():
    learner, window = toy.agent(toy.policy("top_bc")), toy.window(8)
    assert terms_of(learner, window)["actor"] == pytest.approx(loss_per_frame(learner, window).mean(), rel=1e-6)
