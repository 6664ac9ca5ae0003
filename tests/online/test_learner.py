"""The agent that learns online: what moves in which phase, and that cached tokens are what the backbone says."""

import numpy as np
import pytest
import synthetic
import torch
import toy_run
from scripted_scene import TASK
from toy_online import METHOD, start_of

from robo_orl.base.errors import UsageError
from robo_orl.config import PolicyConfig, RunConfig, deep_merge
from robo_orl.engine.checkpoint import CheckpointState, load_agent, save_checkpoint
from robo_orl.engine.train import train
from robo_orl.engine.training_step import OneProcess
from robo_orl.online.experience import Experience
from robo_orl.online.features import FrozenTokens
from robo_orl.online.learner import Learner
from robo_orl.online.opening import open_windows
from robo_orl.online.start import initial_agent
from robo_orl.online.team import Team


def learner_of(cloned, folder, **changes):
    start = start_of(cloned, folder, method=deep_merge(METHOD, changes))
    return Learner(start.run, initial_agent(start, folder), Team(torch.device("cpu"))), open_windows(start)


def moved(learner, before):
    state = learner.agent.state_dict()
    return {name.split(".")[0] for name in before if not torch.equal(before[name], state[name])}


def copied(learner):
    return {name: tensor.clone() for name, tensor in learner.agent.state_dict().items()}


@pytest.mark.parametrize("trains, expected", [("all", {"backbone"}), ("head", set()), ("cached", set())])
def test_what_learns_is_what_the_policy_says(cloned, tmp_path, trains, expected):
    learner, data = learner_of(cloned, tmp_path, online={"trains": trains})
    windows = FrozenTokens(learner.agent, learner.device)(data) if trains == "cached" else data
    before = copied(learner)
    learner.update(Experience(windows, None, "append"), critic_only=True)
    assert moved(learner, before) == {"critic", "target"}
    learner.update(Experience(windows, None, "append"), critic_only=False)
    assert moved(learner, before) == {"critic", "target", "action_head"} | expected


def test_cached_tokens_give_the_update_that_the_frozen_backbone_gives(cloned, tmp_path):
    states = []
    for trains in ("head", "cached"):
        learner, data = learner_of(cloned, tmp_path, online={"trains": trains})
        windows = FrozenTokens(learner.agent, learner.device)(data) if trains == "cached" else data
        for _ in range(3):
            learner.update(Experience(windows, None, "append"), critic_only=False)
        states.append(learner.agent.state_dict())
    for name, tensor in states[0].items():
        torch.testing.assert_close(states[1][name], tensor, rtol=1e-3, atol=1e-5, msg=name)


def test_cached_tokens_are_those_of_the_sentence_that_a_pair_is_told(tmp_path):
    """A task whose instruction has paraphrases, which training draws from."""
    task = TASK.model_copy(update={"instruction": "lift the red cube"})
    data = synthetic.write(tmp_path / "told.hdf5", [toy_run.episode(i) for i in range(6)], task=task)
    policy = PolicyConfig.model_validate(deep_merge(toy_run.FLOW, {"observation": {"instruction": True}}))
    train(RunConfig(policy=policy, task=task, data=str(data), tracker="none"), tmp_path / "run", progress=False)
    learner, plain = learner_of(tmp_path / "run", tmp_path)
    assert plain.sentences == 3 and len(np.unique(plain.draw_sentences(0, 0, 32))) == 3
    kept = FrozenTokens(learner.agent, learner.device)(plain).batch(0, 0, 0, 1, 64).obs.features
    backbone, normaliser = learner.agent.backbone, learner.agent.normaliser
    torch.testing.assert_close(kept, backbone(normaliser.observation(plain.batch(0, 0, 0, 1, 64).obs)))


class StepsAll(OneProcess):
    """As ZeRO does: what has no gradient is stepped with one of zero."""

    def clip_grad_norm_(self, parameters, max_norm):
        parameters = list(parameters)
        norm = super().clip_grad_norm_(parameters, max_norm)
        for parameter in parameters:
            parameter.grad = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        return norm


class Divided(Team):
    """A team whose engine is StepsAll."""

    def prepare(self, run, agent, optimizer):
        self.accelerator = StepsAll(self.device)
        return agent, optimizer


