"""What of a chunk is executed, what is noted of an episode, and what an evaluation queries of the run."""

import numpy as np
import pytest
import torch
from scripted_scene import TimeStep

from robo_orl.evaluate.policy import ACTION_GRID, AgentPolicy, EpisodeDraws
from robo_orl.rollout.episodes import PolicyQuery
from robo_orl.rollout.simulator import Rollout


class Sayer(torch.nn.Module):
    """An agent that says the same chunk (h, A) in every episode."""

    def __init__(self, chunk):
        super().__init__()
        self.chunk = torch.nn.Parameter(torch.tensor(chunk))

    def act(self, obs, draws):
        return self.chunk.detach().expand(len(obs), -1, -1)


CHUNK = [[0.25, -0.5], [0.5, 0.75], [-1.0, 1.0], [0.125, 0.0]]


def answer(agent, execute, episodes=3):
    ask = {"position": np.zeros(1, np.float32)}
    return AgentPolicy(agent, execute, seed=0)([PolicyQuery(e, 0, ask) for e in range(episodes)])


@pytest.mark.parametrize("execute", [1, 2, 4])
def test_the_first_actions_of_a_chunk_are_executed_and_no_more_than_the_policy_says(execute):
    found = answer(Sayer(CHUNK), execute)
    assert found.shape == (3, execute, 2)
    np.testing.assert_array_equal(found, [CHUNK[:execute]] * 3)


def test_an_action_is_sent_on_a_grid_and_within_the_box():
    found = answer(Sayer([[0.3, 1.7], [-2.0, -0.1]]), 2, episodes=1)[0]
    np.testing.assert_allclose(found, [[0.3, 1.0], [-1.0, -0.1]], atol=ACTION_GRID / 2)
    np.testing.assert_array_equal(found / ACTION_GRID, np.round(found / ACTION_GRID))


@pytest.mark.parametrize("kind", ["normal", "uniform"])
def test_draws_are_new_in_every_decision_episode_stream_and_seed_and_do_not_depend_on_the_neighbours(kind):
    def drawn(seed, queries, stream):
        draws = EpisodeDraws(seed, [PolicyQuery(*query, {}) for query in queries], "cpu", torch.float64)
        return getattr(draws, kind)(stream, len(queries), 2).tolist()

    first = drawn(0, [(0, 0)], "noise")[0]
    others = [drawn(0, [(0, 1)], "noise"), drawn(0, [(1, 0)], "noise"), drawn(0, [(0, 0)], "other")]
    others += [drawn(1, [(0, 0)], "noise")]
    numbers = [number for row in [first, *(other[0] for other in others)] for number in row]
    assert len(set(numbers)) == 10, "not one number twice"
    assert drawn(0, [(1, 0), (0, 0), (0, 1)], "noise") == [others[1][0], first, others[0][0]]


class Undone:
    """Both stages are reached with the second action, the last one is lost with the fourth, and time is up."""

    def __init__(self):
        self.taken = 0

    def step(self, action):
        self.taken += 1
        stages = np.array([self.taken >= 2, self.taken in (2, 3)])
        return TimeStep({"position": np.zeros(1, np.float32)}, float(self.taken), False, self.taken == 4, stages)


def test_a_success_that_is_lost_again_is_one_once_and_none_at_the_end():
    rollout = Rollout(Undone(), gamma=0.5, stage_steps=[None, None])
    assert rollout.advance(np.zeros((3, 1)))[1] is None
    _, outcome = rollout.advance(np.zeros((3, 1)))  # the episode ends within
    assert (outcome.success_once, outcome.success_at_end) == (True, False)
    assert outcome.stage_steps == [2, 2] and outcome.length == 4
    assert outcome.discounted_return == 1 + 2 / 2 + 3 / 4 + 4 / 8


@pytest.mark.parametrize("execute", [1, 3])
def test_an_evaluation_executes_as_many_actions_as_its_policy(execute, monkeypatch, tmp_path):
    """From the policy file of the run to the actor, whatever the chunk."""
    from robo_orl.config import PolicyConfig, RunConfig
    from robo_orl.evaluate import success as module

    policy = PolicyConfig.model_validate({"name": "p", "action_head": {"chunk": 4, "execute": execute}})
    task = module.TaskConfig(name="line", env="line", stages=["half", "goal"], max_seconds=2.0)
    (tmp_path / "step_00000001").mkdir()
    (tmp_path / "step_00000001" / module.AGENT).write_text("weights")
    agent, asked = Sayer(CHUNK), {}
    agent.select_by = lambda selection: asked.update(selection=selection)
    monkeypatch.setattr(module, "load_agent", lambda *_: (agent, RunConfig(policy=policy, task=task, data="d")))
    monkeypatch.setattr(module, "checkpoints", lambda folder: [tmp_path / "step_00000001"])
    monkeypatch.setattr(module, "read_spec", lambda folder: type("Spec", (), {"render": None, "obs": {"position": 1}}))
    monkeypatch.setattr(module, "roll_out", lambda *told: asked.update(told=told))
    overrides = ["selection.num_samples=3", "selection.untrained_critic=true"]
    module.evaluate(tmp_path, 5, workers=2, seed=7, loop="fast", overrides=overrides, progress=False)
    request, actor, scene, obs, episodes, workers, *_ = asked["told"]
    assert (actor.execute, actor.seed, actor.agent) == (execute, 7, agent)
    assert (scene.loop, scene.bank, scene.task) == ("fast", "test", task)
    assert (request.seed, request.step, request.policy.selection.num_samples) == (7, 1, 3)
    assert asked["selection"].num_samples == 3 and asked["selection"].untrained_critic
    assert (obs, episodes, workers) == ({"position": 1}, 5, 2)


def test_whatever_decides_an_episode_decides_whether_it_is_kept():
    """Rows of one request are never taken for another's: each difference changes the digest that they are kept by."""
    from dataclasses import replace

    from scripted_scene import TASK

    from robo_orl.config import PolicyConfig
    from robo_orl.evaluate.scores import EvaluationPlan
    from robo_orl.rollout.simulator import SimulatorInfo

    policy = PolicyConfig.model_validate({"name": "p"})
    sampled = PolicyConfig.model_validate({"name": "p", "optim": {"policy_ema": 0.9}})
    request = EvaluationPlan(policy, TASK, "a" * 64, 10, 0)
    info = SimulatorInfo(40, "b" * 64, {"position": 1}, 1, ["half", "goal"], "exact")
    digests = [
        request.digest(info),
        replace(request, policy=sampled).digest(info),
        replace(request, task=TASK.model_copy(update={"max_seconds": 3.0})).digest(info),
        replace(request, checkpoint_sha256="c" * 64).digest(info),
        replace(request, seed=1).digest(info),
        replace(request, sentences=("lift it",)).digest(info),
        request.digest(replace(info, starts_sha256="d" * 64)),
        request.digest(replace(info, loop="fast")),
        request.digest(replace(info, render={"look": "full", "reference_sha256": "e" * 64})),
        request.digest(replace(info, render={"look": "plain", "reference_sha256": "e" * 64})),
        request.digest(replace(info, render={"look": "full", "reference_sha256": "f" * 64})),
    ]
    assert len(set(digests)) == len(digests)
    assert EvaluationPlan(policy, TASK, "a" * 64, 10, 0).digest(info) == digests[0]
