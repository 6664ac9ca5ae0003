"""A critic is compared with what its own policy gets from stored states, and with what the data got from there."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import recorded_line
import torch
import toy_run
from scripted_scene import TASK

from robo_orl.base.errors import RunError, UsageError
from robo_orl.cli.app import main
from robo_orl.config import PolicyConfig, RunConfig, deep_merge
from robo_orl.data.recording import open_recordings, read_recording
from robo_orl.engine.train import train
from robo_orl.evaluate import own_policy_value as module
from robo_orl.evaluate.own_policy_value import own_policy_value
from robo_orl.evaluate.stored_states import Instant, ReplayedEnv
from robo_orl.evaluate.value_error import value_error
from robo_orl.results.record import OwnPolicyValues

sys.path.append(str(Path(__file__).parents[1] / "data"))
import synthetic  # noqa: E402

GAMMA, CHUNK, LIMIT = 0.9, 4, 40


def recorded(index):
    """Operators begin at -index / 8. Even ones hurry to the goal, odd ones are slow and walk off, the last runs into
    the time limit."""
    speed, most = (1.0, LIMIT) if index % 2 == 0 else (0.25, 14) if index < 5 else (0.05, LIMIT)
    position, positions, reached = -index / 8, [], []
    while len(positions) < most and position < 1:
        positions.append(position)
        position += speed / 8
        reached.append([position >= 0.5, position >= 1.0])
    count, success = len(positions), position >= 1
    seen = np.array([*positions, position], np.float32)[:, None]
    ends = np.zeros(count, np.float32)
    ends[-1] = success
    return synthetic.episode(
        count, bool(success), index, obs={"position": seen[:-1]}, next_obs={"position": seen[1:]}, rewards=ends,
        dones=ends.astype(np.uint8), actions=np.full((count, 1), speed, np.float32), stages=np.array(reached, np.uint8),
        start_entry={"position": np.array([positions[0]])},
    )  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """(run, data) of an IQL that was hardly trained."""
    folder = tmp_path_factory.mktemp("own")
    data = synthetic.write(folder / "line.hdf5", [recorded(i) for i in range(6)], task=TASK)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ROBO_ORL_CACHE", str(folder / "cache"))
        config = deep_merge(deep_merge(toy_run.FLOW, toy_run.IQL), {"gamma": {"fixed": GAMMA}})
        policy = PolicyConfig.model_validate(config)
        train(RunConfig(policy=policy, task=TASK, data=str(data), tracker="none"), folder / "run", progress=False)
    return folder / "run", data


@pytest.fixture
def run(made, tmp_path, monkeypatch):
    """The run, on a scene without a simulator."""
    monkeypatch.setenv("ROBO_ORL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(module, "StoredInstantsSpec", recorded_line.StoredLineSpec)
    return made[0]


@pytest.fixture
def hurrying(run, monkeypatch):
    """`own_policy_value` of the run, whose policy always moves by the most and whose critic says `value`."""

    def measure(value=0.0, **arguments):
        agent, config = module.load_agent(run)
        agent.value = lambda obs, actions: torch.full((len(actions),), float(value))
        agent.act = lambda obs, draws: torch.ones(len(obs.low_dim["position"]), CHUNK, 1, dtype=torch.float64)
        monkeypatch.setattr(module, "load_agent", lambda folder: (agent, config))
        return own_policy_value(run, **arguments)

    return measure


def returns():
    """[(data return, own return)] of every frame that CHUNK more actions follow."""
    found = []
    for episode in map(recorded, range(6)):
        positions = [float(p) for p in episode.obs["position"][:, 0]]
        for frame in range(len(positions) - CHUNK):
            left = int(np.ceil(8 * (1 - positions[frame + CHUNK]) - 1e-6))  # decisions of the hurrying policy
            in_time = frame + CHUNK + left <= LIMIT
            data = GAMMA ** (len(positions) - 1 - frame) if episode.success else 0.0
            found.append((data, GAMMA ** (CHUNK + left - 1) * in_time))
    return np.array(found)


def test_the_return_is_that_of_the_datas_chunk_and_then_of_the_own_policy(hurrying):
    expected, found = returns(), hurrying(states=1000)
    assert (found.states, found.rollouts, found.actions) == (len(expected), 1, CHUNK)
    assert found.own.bias == pytest.approx(-expected[:, 1].mean(), abs=1e-6)
    assert found.data.bias == pytest.approx(-expected[:, 0].mean(), abs=1e-6)
    assert found.gain[0] == pytest.approx((expected[:, 1] - expected[:, 0]).mean(), abs=1e-6)
    assert found.gain[1] > 0, "the policy gets more than operators who walk off"
    assert found.successes == (expected[:, 1] > 0).sum() < len(expected), "the time limit goes on counting"


def test_a_critic_of_the_better_policy_lies_above_the_data_and_not_above_the_policy(hurrying):
    own = returns()[:, 1].mean()
    found = hurrying(value=own, states=1000)
    assert found.own.bias == pytest.approx(0, abs=1e-6) and found.data.bias > 0.1
    assert found.data.bias - found.own.bias == pytest.approx(found.gain[0])


def test_several_rollouts_of_a_state_are_averaged(hurrying):
    once, twice = hurrying(states=6), hurrying(states=6, rollouts=2)
    assert (once.states, twice.states, twice.rollouts) == (6, 6, 2)
    assert twice.successes == 2 * once.successes and twice.own.bias == pytest.approx(once.own.bias)


def test_the_real_agent_is_measured_and_written_as_json(run):
    found = own_policy_value(run, states=5)
    values = json.loads(json.dumps(found.to_json()))
    assert values["own"]["n"] == values["data"]["n"] == 5 and values["gain"][1] <= values["gain"][0]
    stored = OwnPolicyValues.model_validate({name: values[name] for name in OwnPolicyValues.model_fields})
    assert stored.data.bias - stored.own.bias == pytest.approx(stored.gain[0]), "what a record holds is held to itself"


def test_the_policy_is_rolled_out_by_the_selection_that_is_asked_for(run, monkeypatch):
    """Decoded from zero noise, a flow is the same whatever the seed of its draws."""
    used = []
    played = module._played
    monkeypatch.setattr(module, "_played", lambda agent, *rest: used.append(agent.selection) or played(agent, *rest))
    calm = [own_policy_value(run, states=5, seed=seed, overrides=["selection.noise_scale=0"]) for seed in (0, 1)]
    assert calm[0] == calm[1] and [selection.noise_scale for selection in used] == [0.0, 0.0]
    own_policy_value(run, states=5)
    assert used[-1].noise_scale == 1.0
    with pytest.raises(UsageError, match="Unknown setting for an evaluation 'optim.lr'"):
        own_policy_value(run, states=5, overrides=["optim.lr=1"])


def test_what_cannot_be_rolled_out_is_refused(made, run, tmp_path, monkeypatch):
    data = made[1]
    with pytest.MonkeyPatch.context() as patch:
        agent, config = module.load_agent(run)
        without = config.model_copy(update={"policy": config.policy.model_copy(update={"name": "plain"})})
        agent.critic = None
        patch.setattr(module, "load_agent", lambda folder: (agent, without))
        with pytest.raises(UsageError, match="'plain', which has no critic"):
            own_policy_value(run)
    replayed = recorded_line.StoredLineSpec(TASK, data, None).make_env()
    recording = open_recordings(data).names[0]
    with pytest.raises(RunError, match="ends before frame 99"):
        replayed.reset(Instant(recording, 99))


def test_failures_are_told_by_their_end(made, run):
    found = value_error(run)
    parts = found.by_end
    assert sum(part.n for part in parts.values()) == found.overall.n
    lengths = [len(recorded(i)) for i in range(6)]
    assert parts["success"].n == sum(lengths[i] for i in (0, 2, 4))
    assert parts["walked_off"].n == sum(lengths[i] - CHUNK for i in (1, 3)), "whose last frames are cut"
    assert parts["time_limit"].n == lengths[5] - CHUNK == LIMIT - CHUNK


def test_the_command_measures_both_and_takes_no_states_alone(made, run, monkeypatch, capsys):
    def command(*words):
        monkeypatch.setattr("sys.argv", ["robo-orl", "eval", str(run), *words, "--json"])
        with pytest.raises(SystemExit) as end:
            main()
        return end.value.code or 0, json.loads(capsys.readouterr().out)

    code, out = command("--value-error", str(made[1]), "--value-states", "3", "--workers", "1")
    assert (
        code == 0 and out["own_policy"]["states"] == 3 and set(out["by_end"]) == {"success", "time_limit", "walked_off"}
    )
    code, out = command("--value-states", "3")
    assert code == 2 and "--value-states is for --value-error" in out["error"]


def test_the_recording_of_a_scene_goes_on_bit_equal_from_the_instant(tmp_path):
    """A real simulator: an operator's own actions lead from the instant to the stored states and the stored end."""
    from robo_orl.config.presets import load_task
    from robo_orl.data.generate import generate
    from robo_orl.envs.task_env import TaskEnv

    task = load_task("lift")
    generate(task, "ph", 1, tmp_path / "lift.hdf5", workers=1, progress=False)
    (name,) = open_recordings(tmp_path / "lift.hdf5").names
    recording = read_recording(tmp_path / "lift.hdf5", name)
    environment = TaskEnv(task)
    replayed = ReplayedEnv(environment, tmp_path / "lift.hdf5")
    middle = len(recording.actions) // 2
    replayed.reset(Instant(name, middle))
    for state, action in zip(recording.states[middle:], recording.actions[middle:], strict=True):
        np.testing.assert_array_equal(environment.state(), state)
        step = replayed.step(action)
    assert step.terminated and list(replayed.stages) == task.stages
