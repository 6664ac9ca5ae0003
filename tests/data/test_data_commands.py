"""The commands on files of other software, as a user meets them."""

import json
import subprocess
import sys

import foreign
import pytest
from foreign import changed


def robo_orl(*arguments):
    command = [sys.executable, "-m", "robo_orl", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=240)


def test_somebody_elses_file_trains_on_the_first_try(tmp_path):
    path, out = changed(tmp_path / "a.hdf5", foreign.both(foreign.as_robomimic, foreign.unused_kinds)), tmp_path / "run"
    steps = ("--set", "policy.optim.steps=2", "--set", "policy.optim.batch_size=8", "--tracker", "none")
    done = robo_orl("train", "--policy", "iql", "--task", "lift", "--data", path, "--out", out, *steps, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["steps"] == 2
    assert "does not name its task: lift is taken from the command line" in done.stderr
    recorded = json.loads((out / "data.json").read_text())["files"][0]
    assert recorded["episodes"] == 5 and recorded["success_k"] == 3 and len(recorded["notes"]) == 2


def test_the_refusal_names_the_option_with_which_it_trains(tmp_path):
    path = changed(tmp_path / "a.hdf5", foreign.both(foreign.as_robomimic, foreign.loud_actions))
    common = ("--policy", "bc", "--task", "lift", "--data", path, "--out", tmp_path / "run", "--tracker", "none")
    common += ("--set", "policy.optim.steps=2", "--set", "policy.optim.batch_size=8")
    refused = robo_orl("train", *common)
    assert refused.returncode == 2 and "--clip-actions" in refused.stderr and "Traceback" not in refused.stderr
    done = robo_orl("train", *common, "--clip-actions", "--json")
    assert done.returncode == 0, done.stderr
    adjusted = json.loads((tmp_path / "run" / "data.json").read_text())["files"][0]["adjusted"]
    assert adjusted["clipped_frames"] > 10


@pytest.mark.parametrize(
    ("change", "options", "code"),
    [
        (foreign.as_robomimic, ("--task", "lift", "--policy", "bc"), 0),
        (foreign.as_robomimic, ("--task", "stack"), 1),
        (foreign.loud_actions, (), 1),
        (foreign.loud_actions, ("--clip-actions",), 0),
        (foreign.wrong_counts, (), 0),
        (foreign.wrong_counts, ("--level", "robomimic"), 1),
    ],
)
def test_validate_has_levels(tmp_path, change, options, code):
    done = robo_orl("data", "validate", changed(tmp_path / "a.hdf5", change), "--json", *options)
    found = json.loads(done.stdout)
    assert done.returncode == code and bool(found["faults"]) == bool(code)
    assert set(found["levels"]) == {"trains", "replays", "robomimic"}


def test_a_weight_and_an_at_sign_in_a_path_are_told_apart(tmp_path):
    from robo_orl.cli.train import _task_data

    (tmp_path / "me@home").mkdir()
    path = foreign.lift_file(tmp_path / "me@home" / "a.hdf5")
    assert _task_data(f"lift={path}")["data"] == str(path)
    assert _task_data(f"lift={path}@2.5")["data"] == str(path) and _task_data(f"lift={path}@2.5")["weight"] == "2.5"
    assert _task_data("lift=data.hdf5@3")["weight"] == "3"
