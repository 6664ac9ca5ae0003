"""Before a critic that is given, the policies of soft actor-critic and of those that add to a frozen one find the
optimum that is known in closed form: a truncated normal, and the nearest point that a bound allows."""

from itertools import combinations

import numpy as np
import pytest
import torch
import toy_agents as toy
from bowls import PAIRS, before_a_bowl, descended
from scipy.integrate import quad

from robo_orl.base.errors import UsageError
from robo_orl.base.rng import Draws
from robo_orl.objectives.step import Step

BEST, SLOPE, KAPPA = 0.4, 1.0, 0.02
SIGMA = np.sqrt(KAPPA / (2 * SLOPE))
NUMBERS = toy.CHUNK * toy.ACTION_DIM
C = 2  # actions that Q values where `execute` of them are carried out


def policy(name, **params):
    return toy.shipped(name, objective={"params": params}, critic={"ensemble": 2})


def acted(learner, n=64):
    return learner.act(toy.observation(n), Draws(1, 0))


# ------------------------------------------------------------------------------------------------- soft actor-critic


@pytest.fixture(scope="module")
def soft():
    learner = before_a_bowl(policy("sac", first_kappa=KAPPA, backup_entropy=True), BEST, SLOPE)
    return learner, descended(learner, "actor")


def test_the_policy_of_maximum_entropy_is_the_truncated_normal_of_the_bowl(soft):
    mean, std = soft[0].action_head.parameters_of(torch.ones(1, 1, 96))
    np.testing.assert_allclose(mean.detach(), BEST, atol=0.02)
    np.testing.assert_allclose(std.detach(), SIGMA, rtol=0.15)


def test_what_it_backs_up_is_the_soft_value(soft):
    """V = kappa log of the integral of exp(Q / kappa), number by number."""
    integral = quad(lambda a: np.exp(-SLOPE * (a - BEST) ** 2 / KAPPA), -1, 1)[0]
    value, window = NUMBERS * KAPPA * np.log(integral), toy.window(PAIRS)
    expected = (window.reward + window.discount * value).mean()
    assert soft[1]["critic/target"] == pytest.approx(expected.item(), abs=0.01)
    without = (window.reward - window.discount * NUMBERS * SLOPE * SIGMA**2).mean()  # of Q alone
    assert abs(expected - without) > 0.1


@pytest.mark.slow
def test_the_temperature_finds_the_entropy_that_is_asked_for():
    learner = before_a_bowl(policy("sac", first_kappa=KAPPA, target_entropy=-1.0), BEST, SLOPE)
    metrics = descended(learner, "actor", "temperature", steps=350)
    assert metrics["actor/entropy"] == pytest.approx(-1.0, abs=0.1)
    sigma = np.exp(-1.0) / np.sqrt(2 * np.pi * np.e)  # of a normal of this entropy
    assert metrics["actor/kappa"] == pytest.approx(2 * SLOPE * sigma**2, rel=0.2)


def test_a_target_is_the_lowest_of_a_few_members_drawn_for_every_row():
    learner = toy.agent(toy.shipped("sac", critic={"ensemble": 5}))
    rows, values = 4000, torch.tensor([3.0, 1.0, 4.0, 1.5, 9.0])
    step = Step(learner, toy.window(8), Draws(0, 0))
    lowest = step.lowest(values[:, None].expand(-1, rows), 2)
    pairs = [min(pair) for pair in combinations(values.tolist(), 2)]
    assert lowest.mean() == pytest.approx(np.mean(pairs), abs=4 * np.std(pairs) / np.sqrt(rows))
    assert set(lowest.tolist()) == set(pairs)
    assert (step.lowest(values[:, None].expand(-1, rows), 5) == 1.0).all()


# ------------------------------------------------------------------------------------------- added to a frozen policy


@pytest.mark.parametrize(
    ("base", "best", "alpha", "expected"),
    [
        pytest.param(0.2, 0.25, 0.1, 0.25, id="within reach", marks=pytest.mark.slow),
        pytest.param(0.2, 0.6, 0.1, 0.3, id="out of reach"),
        pytest.param(-0.95, -1.5, 0.3, -1.0, id="cut to the box", marks=pytest.mark.slow),
        pytest.param(1.0, 0.9, 0.3, 0.9, id="back from a bound"),
    ],
)
def test_a_residual_policy_goes_to_the_best_point_that_its_bound_allows(base, best, alpha, expected):
    learner = before_a_bowl(policy("residual", alpha=alpha), best, SLOPE, base)
    assert torch.equal(acted(learner), torch.full((64, toy.CHUNK, toy.ACTION_DIM), base))  # before training
    descended(learner, "residual", steps=150)
    chunk = acted(learner)
    np.testing.assert_allclose(chunk[:, :C], expected, atol=0.01)
    assert (chunk[:, C:] == base).all()  # what is not valued is not corrected


