import numpy as np
import pytest
import tables
import torch
import toy_agents as toy
from scipy import optimize, stats

from robo_orl.base.rng import Draws
from robo_orl.models.critics import Estimate
from robo_orl.objectives.iql import IQL, expectile_loss, expectile_weight
from robo_orl.objectives.step import Step


def expectile(values: np.ndarray, weights: np.ndarray, tau: float) -> float:
    """The root of E[ |tau - 1(x < m)| (x - m) ], by bisection."""

    def slope(m: float) -> float:
        u = values - m
        return float((weights * np.where(u < 0, 1 - tau, tau) * u).sum())

    return optimize.brentq(slope, values.min() - 1e-9, values.max() + 1e-9)


def fixed_point(chain: tables.Chain, tau: float) -> tuple[np.ndarray, np.ndarray]:
    """V(s) = expectile over the behaviour's actions of Q(s, .), Q = E[r + discount V(s')]; by value iteration."""
    v = np.zeros(chain.states)
    for _ in range(500):
        q = chain.q_of(v)
        behaviour = np.array([1 - chain.right, chain.right])
        v[:-1] = [expectile(row, behaviour, tau) for row in q]
    return q, v


@pytest.mark.parametrize("tau", [0.5, 0.8])
def test_it_converges_to_the_expectile_fixed_point_of_a_chain(tau):
    chain = tables.Chain()
    step = tables.TableStep(chain, *tables.tables(chain))
    tables.solve(IQL(toy.policy("iql", objective={"params": {"expectile": tau}})), step, 1500, lr=1.5)
    q, v = fixed_point(chain, tau)
    np.testing.assert_allclose(step.v_table.detach()[:-1], v[:-1], atol=2e-3)
    np.testing.assert_allclose(step.q_table.detach()[0, :-1], q, atol=2e-3)


def test_expectiles_order_the_values():
    low, high = (fixed_point(tables.Chain(), tau)[1] for tau in (0.5, 0.9))
    assert (high[:-1] > low[:-1]).all()


def test_the_expectile_weight_finds_the_expectile_of_a_sample():
    sample = stats.norm.rvs(size=500, random_state=0)
    expected = stats.expectile(sample, alpha=0.8)
    q, v = torch.from_numpy(sample), torch.tensor(expected)
    assert (expectile_weight(q - v, 0.8) * (q - v)).sum().abs() < 1e-3


def test_the_expectile_loss_is_least_at_the_expectile_of_a_sample():
    sample = torch.from_numpy(stats.norm.rvs(size=500, random_state=0))
    v = torch.tensor([[stats.expectile(sample.numpy(), alpha=0.8)]], requires_grad=True)  # one number, mse
    loss = expectile_loss(Estimate(v.expand(500, 1), None), sample, 0.8)
    u = sample - v.detach().squeeze()
    torch.testing.assert_close(loss.detach(), torch.where(u < 0, 0.2, 0.8) * u.square())
    (slope,) = torch.autograd.grad(loss.mean(), v)
    assert slope.abs() < 1e-5


def test_the_terms_equal_their_equations_in_float64():
    learner = toy.agent(toy.policy("iql", critic={"aggregate": "min"}))
    toy.train(learner, 2)
    window = toy.window(8)
    step = Step(learner, window, Draws(0, 0))
    terms, _ = learner.objective.losses(Step(learner, window, Draws(0, 0)))

    q, v, v_next = (x.detach().double().numpy() for x in (step.q("now").value, *_values(step)))
    q_bar = step.q_target("both").value.detach().double().numpy().min(0)
    now, valid = slice(0, 8), window.td_valid.double().numpy()
    u = q_bar[now] - v
    value = (valid * np.where(u < 0, 0.1, 0.9) * u**2).mean()
    y = window.reward.double().numpy() + window.discount.double().numpy() * v_next
    critic = (valid * ((q - y) ** 2).mean(0)).mean()
    weight = np.minimum(np.exp(10 * (q_bar - np.concatenate((v, v_next)))), 100) * step.valid.double().numpy()
    actor = (weight * Step(learner, window, Draws(0, 0)).policy_loss().detach().double().numpy()).mean()
    for name, expected in {"value": value, "critic": critic, "actor": actor}.items():
        assert terms[name].item() == pytest.approx(expected, rel=1e-5), name


def _values(step: Step) -> tuple[torch.Tensor, torch.Tensor]:
    return step.v("now").value.squeeze(0), step.v("next").value.squeeze(0)


def test_what_a_timeout_cuts_teaches_nothing():
    learner, window = toy.agent(toy.policy("iql")), toy.window(8)
    window.td_valid[:] = False
    window.success[:] = False
    window.next_action_mask[:, -1] = False
    terms, _ = learner.objective.losses(Step(learner, window, Draws(0, 0)))
    assert all(term == 0 for term in terms.values())


def test_a_terminal_has_no_future():
    learner, window = toy.agent(toy.policy("iql")), toy.window(8)
    window.discount[:] = 0.0
    first = learner.objective.losses(Step(learner, window, Draws(0, 0)))[1]["critic/target"]
    assert first.item() == pytest.approx(window.reward.mean().item())


def test_one_step_backups_value_one_action():
    learner, window = toy.agent(toy.policy("iql", n_step=1)), toy.window(8)
    assert learner.valued_actions == 1
    before = learner.value(window.obs, window.actions)
    window.actions[:, 1:] += 0.5
    assert torch.equal(learner.value(window.obs, window.actions), before)
