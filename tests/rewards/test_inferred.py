"""Rewards inferred from demonstrations, against known answers: a linear program, a tree of all distances, a density."""

import numpy as np
import pytest
import torch
from processes import walk, walks
from scipy.optimize import linprog
from synthetic import write

from robo_orl.base.errors import UsageError
from robo_orl.config import RewardConfig
from robo_orl.data.cache import open_cache
from robo_orl.rewards.csil import log_ratio, posterior
from robo_orl.rewards.discriminator import steepness
from robo_orl.rewards.iq_learn import rewards_of, soft_q
from robo_orl.rewards.registry import make_source
from robo_orl.rewards.relabel import relabel, reward_of
from robo_orl.rewards.transport import cosine_distances, sinkhorn

FEW = {"steps": 200, "hidden": 32, "batch": 64, "lr": 3e-3}


def judged(tmp_path, source, labels=4, params=None):
    """The quality on held-out walks, and the rewards."""
    path, out = walks(tmp_path / "a.hdf5"), tmp_path / "out.hdf5"
    relabel(path, RewardConfig(name=source, source=source, labels=labels, params=params or {}), out)
    return reward_of(out), open_cache(out)


@pytest.mark.parametrize(
    "source, params",
    [
        ("nearest", {}),
        ("transport", {"every": 1}),
        ("smodice", FEW),
        ("oril", FEW),
        ("csil", {}),
        ("iq_learn", {"states": 12, "choices": 2}),
    ],
)
def test_walks_that_end_as_the_demonstrations_do_score_higher(source, params, tmp_path):
    said, arrays = judged(tmp_path, source, params=params)
    assert said["quality"]["auc"] == 1.0
    assert said["annotation"] == {"kind": "demonstrations", "labels": 4, "seconds": None, "seconds_assumed": 360.0}
    assert arrays.success.sum() == 5, "it judges no success: the best quarter is called one"


def test_the_plan_without_entropy_is_that_of_the_linear_program():
    generator = np.random.default_rng(0)
    cost = cosine_distances(generator.normal(size=(6, 3)), generator.normal(size=(5, 3)))
    plan = sinkhorn(cost, epsilon=0.003, iterations=3000)
    rows = [np.kron(np.eye(6)[i], np.ones(5)) for i in range(6)]
    columns = [np.kron(np.ones(6), np.eye(5)[j]) for j in range(5)]
    exact = linprog(cost.ravel(), A_eq=[*rows, *columns], b_eq=[1 / 6] * 6 + [1 / 5] * 5)
    assert (plan * cost).sum() == pytest.approx(exact.fun, rel=0.01)
    np.testing.assert_allclose(plan.sum(1), 1 / 6, atol=1e-9)
    np.testing.assert_allclose(plan.sum(0), 1 / 5, atol=1e-3)
    blurred = sinkhorn(cost, epsilon=1.0, iterations=100)
    assert (blurred * cost).sum() > 1.05 * exact.fun, "too much entropy is seen by its cost"


def test_an_episode_that_is_a_demonstration_is_moved_onto_it_for_nothing():
    one = np.random.default_rng(1).normal(size=(8, 4))
    cost = cosine_distances(one, one)
    plan = sinkhorn(cost, epsilon=0.001, iterations=500)
    assert (plan * cost).sum() < 1e-6 and (cosine_distances(one, one[::-1]) * plan).sum() > 0.1


@pytest.mark.parametrize("source, params", [("smodice", {}), ("oril", {"prior": 0.2})])
def test_the_risk_is_least_at_the_density_ratio(source, params):
    """At x = 0 lie 80 % of the demonstrations and 20 % of the pool, the others at x = 1.

    The best log ratio at 0 is ln(0.8 / 0.2); of unlabelled frames ln(prior p / (q - prior p)) = ln(0.16 / 0.04), too.
    """
    made = make_source(RewardConfig(name="r", source=source, params=params))
    at_one = np.log(0.2 / 0.8) if source == "smodice" else np.log(0.04 / 0.76)
    logits = torch.tensor([np.log(4), at_one], dtype=torch.float64, requires_grad=True)
    demonstrations, pool = torch.tensor([0] * 8 + [1] * 2), torch.tensor([0] * 2 + [1] * 8)
    risk = made.risk(logits[demonstrations], logits[pool])
    (gradient,) = torch.autograd.grad(risk, logits)
    assert gradient.abs().max() < 1e-9
    assert made.risk(logits[demonstrations] + 0.5, logits[pool] + 0.5) > risk


