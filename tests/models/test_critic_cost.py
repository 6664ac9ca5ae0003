"""A critic on paired windows costs its head and nothing else: counted, so that no machine's mood enters."""

import pytest
import toy_agents as toy

from robo_orl.agent.agent import build_agent
from robo_orl.base.rng import Draws
from robo_orl.cost.flops import count_flops

SIZE = {"backbone": {"size": "m"}}
SPEC = {**toy.SPEC, "robot0_eef_quat": 4}  # as many tokens as the tasks have


def flops(config) -> int:
    learner = build_agent(config, SPEC, toy.ACTION_DIM, gamma=0.9, statistics=None, seed=0)
    window = toy.window(2)
    for obs in (window.obs, window.next_obs):
        obs.low_dim["robot0_eef_quat"] = obs.low_dim["robot0_eef_pos"].repeat(1, 2)[:, :4]
    return count_flops(lambda: learner(window, Draws(0, 0))[0].backward())


@pytest.fixture(scope="module")
def cloning() -> int:
    return flops(toy.policy("bc", **SIZE))


@pytest.mark.parametrize("topology", ["shared", "shared_detached"])
@pytest.mark.parametrize("objective", ["iql", "qc"])
def test_at_size_m_a_shared_critic_costs_at_most_5_percent(objective, topology, cloning):
    assert flops(toy.policy(objective, topology=topology, **SIZE)) < 1.05 * cloning


def test_a_critic_with_a_backbone_of_its_own_costs_two_thirds_more(cloning):
    assert flops(toy.policy("iql", topology="separate", **SIZE)) / cloning == pytest.approx(1 + 2 / 3, abs=0.05)
