"""A task without an environment: it trains, is judged on demonstrations that were held out, and everything that would
need an environment says so in one sentence."""

import json
import shutil
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
import yaml
from typer.testing import CliRunner

sys.path.append(str(Path(__file__).parents[1] / "engine"))
import tiny  # noqa: E402

import robo_orl  # noqa: E402
from robo_orl.base.errors import UsageError  # noqa: E402
from robo_orl.cli.app import app  # noqa: E402
from robo_orl.config import OnTheWay, RunConfig, TaskConfig  # noqa: E402
from robo_orl.data.edit import Edit, edit  # noqa: E402
from robo_orl.engine.checkpoint import checkpoints, load_agent  # noqa: E402
from robo_orl.engine.run_folder import read_run, read_spec, write_run  # noqa: E402
from robo_orl.engine.train import train  # noqa: E402
from robo_orl.evaluate import held_out as module  # noqa: E402
from robo_orl.evaluate.held_out import action_errors, held_out  # noqa: E402
from robo_orl.evaluate.on_the_way import judge_copies  # noqa: E402
from robo_orl.results.curves import curve_of  # noqa: E402

TASK = TaskConfig(name="arm", env="none", stages=["success"], control_hz=15, max_seconds=4)
NAMES, LOW, HIGH = ["shoulder", "elbow", "hand"], [-2.0, 0.0, 10.0], [2.0, 1.0, 50.0]


def write_arm(path: Path, episodes: int = 8, names: int = 3) -> Path:
    """Demonstrations of a robot of one's own, written with h5py alone: joints in, three numbers out."""
    draw = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        for number in range(episodes):
            length = 20 + number
            joints = np.cumsum(draw.normal(size=(length, 4)) * 0.1, axis=0)
            demo = file.create_group(f"data/demo_{number}")
            demo["obs/joints"], demo["actions"] = joints, np.sin(joints[:, :3] + number / 10)
            demo["rewards"] = demo["dones"] = (np.arange(length) == length - 1).astype(float)
        settings = {"control_freq": 15, "robots": ["xarm7"]}
        file["data"].attrs["env_args"] = json.dumps({"env_name": "our_cell", "env_kwargs": settings})
        file["data"].attrs["names"] = json.dumps({"actions": NAMES[:names]})
        file["data"].attrs["action_range"] = json.dumps([LOW, HIGH])
    return path


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("arm")
    edit([write_arm(folder / "whole.hdf5")], folder / "arm.hdf5", Edit(split=0.25))
    return folder / "arm.hdf5"


def run_of(data: Path, policy: dict | None = None, task: TaskConfig = TASK) -> RunConfig:
    values = {"action_head": {"kind": "l1"}, "optim": {"steps": 2}} | (policy or {})
    of_toy = tiny.run_of(data, values)
    source = of_toy.tasks[0].model_copy(update={"task": task, "filter": "train"})
    return of_toy.model_copy(update={"tasks": [source]})


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ROBO_ORL_CACHE", str(data.parent / "cache"))
        out = tmp_path_factory.mktemp("run") / "run"
        train(run_of(data, tiny.CASES["iql_shared"]), out, progress=False)
        yield out


def said(*arguments: object) -> str:
    done = CliRunner().invoke(app, [str(a) for a in arguments], standalone_mode=False)
    assert isinstance(done.exception, UsageError), done.output
    return str(done.exception)


# ----------------------------------------------------------------------------------------------------------- the errors


class Constant:
    """An agent whose chunks are a number per dimension, one tenth more each step of the chunk."""

    def parameters(self):
        return iter([torch.zeros(1)])

    def to(self, device):
        return self

    def act(self, obs, draws):
        steps = torch.arange(4)[:, None] / 10 + torch.tensor([0.0, 0.2, -0.3])
        return steps.expand(len(obs), 4, 3)


