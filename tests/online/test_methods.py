"""Every method of policies/online/ goes on with a run that it is made for, and takes an update there."""

import math

import pytest
import torch
import toy_run

from robo_orl.config.presets import available
from robo_orl.engine.optimizer import GradientWatch
from robo_orl.online.experience import Experience
from robo_orl.online.features import FrozenTokens
from robo_orl.online.learner import Learner
from robo_orl.online.opening import open_windows
from robo_orl.online.start import initial_agent, resolve_start
from robo_orl.online.team import Team

CAL_QL = {
    "name": "tiny_cal_ql",
    "action_head": {"kind": "gaussian", "flow_steps": 10},
    "objective": {"name": "cal_ql", "params": {"num_actions": 2}},
    "critic": {"topology": "shared", "aggregate": "min"},
}
OF_CAL_QL = ("cal_ql", "wsrl")
FROZEN = ("residual", "dsrl")  # the run's own policy stays as it is
ON_POLICY = ("ppo", "fpo", "reinflow", "reinforce", "grpo")  # tests/online/test_rounds.py
METHODS = sorted(available("policies/online").keys() - ON_POLICY)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("runs")
        patch.setenv("ROBO_ORL_CACHE", str(folder / "cache"))
        for name in ("flow", "cal_ql"):
            (folder / name).mkdir()
        yield {"flow": toy_run.trained(folder / "flow"), "cal_ql": toy_run.trained(folder / "cal_ql", CAL_QL)}


@pytest.mark.parametrize("method", METHODS)
def test_a_method_takes_an_update_on_its_run(runs, tmp_path, method):
    run = runs["cal_ql" if method in OF_CAL_QL else "flow"]
    start = resolve_start(run, method, 0, settings=("policy.optim.batch_size=16",))
    assert start.method == method and start.run.policy.name.endswith(f"_{method}")
    learner = Learner(start.run, initial_agent(start, tmp_path), Team(torch.device("cpu")))
    data = open_windows(resolve_start(run, method, 0, settings=("policy.online.replay.mix=append",)))
    windows = FrozenTokens(learner.agent, learner.device)(data) if start.run.policy.online.trains == "cached" else data
    learner.begin()
    watch = GradientWatch(learner.agent)  # under ZeRO-3 it refuses an objective that leaves a parameter out
    before = {name: tensor.clone() for name, tensor in learner.agent.state_dict().items()}
    of_critic = ("critic.", "critic_backbone.", "target.", "extra.critic")
    if start.run.policy.critic is not None:
        learner.update(Experience(windows, None, "append"), critic_only=True)
        watch.check(1)
        assert all(name.startswith(of_critic) for name in moved(learner, before))
    learner.update(Experience(windows, None, "append"), critic_only=False)
    watch.check(2)
    assert math.isfinite(learner.metrics()["loss"])
    policy = {name.split(".")[0] for name in moved(learner, before) if not name.startswith(of_critic)}
    assert policy == {"extra"} if method in FROZEN else "action_head" in policy


def moved(learner, before):
    return [name for name, tensor in learner.agent.state_dict().items() if not torch.equal(tensor, before[name])]


@pytest.mark.parametrize("method", OF_CAL_QL)
def test_a_pre_trained_critic_is_kept(runs, tmp_path, method):
    from robo_orl.engine.checkpoint import load_agent

    trained = load_agent(runs["cal_ql"])[0].state_dict()
    start = resolve_start(runs["cal_ql"], method, 0)
    state = initial_agent(start, tmp_path).state_dict()
    assert all(torch.equal(state[name], tensor) for name, tensor in trained.items())


def test_rlpd_keeps_nothing_and_has_ten_critics(runs, tmp_path):
    start = resolve_start(runs["flow"], "rlpd", 0)
    assert start.run.policy.critic.ensemble == 10 and start.run.policy.online.reset == "all"
    assert start.run.policy.online.replay.mix == "half"


def test_another_objective_takes_the_place_of_the_runs_with_its_critic(runs):
    policy = resolve_start(runs["cal_ql"], "iql", 0).run.policy
    assert policy.objective.params == {} and policy.critic.aggregate == "min" and policy.selection.num_samples == 1
