"""bc, filtered_bc and mc_awr: one policy loss, three weights."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import toy_agents as toy

from robo_orl.base.rng import Draws
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