def test_errors_are_those_of_a_loop_over_episodes_frames_and_executed_actions(run, data):
    from robo_orl.engine.task_data import make_windows, open_data

    config = read_run(run)
    valid = config.model_copy(update={"tasks": [config.tasks[0].model_copy(update={"filter": "valid"})]})
    arrays = open_data(valid)[0]
    spec, at = read_spec(run), arrays.frames(arrays.chosen("valid"))
    found = action_errors(Constant(), make_windows(valid, [arrays]), at, execute=2, seed=0, spec=spec)
    errors, later, constant = [], [], []
    mean = np.array(spec.statistics.action.mean)
    for episode in np.flatnonzero(arrays.chosen("valid")):
        first, end = arrays.starts[episode], arrays.starts[episode + 1]
        for frame in range(first, end):
            for step in range(4):
                if frame + step < end:
                    predicted = np.array([0.0, 0.2, -0.3]) + step / 10
                    error = predicted - arrays.actions[frame + step]
                    later += [np.abs(error).mean()] if step == 3 else []
                    errors += [error] if step < 2 else []
                    constant += [np.abs(arrays.actions[frame + step] - mean)] if step < 2 else []
    errors, constant = np.array(errors), np.array(constant)
    assert found.frames == len(at)
    assert found.mean_absolute == pytest.approx(np.abs(errors).mean()) and found.low < found.mean_absolute < found.high
    assert found.rmse == pytest.approx(np.sqrt((errors**2).mean()))
    assert found.constant == pytest.approx(constant.mean())
    assert found.by_step[3] == pytest.approx(np.mean(later)) and len(found.by_step) == 4
    rows = found.dimensions
    assert [row.name for row in rows] == NAMES and [row.unit for row in rows] == [2.0, 0.5, 20.0]
    np.testing.assert_allclose([row.mean_absolute for row in rows], np.abs(errors).mean(0))
    np.testing.assert_allclose([row.constant for row in rows], constant.mean(0))


def test_a_run_is_judged_on_the_episodes_that_it_did_not_learn_from(run, data):
    done = CliRunner().invoke(app, ["eval", str(run), "--json"])
    assert done.exit_code == 0, done.output
    result = json.loads(done.stdout)
    assert (result["mask"], result["episodes"], result["step"]) == ("valid", 2, 2)
    assert {"actor/loss", "value/loss", "critic/loss", "loss"} <= result["losses"].keys()
    assert result["value_errors"]["n"] > 0 and 0 < result["actions"]["mean_absolute"] < 2
    assert json.loads((run / "eval" / "held_out.json").read_text()) == result
    table = CliRunner().invoke(app, ["eval", str(run), "--held-out-filter", "valid"]).output
    assert "2 episodes of the mask 'valid'" in table and "elbow" in table and "success" not in table


def test_what_was_trained_on_is_never_held_out(run, data, tmp_path):
    with pytest.raises(UsageError, match="6 episodes of .* are held out and trained on: name others with --held-out-f"):
        held_out(run, mask="train")
    copy = tmp_path / "moved.hdf5"
    copy.write_bytes(data.read_bytes())
    with pytest.raises(UsageError, match="6 episodes of .*moved.hdf5 are held out and trained on"):
        held_out(run, data=copy)
    assert held_out(run, data=write_arm(tmp_path / "others.hdf5", episodes=3)).episodes == 3


def test_a_run_on_the_whole_file_needs_other_data(run, tmp_path):
    config = read_run(run)
    whole = config.model_copy(update={"tasks": [config.tasks[0].model_copy(update={"filter": None})]})
    with pytest.raises(UsageError, match="nothing is held out: give other data with --held-out FILE, or train with"):
        module._source(whole, 0, None, None)
    told = whole.model_copy(update={"evaluation": OnTheWay(held_out="others.hdf5")})
    assert module._source(told, 0, None, None).data == "others.hdf5"


def test_a_learning_curve_has_losses_action_error_and_value_error_and_no_episodes(run, tmp_path):
    folder = shutil.copytree(run, tmp_path / "run")
    way = OnTheWay(every=2, episodes=0, held_out_filter="valid")
    write_run(folder, read_run(folder).model_copy(update={"evaluation": way}), read_spec(folder))
    shutil.copytree(checkpoints(folder)[-1], folder / "curve" / "step_00000002")
    judge_copies(folder)
    (point,) = curve_of(folder, "arm").points
    expected = held_out(run)
    assert point.success is None and point.losses == expected.losses
    assert point.action_error == expected.actions.mean_absolute
    assert point.value_errors.mean_absolute == expected.value_errors["mean_absolute"]
    playing = read_run(folder).model_copy(update={"evaluation": OnTheWay(every=2, held_out_filter="valid")})
    with pytest.raises(UsageError, match="Task arm has no environment .* set evaluation.episodes=0"):
        train(playing, tmp_path / "other", progress=False)


