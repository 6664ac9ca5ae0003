"""A run online is a function of its configuration and seed: neither simulator processes nor a kill changes it."""

import json
import os
import signal

import numpy as np
import pytest
from toy_online import METHOD, PLACES, go, killed, learned, start_of

from robo_orl.base.errors import RunError, UsageError
from robo_orl.config import deep_merge
from robo_orl.engine.checkpoint import checkpoints, load_agent


@pytest.fixture(scope="module")
def whole(cloned, tmp_path_factory):
    """The uninterrupted run, and its account."""
    folder = tmp_path_factory.mktemp("whole")
    account = go(start_of(cloned, folder), folder / "out")
    return folder / "out", account


def test_the_account_counts_what_was_collected_and_learned(whole):
    out, account = whole
    episodes = [json.loads(line) for line in (out / "replay/episodes.jsonl").read_text().splitlines()]
    rounds = [json.loads(line) for line in (out / "online.jsonl").read_text().splitlines()]
    rounds = [row for row in rounds if row["kind"] == "round"]
    assert account["env_steps"] == sum(episode["length"] for episode in episodes) >= 400
    assert account["episodes"] == len(episodes) and account["critic_only_updates"] == 3
    warm = [row for row in rounds if row["warm_up"]]
    assert account["warm_up_steps"] == warm[-1]["env_steps"] >= 60
    assert {row["updates"] for row in warm} == {0}
    chunks = sum(-(-episode["length"] // 2) for episode in episodes[2 * len(warm) :])
    assert account["updates"] == 3 + int(0.1 * chunks) == int(checkpoints(out)[-1].name[5:])
    assert [point["at"] for point in account["points"]] == [0, 200, 400]
    assert account["learning_s"] > 0 and account["simulation_s"] > 0 and account["peak_memory_bytes"] > 1e7


def test_two_simulator_processes_change_nothing(cloned, whole, tmp_path):
    go(start_of(cloned, tmp_path), tmp_path / "out", workers=2)
    assert learned(tmp_path / "out") == learned(whole[0])


@pytest.mark.parametrize(
    "place, count",
    [
        ("update", 5),
        pytest.param("rows", 6, marks=pytest.mark.slow),
        pytest.param("line", 3, marks=pytest.mark.slow),
        pytest.param("checkpoint", 1, marks=pytest.mark.slow),
        pytest.param("point", 2, marks=pytest.mark.slow),
    ],
)
def test_a_killed_run_goes_on_and_collects_nothing_twice(cloned, whole, tmp_path, place, count):
    assert place in PLACES
    assert killed(cloned, tmp_path, tmp_path / "out", place, count) == -signal.SIGKILL
    account = go(start_of(cloned, tmp_path), tmp_path / "out")
    assert learned(tmp_path / "out") == learned(whole[0])
    assert account["env_steps"] == whole[1]["env_steps"] and account["updates"] == whole[1]["updates"]


def test_a_run_of_fewer_steps_goes_on_as_if_it_had_been_longer(cloned, whole, tmp_path):
    go(start_of(cloned, tmp_path), tmp_path / "out", steps=200)
    go(start_of(cloned, tmp_path), tmp_path / "out")
    assert learned(tmp_path / "out") == learned(whole[0])


def test_a_finished_run_is_left_as_it_is(cloned, whole, tmp_path):
    before = (whole[0] / "online.jsonl").stat().st_mtime_ns
    assert go(start_of(cloned, tmp_path), whole[0]) == whole[1]
    assert (whole[0] / "online.jsonl").stat().st_mtime_ns == before
    with pytest.raises(UsageError, match="--steps 100 is less"):
        go(start_of(cloned, tmp_path), whole[0], steps=100)


def test_a_simulator_that_dies_is_replaced_and_changes_nothing(cloned, whole, tmp_path):
    go(start_of(cloned, tmp_path), tmp_path / "out", fault_at=("step", 1), kind="exit")  # start 1 of the point at 0
    assert learned(tmp_path / "out") == learned(whole[0])


def test_a_simulator_that_keeps_dying_ends_the_run_and_what_was_collected_stays(cloned, whole, tmp_path, monkeypatch):
    start = start_of(cloned, tmp_path)
    seeds = [json.loads(line)["start_seed"] for line in (whole[0] / "replay/episodes.jsonl").read_text().splitlines()]
    with pytest.raises(RunError, match="Episode 3 of line crashed 3 times"):
        go(start, tmp_path / "out", fault_at=("step", seeds[3] % 8000 / 1000), kind="raise", times=9)
    go(start, tmp_path / "out")
    assert learned(tmp_path / "out") == learned(whole[0])


def test_the_point_at_the_switch_is_the_evaluation_of_the_run_itself(cloned, tmp_path):
    from scripted_scene import LineScene

    from robo_orl.evaluate.policy import AgentPolicy
    from robo_orl.rollout.episodes import Rollouts

    method = {"online": METHOD["online"] | {"warm_up": {}}, "optim": {"schedule": "constant"}}
    go(start_of(cloned, tmp_path, method=method), tmp_path / "out", steps=1)
    rows = (tmp_path / "out/points/step_00000000/episodes.jsonl").read_text().splitlines()
    agent, run = load_agent(cloned)
    with Rollouts(LineScene(tmp_path), AgentPolicy(agent, run.policy.action_head.execute, 0), workers=1) as rollouts:
        own = {finished.episode: finished.outcome.fingerprint for finished in rollouts.run(range(3))}
    assert [json.loads(row)["fingerprint"] for row in rows] == [own[i] for i in range(3)]


def test_episodes_are_collected_from_other_starts_than_those_of_points(whole):
    rows = np.load(whole[0] / "replay/observations.npy")
    lengths = [json.loads(line)["length"] for line in (whole[0] / "replay/episodes.jsonl").read_text().splitlines()]
    first = rows[np.cumsum([0, *lengths[:-1]]), 0]
    evaluated = np.array([-i / 3 for i in range(40)], np.float32)
    assert len(set(first)) == len(first) and not np.isin(first, evaluated).any()


def test_timeouts_are_apart_from_terminals_and_failures_are_kept(whole):
    episodes = [json.loads(line) for line in (whole[0] / "replay/episodes.jsonl").read_text().splitlines()]
    rewards, ends = np.load(whole[0] / "replay/rewards.npy"), np.cumsum([episode["length"] for episode in episodes])
    for episode, end in zip(episodes, ends, strict=True):
        assert episode["terminal"] == episode["success"] == bool(rewards[end - 1])
        assert episode["success"] or episode["length"] == 40
    assert not all(episode["success"] for episode in episodes)


def test_the_folder_of_another_run_is_refused(cloned, whole, tmp_path):
    with pytest.raises(UsageError, match="holds a run with another policy.optim.lr"):
        go(start_of(cloned, tmp_path, "policy.optim.lr=0.01"), whole[0])


def test_the_replay_of_another_run_is_refused(cloned, whole, tmp_path):
    (tmp_path / "out").mkdir()
    os.symlink(whole[0] / "replay", tmp_path / "out/replay")
    with pytest.raises(UsageError, match="holds the replay of another run"):
        go(start_of(cloned, tmp_path, "policy.optim.lr=0.01"), tmp_path / "out")


def test_data_that_lie_elsewhere_are_asked_for(cloned, tmp_path):
    start = start_of(cloned, tmp_path)
    gone = start.run.tasks[0].model_copy(update={"data": str(tmp_path / "gone.hdf5")})
    moved = type(start)(start.run.model_copy(update={"tasks": [gone]}), start.spec, start.method)
    with pytest.raises(UsageError, match="give their place with --data"):
        go(moved, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_updates_on_the_data_alone_do_not_depend_on_what_is_collected(cloned, tmp_path):
    """The control: at a fixed number of updates the weights are those of a run that collects something else."""
    weights = []
    for name, noise in (("calm", 0.0), ("noisy", 0.3)):
        method = deep_merge(METHOD, {"online": {"replay": {"mix": "data"}, "warm_up": {"steps": 1}, "updates": 0.001}})
        method = deep_merge(method, {"online": {"collection": {"noise": noise}}})
        go(start_of(cloned, tmp_path, method=method), tmp_path / name, steps=120)
        weights.append(load_agent(tmp_path / name)[0].state_dict())
    assert (tmp_path / "calm/replay/actions.npy").read_bytes() != (tmp_path / "noisy/replay/actions.npy").read_bytes()
    assert all(tensor.equal(weights[1][name]) for name, tensor in weights[0].items())


def test_collected_episodes_alone_need_no_data(cloned, tmp_path):
    method = deep_merge(METHOD, {"online": {"replay": {"mix": "online"}}})
    start = start_of(cloned, tmp_path, method=method)
    gone = start.run.tasks[0].model_copy(update={"data": str(tmp_path / "gone.hdf5")})
    moved = type(start)(start.run.model_copy(update={"tasks": [gone]}), start.spec, start.method)
    assert go(moved, tmp_path / "out", steps=150)["updates"] > 3


def test_the_start_is_judged_by_its_own_selection_and_its_evaluation_is_not_played_again(cloned, whole, tmp_path):
    """The row of the start is that of `robo-orl eval`; rows that are there already are taken from there."""
    rows = [json.loads(line) for line in (whole[0] / "online.jsonl").read_text().splitlines()]
    start = next(row for row in rows if row["kind"] == "start")
    kept = [json.loads(line) for line in (whole[0] / "points/start/episodes.jsonl").read_text().splitlines()]
    assert start["success"]["n"] == len(kept) == 3 and start["calibration"] is None
    marked = [row | {"fingerprint": "taken"} for row in kept[:2]]
    (tmp_path / "eval").mkdir()
    (tmp_path / "eval/episodes.jsonl").write_text("".join(json.dumps(row) + "\n" for row in marked))
    go(start_of(cloned, tmp_path), tmp_path / "out", steps=1, evaluation=tmp_path / "eval")
    again = [json.loads(line) for line in (tmp_path / "out/points/start/episodes.jsonl").read_text().splitlines()]
    assert [row["fingerprint"] for row in again] == ["taken", "taken", kept[2]["fingerprint"]]
    with pytest.raises(UsageError, match="holds no episode of the newest checkpoint"):
        go(start_of(cloned, tmp_path), tmp_path / "other", steps=1, evaluation=tmp_path)


def test_a_critic_is_compared_with_the_returns_of_what_it_acts_and_before_and_after_its_warm_up(whole):
    rows = [json.loads(line) for line in (whole[0] / "online.jsonl").read_text().splitlines()]
    points = [row for row in rows if row["kind"] == "point"]
    for point in points:
        episodes = [json.loads(line) for line in (whole[0] / f"points/step_{point['at']:08d}/episodes.jsonl").open()]
        decisions = sum(-(-episode["length"] // 2) for episode in episodes)
        assert point["calibration"]["decisions"]["n"] == decisions and point["calibration"]["starts"]["n"] == 3
    (warm_up,) = [row for row in rows if row["kind"] == "warm_up"]
    assert warm_up["updates"] == 3 and warm_up["before"] != warm_up["after"]
    assert warm_up["before"]["n"] == warm_up["after"]["n"] > 20
