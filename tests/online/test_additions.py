"""Methods that add to the run's policy go through the loop like any other: the same for any number of simulators and
after any kill, and their warm-up acts by the run's own policy."""

import json
import signal

import numpy as np
import pytest
from scripted_scene import LineScene
from toy_online import METHOD, go, killed, learned, start_of

from robo_orl.base.seeds import derive_seed
from robo_orl.config import deep_merge
from robo_orl.engine.checkpoint import load_agent
from robo_orl.evaluate.policy import AgentPolicy
from robo_orl.rollout.episodes import Fresh, Rollouts

CRITIC = {"topology": "frozen", "ensemble": 3}
METHODS = {
    "residual": {"critic": CRITIC, "selection": {"num_samples": 1}},
    "edit": {
        "critic": CRITIC | {"topology": "shared_detached"},
        "online": {"warm_up": {"selection": {"acting": "base"}}},
    },
    "dsrl": {
        "critic": CRITIC,
        "selection": {"num_samples": 1},
        "online": {"warm_up": {"selection": {"acting": "base"}}},
    },
}


def method(name):
    return deep_merge(METHOD | {"objective": {"name": name}}, METHODS[name])


@pytest.mark.parametrize(
    "name", ["dsrl", pytest.param("edit", marks=pytest.mark.slow), pytest.param("residual", marks=pytest.mark.slow)]
)
def test_the_warm_up_acts_by_the_runs_own_policy_bit_for_bit(cloned, tmp_path, name):
    go(start_of(cloned, tmp_path, method=method(name)), tmp_path / "out", steps=60)
    lines = [json.loads(line) for line in (tmp_path / "out/replay/episodes.jsonl").read_text().splitlines()]
    agent, run = load_agent(cloned)
    policy = AgentPolicy(agent, run.policy.action_head.execute, derive_seed(3, "collect"))
    with Rollouts(LineScene(tmp_path), policy, workers=1) as rollouts:
        played = {f.episode: f for f in rollouts.run([Fresh(line["episode"], line["start_seed"]) for line in lines])}
    actions = np.concatenate([played[line["episode"]].trajectory.actions for line in lines])
    assert len(lines) >= 2 and np.array_equal(np.load(tmp_path / "out/replay/actions.npy"), actions)


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_neither_simulators_nor_a_kill_change_anything(cloned, tmp_path, name):
    for folder in ("whole", "killed"):
        (tmp_path / folder).mkdir()
    start = start_of(cloned, tmp_path, method=method(name))
    go(start, tmp_path / "whole/out", steps=300)
    out = tmp_path / "killed/out"
    assert killed(cloned, tmp_path, out, "update", 5, 300, method(name)) == -signal.SIGKILL
    go(start_of(cloned, tmp_path, method=method(name)), out, steps=300, workers=2)
    assert learned(out) == learned(tmp_path / "whole/out")
    agent = load_agent(tmp_path / "whole/out")[0]
    trained, own = agent.state_dict(), load_agent(cloned)[0].state_dict()
    changed = {key.split(".")[0] for key in own if not own[key].equal(trained[key])}
    assert changed == (set() if name != "edit" else {"action_head"})