def test_the_table_of_one_state_has_the_fixed_point_of_its_equation():
    """Without a future the optimum solves p(a) (1 - Q / 2 alpha) = softmax(Q)(a), with p the demonstrations' shares."""
    state, choice = np.zeros(10, np.int64), np.repeat([0, 1, 2], [7, 2, 1])
    q = soft_q(state, choice, state, (1, 3), gamma=0.0, alpha=0.5)[0]
    share, policy = np.array([0.7, 0.2, 0.1]), np.exp(q) / np.exp(q).sum()
    np.testing.assert_allclose(share * (1 - q / (2 * 0.5)), policy, atol=1e-5)
    free = soft_q(state, choice, state, (1, 3), gamma=0.0, alpha=1e5)[0]
    np.testing.assert_allclose(np.exp(free) / np.exp(free).sum(), share, atol=1e-2)


def test_the_table_rewards_what_demonstrations_do_and_nothing_else():
    """On a ring of four states they go on at 0 to 2 and stay at 3."""
    state, choice = np.array([0, 1, 2, 3]), np.array([1, 1, 1, 0])
    following = np.array([1, 2, 3, 3])
    q = soft_q(state, choice, following, (4, 2), gamma=0.9, alpha=0.5)
    assert q.argmax(1).tolist() == choice.tolist()
    own = rewards_of(q, state, choice, following, 0.9)
    other = rewards_of(q, state, 1 - choice, np.array([0, 1, 2, 0]), 0.9)
    assert (own > other).all()


def test_the_cloned_policy_falls_back_to_its_prior_far_away_and_its_reward_to_0():
    given, actions = np.array([[1.0, 0.0]] * 20), np.full((20, 1), 0.8)
    mean, variance = posterior(given, actions, np.array([[1.0, 0.0], [0.0, 1.0]]), noise=0.3)
    exact = 20 / (20 + 0.3**2)
    np.testing.assert_allclose(mean[:, 0], [0.8 * exact, 0.0], atol=1e-9)
    np.testing.assert_allclose(variance, [1 - exact, 1.0], atol=1e-9)
    near, away = log_ratio(np.full((2, 1), 0.8), mean, variance, 0.3)
    assert near > 1 and away == pytest.approx(0.0, abs=1e-9)
    assert log_ratio(np.array([[-0.8]]), mean[:1], variance[:1], 0.3) < -3


def test_the_penalty_is_the_distance_of_the_slope_from_one():
    line = torch.nn.Linear(2, 1)
    with torch.no_grad():
        line.weight.copy_(torch.tensor([[3.0, 4.0]]))
    assert float(steepness(line, torch.randn(5, 2)).detach()) == pytest.approx(16.0)


def test_a_demonstration_is_compared_with_the_others_and_not_with_itself(tmp_path):
    path, out = tmp_path / "a.hdf5", tmp_path / "out.hdf5"
    strange = walk(16, 1.0, seed=3)
    strange.obs["object"][:, 1] += 5.0  # a success that is like no other
    write(path, [walk(16, 1.0, seed=i) for i in range(3)] + [strange, walk(16, 0.7, seed=5)])
    relabel(path, RewardConfig(name="n", source="nearest", labels=4), out)
    arrays = open_cache(out)
    means = [arrays.rewards[arrays.starts[e] : arrays.starts[e + 1] - 1].mean() for e in range(5)]
    assert means[3] < min(means[:3])


def test_too_few_demonstrations_are_refused(tmp_path):
    path = walks(tmp_path / "a.hdf5")
    with pytest.raises(UsageError, match="asks for 11 demonstrations, and .* has 10"):
        relabel(path, RewardConfig(name="n", source="nearest", labels=11), tmp_path / "b.hdf5")
    with pytest.raises(UsageError, match="compared with the others: give 2 or more with --labels, here 1"):
        relabel(path, RewardConfig(name="n", source="nearest", labels=1), tmp_path / "b.hdf5")
    with pytest.raises(UsageError, match="takes no noise 'flip'"):
        make_source(RewardConfig(name="n", source="nearest", noise={"flip": 0.1}))