def test_a_step_of_what_does_not_learn_is_no_step(cloned, tmp_path):
    """The critic's updates come first, and the policy is as if they had not been made: weights, moments, counts."""
    states = []
    for team in (Team, Divided):
        learner, data = learner_of(cloned, tmp_path)
        learner.team = team(torch.device("cpu"))
        windows = Experience(FrozenTokens(learner.agent, learner.device)(data), None, "append")
        for update in range(5):
            learner.update(windows, critic_only=update < 3)
        states.append((learner.agent.state_dict(), learner.optimizer.state_dict()["state"]))
    (weights, moments), (same, of_same) = states
    assert all(torch.equal(tensor, same[name]) for name, tensor in weights.items())
    assert moments.keys() == of_same.keys()
    assert all(torch.equal(tensor, of_same[i][name]) for i, one in moments.items() for name, tensor in one.items())
    assert {int(one["step"]) for one in moments.values()} == {2, 5}


@pytest.mark.parametrize("critic_only", [2, 3])
def test_a_learner_goes_on_bit_for_bit(cloned, tmp_path, critic_only):
    """critic_only: of 3 updates before the checkpoint; the policy's moments then begin after it."""
    learner, data = learner_of(cloned, tmp_path)
    windows = Experience(FrozenTokens(learner.agent, learner.device)(data), None, "append")
    for update in range(3):
        learner.update(windows, critic_only=update < critic_only)
    save_checkpoint(tmp_path, learner.agent, learner.optimizer, CheckpointState(step=3, run="me"))
    other, _ = learner_of(cloned, tmp_path)
    other.resume(tmp_path / "checkpoints/step_00000003", "me", critic_only)
    for one in (learner, other):
        for _ in range(2):
            one.update(windows, critic_only=False)
    ours = other.agent.state_dict()
    assert all(torch.equal(tensor, ours[name]) for name, tensor in learner.agent.state_dict().items())


def test_reset_says_which_weights_of_the_run_are_kept(cloned, tmp_path):
    trained = load_agent(cloned)[0].state_dict()
    kept = {}
    for reset in ("none", "all"):
        learner, _ = learner_of(cloned, tmp_path, online={"reset": reset})
        state = learner.agent.state_dict()
        kept[reset] = {n.split(".")[0] for n in trained if torch.equal(state[n], trained[n])}
    assert kept["none"] >= {"backbone", "action_head", "normaliser"}
    assert kept["all"] == {"normaliser"}


def test_a_critic_is_kept_or_begins_anew(cloned, tmp_path):
    """A run that went online has a critic; what follows may reset it."""
    from toy_online import go

    go(start_of(cloned, tmp_path), tmp_path / "first", steps=120)
    trained = load_agent(tmp_path / "first")[0].state_dict()
    for reset, same in (("none", True), ("critic", False)):
        start = start_of(tmp_path / "first", tmp_path, method=deep_merge(METHOD, {"online": {"reset": reset}}))
        state = initial_agent(start, tmp_path).state_dict()
        critic = [n for n in trained if n.startswith(("critic.", "target.")) and trained[n].dim() > 1]
        assert all(torch.equal(state[n], trained[n]) for n in critic) == same
        assert torch.equal(state["action_head.expert.out.weight"], trained["action_head.expert.out.weight"])


@pytest.mark.parametrize(
    "changes, sentence",
    [
        ({"critic": {"topology": "separate"}}, "online.trains 'cached' keeps the backbone"),
        ({"optim": {"schedule": "cosine"}}, "set optim.schedule to constant"),
        ({"online": {"warm_up": {"steps": 0}, "replay": {"mix": "online"}}}, "need warm_up.steps to learn from"),
        ({"online": {"warm_up": {"steps": 0, "selection": {"acting": "base"}}}}, "set warm_up.steps"),
        ({"online": {"trians": "all"}}, "Did you mean 'trains'"),
        ({"online": {"evaluation": {"points": [100, 200]}}}, "begin with 0, the switch"),
    ],
)
def test_what_does_not_go_together_is_refused(cloned, tmp_path, changes, sentence):
    with pytest.raises(UsageError, match=sentence):
        learner_of(cloned, tmp_path, **changes)


def test_an_unknown_method_is_refused_with_those_there_are(cloned):
    from robo_orl.online.start import resolve_start

    with pytest.raises(UsageError, match="Unknown online method 'qcc'. Did you mean 'qc'"):
        resolve_start(cloned, "qcc", 0)
    with pytest.raises(UsageError, match="does not say how it learns online: give --method"):
        resolve_start(cloned, None, 0)
