import numpy as np
import pytest
import tables
import torch
import toy_agents as toy

from robo_orl.base.rng import Draws
from robo_orl.objectives.qc import QChunking
from robo_orl.objectives.step import Step


def sampler(actions):
    """A `sample_next` that proposes the given actions (B, N)."""
    return lambda num_samples, flow_steps: actions.float()[..., None, None]


def solved(chain: tables.Chain, proposals: list[int]) -> np.ndarray:
    step = tables.TableStep(chain, *tables.tables(chain))
    step.sample_next = sampler(torch.tensor(proposals).expand(step.pairs, -1))
    tables.solve(QChunking(toy.policy("qc")), step, 1500, lr=1.5)
    return step.q_table.detach()[:, :-1].numpy()


def backed_up(chain: tables.Chain, proposals: list[int]) -> np.ndarray:
    """Q of the policy that takes the best of `proposals`, by value iteration."""
    q = np.zeros((chain.states - 1, 2))
    for _ in range(500):
        q = chain.q_of(np.append(q[:, proposals].max(1), 0.0))
    return q


@pytest.mark.parametrize("proposals", [[1], [0], [0, 1]], ids=["sarsa_right", "sarsa_stay", "best_of_both"])
def test_it_converges_to_the_value_of_its_proposals(proposals):
    chain = tables.Chain()
    expected = backed_up(chain, proposals)
    for member in solved(chain, proposals):
        np.testing.assert_allclose(member, expected, atol=2e-3)


def test_the_online_critic_chooses_and_the_target_values():
    chain = tables.Chain()
    q, v = tables.tables(chain, members=1)
    step = tables.TableStep(chain, q, v)
    step.sample_next = sampler(torch.tensor([[0, 1]]).expand(step.pairs, -1))
    with torch.no_grad():
        q[..., 1] = 1.0  # online prefers action 1
        step.slow[..., 0], step.slow[..., 1] = 5.0, 3.0  # the target would prefer action 0
    assert (QChunking(toy.policy("qc")).best_value(step) == 3.0).all()


@pytest.mark.parametrize("aggregate", ["mean", "min"])
def test_the_critic_term_equals_its_equation_in_float64(aggregate):
    learner = toy.agent(toy.policy("qc", critic={"aggregate": aggregate, "ensemble": 3}))
    toy.train(learner, 2)
    window = toy.window(8)
    terms, _ = learner.objective.losses(Step(learner, window, Draws(0, 0)))

    step = Step(learner, window, Draws(0, 0))
    chunks = step.sample_next(4, 4)
    fold = {"mean": np.mean, "min": np.min}[aggregate]
    scores = fold(step.q("next", chunks).value.detach().double().numpy(), axis=0)
    slow = fold(step.q_target("next", chunks).value.detach().double().numpy(), axis=0)
    best = slow[np.arange(8), scores.argmax(-1)]
    y = window.reward.double().numpy() + window.discount.double().numpy() * best
    q = step.q("now").value.detach().double().numpy()
    expected = (window.td_valid.double().numpy() * ((q - y) ** 2).mean(0)).mean()
    assert terms["critic"].item() == pytest.approx(expected, rel=1e-5)


def test_what_a_timeout_cuts_does_not_train_the_critic():
    learner, window = toy.agent(toy.policy("qc")), toy.window(8)
    window.td_valid[:] = False
    terms, _ = learner.objective.losses(Step(learner, window, Draws(0, 0)))
    assert terms["critic"] == 0
    assert terms["actor"] > 0