@pytest.mark.slow
def test_an_edit_policy_finds_the_soft_optimum_of_edits_and_the_best_of_all_is_carried_out():
    base, beta = 0.2, 0.5
    learner = before_a_bowl(policy("edit", beta=beta, first_kappa=KAPPA), BEST, SLOPE, base)
    descended(learner, "edit")
    tokens, chunks = torch.ones(500, 1, 96), torch.full((500, 1, C, toy.ACTION_DIM), base)
    uniform = Draws(2, 0).uniform("edit", *chunks.shape)
    edits = learner.extra["edit"].sample_with_log_prob(tokens, chunks, uniform)[0].detach()
    assert edits.mean() == pytest.approx((BEST - base) / beta, abs=0.03)
    assert edits.std() == pytest.approx(SIGMA / beta, rel=0.15)
    distance = (acted(learner)[:, :C] - BEST).square().sum((1, 2))
    assert (distance < C * toy.ACTION_DIM * (BEST - base) ** 2 / 2).all()
    assert ((acted(learner)[:, :C] - base).abs() <= beta + 1e-6).all()


def test_where_no_edit_is_better_the_cloned_chunk_is_carried_out():
    learner = before_a_bowl(policy("edit", beta=0.5), BEST, SLOPE, BEST)
    assert torch.equal(acted(learner), torch.full((64, toy.CHUNK, toy.ACTION_DIM), BEST))


def test_a_noise_policy_climbs_the_critic_of_actions_through_the_flow():
    shift, box = 0.1, 1.5
    learner = before_a_bowl(policy("dsrl", climbs="actions", box=box, first_kappa=KAPPA), BEST, SLOPE, shift)
    descended(learner, "noise")
    mean, std = (x[:, :C] for x in learner.extra["noise"].parameters_of(torch.ones(1, 1, 96)))
    np.testing.assert_allclose(mean.detach(), (BEST - shift) / box, atol=0.03)
    np.testing.assert_allclose(std.detach(), SIGMA / box, rtol=0.15)
    np.testing.assert_allclose(acted(learner)[:, :C].mean(), BEST, atol=0.03)


@pytest.mark.slow
def test_a_noise_policy_climbs_a_critic_of_noise_that_learns_from_that_of_actions():
    learner = before_a_bowl(policy("dsrl", climbs="noise", first_kappa=KAPPA), BEST, SLOPE, 0.1)
    assert acted(learner, 256)[:, :C].mean() == pytest.approx(0.1, abs=0.03)  # where the frozen policy stands
    descended(learner, "noise", "critic_noise", steps=1500)
    assert acted(learner, 256)[:, :C].mean() == pytest.approx(BEST, abs=0.1)  # a learned critic is a little flatter


def test_a_frozen_policy_is_not_trained():
    for name in ("residual", "dsrl"):
        learner = toy.agent(toy.shipped(name))
        before = {key: value.clone() for key, value in learner.state_dict().items()}
        toy.train(learner, 2)
        changed = {key.split(".")[0] for key, value in learner.state_dict().items() if not value.equal(before[key])}
        assert changed == {"critic", "target", "extra"}


def test_the_base_alone_acts_where_a_selection_says_so():
    for name in ("edit", "dsrl"):
        learner = toy.agent(toy.shipped(name))
        plain = toy.agent(toy.policy("bc"))
        plain.load_state_dict({k: v for k, v in learner.state_dict().items() if k in plain.state_dict()}, strict=False)
        own = acted(learner, 5)
        learner.select_by(type(learner.selection)(acting="base"))
        assert torch.equal(acted(learner, 5), acted(plain, 5)) and not torch.equal(own, acted(plain, 5))


@pytest.mark.parametrize(
    "head", ["l1", "bins", *(pytest.param(h, marks=pytest.mark.slow) for h in ("gaussian", "gmm"))]
)
def test_a_residual_policy_begins_as_the_policy_of_any_head(head):
    learner = toy.agent(toy.shipped("residual", action_head={"kind": head, "flow_steps": 10}))
    plain = toy.agent(toy.policy("bc", head))
    plain.load_state_dict({k: v for k, v in learner.state_dict().items() if k in plain.state_dict()})
    assert torch.equal(acted(learner, 5), acted(plain, 5).clamp(-1, 1))
    toy.train(learner, 2, lr=0.03)
    assert not torch.equal(acted(learner, 5), acted(plain, 5))


REFUSED = {
    "a subset of more critics than there are": ("sac", {"critic": {"ensemble": 1}}, "params.subset to at most that"),
    "a shared critic of a frozen policy": ("residual", {"critic": {"topology": "shared"}}, "topology to frozen"),
    "noise of a head without a flow": ("dsrl", {"action_head": {"kind": "gaussian", "flow_steps": 10}}, "kind to flow"),
    "edits of copies": ("edit", {"action_head": {"kind": "l1", "flow_steps": 10}}, "is deterministic: set"),
    "no choice among edits": ("edit", {"selection": {"num_samples": 1}}, "num_samples above 1"),
    "several of the base": ("edit", {"selection": {"acting": "base"}}, "num_samples to 1"),
    "noises that nothing reads": (
        "dsrl",
        {"objective": {"params": {"climbs": "actions", "num_noises": 2}}},
        "remove it",
    ),
}


@pytest.mark.parametrize(("name", "over", "sentence"), REFUSED.values(), ids=REFUSED)
def test_what_does_not_go_together_is_refused_in_a_sentence(name, over, sentence):
    with pytest.raises(UsageError, match=sentence):
        toy.agent(toy.shipped(name, **over))
