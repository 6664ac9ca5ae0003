"""Starts crossed with methods: each kind goes on by every off-policy method, or is refused in one sentence."""

import math

import pytest
import torch
import toy_run
from toy_online import METHOD, go, start_of

from robo_orl.base.errors import UsageError
from robo_orl.config import deep_merge
from robo_orl.config.presets import available, load_policy
from robo_orl.online.experience import Experience
from robo_orl.online.features import FrozenTokens
from robo_orl.online.learner import Learner
from robo_orl.online.opening import open_windows
from robo_orl.online.start import initial_agent, resolve_start
from robo_orl.online.team import Team

ON_POLICY = {"ppo", "fpo", "reinflow", "reinforce", "grpo"}  # tests/online/test_rounds.py
METHODS = sorted(available("policies/online").keys() - ON_POLICY)
HEADS = {"l1": "l1", "gaussian": "gaussian", "flow": "flow", "recap": "flow", "iql": "flow", "qc": "flow"}
SAMPLES = "samples actions, and the action head 'l1' is deterministic"
DENSITY = "needs the density of a reparametrised sample"
REFUSED = {
    **{("l1", name): SAMPLES for name in ("qc", "qc_cold", "qc_data", "cal_ql", "wsrl", "edit", "gail", "dac", "dril")},
    **{(start, "dsrl"): "chooses the noise that a flow starts from" for start in ("l1", "gaussian")},
    **{(start, "fql"): "is learned from a flow" for start in ("l1", "gaussian")},
    **{(start, name): DENSITY for start in ("flow", "recap", "iql", "qc") for name in ("cal_ql", "wsrl")},
}


@pytest.fixture(scope="module")
def starts(tmp_path_factory):
    """A run of each kind, as its shipped policy has it but small."""
    with pytest.MonkeyPatch.context() as patch:
        runs = {}
        for name, head in HEADS.items():
            folder = tmp_path_factory.mktemp(name)
            patch.setenv("ROBO_ORL_CACHE", str(folder / "cache"))
            small = {"kind": head} if head == "flow" else {"kind": head, "flow_steps": 10}
            policy = {"name": f"tiny_{name}", "action_head": small}
            if name not in ("l1", "gaussian", "flow"):
                whole = load_policy(name).model_dump(mode="json")
                policy |= {part: whole[part] for part in ("objective", "critic", "selection", "n_step")}
            runs[name] = toy_run.trained(folder, policy)
        yield runs


def updated(run, method, out):
    """The policy of a method on a run after an update of the critic alone and one of everything."""
    start = resolve_start(run, method, 0, settings=("policy.optim.batch_size=16",))
    learner = Learner(start.run, initial_agent(start, out), Team(torch.device("cpu")))
    windows = open_windows(resolve_start(run, method, 0, settings=("policy.online.replay.mix=append",)))
    if start.run.policy.online.trains == "cached":
        windows = FrozenTokens(learner.agent, learner.device)(windows)
    for critic_only in (True, False) if start.run.policy.critic is not None else (False,):
        learner.update(Experience(windows, None, "append"), critic_only)
    assert math.isfinite(learner.metrics()["loss"])
    return start.run.policy


@pytest.mark.parametrize("kind", HEADS)
def test_a_start_goes_on_by_every_method_or_is_refused_in_one_sentence(starts, tmp_path, kind):
    for method in METHODS:
        if (kind, method) not in REFUSED:
            policy = updated(starts[kind], method, tmp_path)
            assert policy.action_head.kind == ("gaussian" if method == "rlpd" else HEADS[kind]), method
            continue
        with pytest.raises(UsageError) as error:
            updated(starts[kind], method, tmp_path)
        sentence = str(error.value)
        assert REFUSED[kind, method] in sentence and "set action_head.kind to" in sentence
        assert "\n" not in sentence and sentence.endswith(".") and sentence.count(". ") == 0


@pytest.mark.slow
@pytest.mark.parametrize("kind", HEADS)
@pytest.mark.parametrize("method", ["bc_continue", "iql", "residual", "rlpd"])
def test_every_start_collects_and_learns_by_the_methods_that_all_can_take(starts, tmp_path, kind, method):
    small = ("policy.optim.batch_size=16", "policy.online.updates=0.1", "policy.online.warm_up.steps=0")
    small += ("policy.online.warm_up.critic_updates=0", "policy.online.warm_up.selection=null")
    small += ("policy.online.collection.episodes=2", "policy.online.evaluation.episodes=2")
    small += ("policy.online.evaluation.points=[0]",)
    start = resolve_start(starts[kind], method, 3, settings=small)
    account = go(start, tmp_path / "out", steps=120)
    assert account["env_steps"] >= 120 and account["updates"] > 0 and len(account["points"]) == 2
    assert account["points"][0]["updates"] == 0


@pytest.mark.slow
@pytest.mark.parametrize("kind", [kind for kind in HEADS if kind != "l1"])
def test_every_start_that_samples_collects_and_learns_by_q_chunking(starts, tmp_path, kind):
    method = deep_merge(METHOD, {"online": {"warm_up": {"steps": 0, "critic_updates": 2}}})
    method |= {"objective": {"name": "qc", "params": {"num_samples": 2}}}  # a Gaussian head integrates no flow
    account = go(start_of(starts[kind], tmp_path, method=method), tmp_path / "out", steps=120)
    assert account["critic_only_updates"] == 2 and account["updates"] > 2
