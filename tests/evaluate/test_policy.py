"""A policy as a Python object acts as the evaluation does, and refuses observations that it was not trained on."""

import numpy as np
import pytest
import toy_run

import robo_orl
from robo_orl.base.errors import UsageError
from robo_orl.engine.checkpoint import load_agent
from robo_orl.evaluate.policy import AgentPolicy
from robo_orl.rollout.episodes import PolicyQuery

OBSERVATION = {"position": np.array([0.25]), "nobody_reads_this": np.zeros((2, 2))}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("trained")
        patch.setenv("ROBO_ORL_CACHE", str(folder / "cache"))
        return toy_run.trained(folder)


def test_its_chunks_are_those_of_the_evaluation_decision_by_decision(run):
    policy = robo_orl.load_policy(run, seed=3)
    agent, config = load_agent(run)
    actor = AgentPolicy(agent, config.policy.action_head.chunk, seed=3)
    for episode in (0, 1):
        policy.reset(episode)
        for decision in range(3):
            expected = actor([PolicyQuery(episode, decision, {"position": np.array([0.25], dtype=np.float32)})])[0]
            np.testing.assert_array_equal(policy.act(OBSERVATION), expected)


def test_it_says_what_it_reads_and_what_to_execute(run):
    policy = robo_orl.load_policy(str(run))
    assert policy.low_dim == {"position": 1} and policy.cameras == {}
    assert policy.act(OBSERVATION).shape == (4, 1) and policy.execute == 2


def test_reset_begins_the_next_episode_with_draws_of_its_own(run):
    policy = robo_orl.load_policy(run)
    first = policy.act(OBSERVATION)
    policy.reset()
    assert not np.array_equal(policy.act(OBSERVATION), first)
    policy.reset(0)
    np.testing.assert_array_equal(policy.act(OBSERVATION), first)


@pytest.mark.parametrize(
    ("observation", "message"), [({}, "has no 'position'"), ({"position": np.zeros(2)}, r"shape \(2,\).*\(1,\)")]
)
def test_a_missing_key_and_another_size_are_refused_by_name(run, observation, message):
    with pytest.raises(UsageError, match=message):
        robo_orl.load_policy(run).act(observation)


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(UsageError, match="no trained run"):
        robo_orl.load_policy(tmp_path)