def test_the_policy_acts_on_a_robots_own_observation(run):
    policy = robo_orl.load_policy(run)
    assert policy.low_dim == {"joints": 4} and policy.act({"joints": np.zeros(4)}).shape == (4, 3)
    assert policy.action_names == tuple(NAMES)
    np.testing.assert_allclose(policy.to_robot(np.array([[-1.0, 0.0, 1.0]])), [[-2.0, 0.5, 50.0]])
    with pytest.raises(UsageError, match="has no 'joints', which policy 'tiny' reads"):
        policy.act({"joint_positions": np.zeros(4)})


# --------------------------------------------------------------------------------- what needs an environment is refused


def test_everything_that_needs_an_environment_says_so(run, data, tmp_path):
    task = tmp_path / "arm.yaml"
    task.write_text(yaml.safe_dump(TASK.model_dump(mode="json", exclude_defaults=True, exclude={"name"})))
    suite = tmp_path / "mine.yaml"
    suite.write_text(yaml.safe_dump({"groups": [{"tasks": [str(task)], "regimes": ["ph"], "policies": ["bc"]}]}))
    none = "Task arm has no environment (env: none), and this needs one"
    out = tmp_path / "out.hdf5"
    assert none in said("data", "generate", "--task", task, "--regime", "ph", "--episodes", 1, "--out", out)
    assert none in said("data", "convert", data, "--task", task, "--out", out)
    assert none in said("data", "replay", data, "--task", task)
    assert none in said("data", "add-images", data, "--task", task)
    assert "no environment" in said("bench", "--suite", suite, "--out", tmp_path / "results", "--plan")
    assert "no environment (env: none), so that no success can be ranked" in said(
        "leaderboard", "submit", run, "--suite", "controls"
    )
    assert "no episodes to compare" in said("compare", run, run)
    assert "no environment (env: none) in which episodes" in said("online", run, "--method", "o2o", "--out", out)
    assert "leave out the options of rollouts" in said("eval", run, "--video", tmp_path / "videos")
    assert "`robo-orl train --dry-run` predicts from them" in said("profile", "--policy", "bc", "--task", task)
    assert not out.exists() and not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"control_hz": 20}, "it was recorded at 15 Hz, and the task runs at 20; --accept-mismatch"),
        ({"robots": ["ur10"]}, "its robot is xarm7, and the task's ur10; --accept-mismatch"),
    ],
)
def test_a_file_of_another_rate_or_robot_is_refused(data, tmp_path, monkeypatch, values, sentence):
    monkeypatch.setenv("ROBO_ORL_CACHE", str(tmp_path / "cache"))
    with pytest.raises(UsageError, match=sentence):
        train(run_of(data, task=TASK.model_copy(update=values)), tmp_path / "run", progress=False)


def test_a_division_is_drawn_by_its_seed_and_leaves_no_part_empty(tmp_path):
    from robo_orl.data.edit import divided

    names = [f"demo_{i}" for i in range(10)]
    parts = divided(names, 0.3, 0)
    assert len(parts["valid"]) == 3 and sorted(parts["train"] + parts["valid"]) == sorted(names)
    assert parts == divided(names, 0.3, 0) != divided(names, 0.3, 1)
    assert [len(divided(names, share, 0)["valid"]) for share in (0.0, 1.0)] == [1, 9]
    with pytest.raises(UsageError, match="1 episode cannot be divided into train and valid: record more"):
        divided(names[:1], 0.3, 0)


def test_task_new_writes_such_a_task_and_says_why(data, tmp_path):
    done = CliRunner().invoke(app, ["task", "new", "--from", str(data), "--out", str(tmp_path / "cell.yaml")])
    assert done.exit_code == 0, done.output
    assert "env: none, because the file is of our_cell, which robosuite here does not have" in done.output
    values = yaml.safe_load((tmp_path / "cell.yaml").read_text())
    assert (values["env"], values["control_hz"], values["robots"], values["max_seconds"]) == ("none", 15, ["xarm7"], 3)


def test_the_checkpoint_that_is_judged_is_the_newest(run):
    agent, _ = load_agent(run)
    assert held_out(run).step == int(checkpoints(run)[-1].name.split("_")[1]) and agent.critic is not None
