"""Acting by a recording: the same actions as without, for every number of observations and every selection.

A CPU has no CUDA graph: the twin runs again what was recorded, on the memory that was recorded.
"""

import numpy as np
import pytest
import torch

from robo_orl.agent.agent import build_agent
from robo_orl.config import PolicyConfig, SelectionConfig, deep_merge
from robo_orl.config.presets import preset_values
from robo_orl.evaluate.policy import AgentPolicy, EpisodeDraws
from robo_orl.evaluate.recorded_acting import MOST, RecordedActing, records_acting
from robo_orl.rollout.episodes import PolicyQuery

SPEC = {"a": 3, "b": 5}
BEST_OF_2 = SelectionConfig(num_samples=2)


def agent_of(name, **optim):
    values = deep_merge(preset_values("policies", name), {"optim": optim})
    return build_agent(PolicyConfig.model_validate(values), SPEC, 7, 0.9, None, 0)


def queries(decision, episodes):
    numbers = np.random.default_rng(decision)
    obs = {key: numbers.normal(size=size).astype(np.float32) for key, size in SPEC.items()}
    return [PolicyQuery(episode, decision, obs) for episode in range(episodes)]


def recorded(actor):
    """The actor with a recording in the place of its act, and the bodies that were recorded."""
    bodies = []

    def twin(body):
        bodies.append(body)
        kept = body()

        def replay():
            for name, value in body().items():
                kept[name].copy_(value)
            return kept

        return replay

    actor.act = RecordedActing(actor.agent, twin)
    return bodies


@pytest.mark.parametrize("name", ["qc", "bc"])
def test_recorded_actions_are_those_of_the_usual_act(name):
    agent = agent_of(name)
    usual, ours = AgentPolicy(agent, 2, seed=5), AgentPolicy(agent, 2, seed=5)
    bodies, decisions = recorded(ours), range(3)
    for selection in (SelectionConfig(), BEST_OF_2) if name == "qc" else (SelectionConfig(),):
        agent.select_by(selection)
        for decision in decisions:
            for episodes in (1, 3):
                ask = queries(decision, episodes)
                np.testing.assert_array_equal(ours(ask), usual(ask))
    assert len(bodies) == (4 if name == "qc" else 2)  # per selection and number of episodes


def test_earlier_actions_stay_and_weights_that_change_in_place_are_read():
    agent = agent_of("qc")
    actor = AgentPolicy(agent, 2, seed=5)
    bodies = recorded(actor)
    results = [
        actor.act(actor.observation(ask), EpisodeDraws(5, ask, "cpu", torch.float64)) for ask in [queries(0, 1)] * 3
    ]
    before = [one.clone() for one in results]
    with torch.no_grad():
        for parameter in agent.parameters():
            parameter.mul_(1.5)
    changed = actor(queries(0, 1))
    assert all(map(torch.equal, results, before)) and len(bodies) == 1
    assert not np.array_equal(changed, actor.sent(before[-1]))
    np.testing.assert_array_equal(changed, AgentPolicy(agent, 2, seed=5)(queries(0, 1)))


def test_noise_of_the_processor_and_ever_new_shapes_are_not_recorded():
    agent = agent_of("qc")
    actor = AgentPolicy(agent, 2, seed=5)
    bodies = recorded(actor)
    agent.select_by(SelectionConfig(noise_seed=1))
    for _ in range(3):
        actor(queries(0, 1))
    assert not bodies
    agent.select_by(SelectionConfig())
    actor.act.recordings = dict.fromkeys(range(MOST - 1))  # as many shapes as there may be, but one
    for episodes in (1, 2, 1, 2):
        actor(queries(0, episodes))
    assert len(bodies) == 1


def test_acting_is_recorded_on_a_gpu_where_the_policy_wants_it():
    gpu, cpu = torch.device("cuda"), torch.device("cpu")
    assert records_acting(agent_of("bc", capture="on"), gpu)
    assert not records_acting(agent_of("bc"), gpu)
    assert not records_acting(agent_of("bc", capture="on"), cpu)
