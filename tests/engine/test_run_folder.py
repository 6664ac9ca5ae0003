"""A run's folder knows whose it is: one writer at a time, and results of another run are not believed."""

import json
import os
import pwd
import shutil
import subprocess
import sys
import textwrap

import pytest
import tiny
from unprivileged import NO_ENTRY, NOBODY, give, public_folder, run_unprivileged

from robo_orl.base.errors import RunError, UsageError
from robo_orl.base.locks import folder_lock
from robo_orl.engine.checkpoint import checkpoints, load_agent
from robo_orl.engine.train import train

TRAIN = """
import sys; sys.path.insert(0, {tests!r})
from pathlib import Path
import tiny
from robo_orl.engine.train import train
print(train(tiny.run_of(Path(sys.argv[1])), Path(sys.argv[2]), progress=False).steps)
"""


def test_one_training_at_a_time_writes_into_a_folder(data, tmp_path):
    train(tiny.run_of(data), tmp_path / "run", progress=False, stop_at=2)
    with (
        folder_lock(tmp_path / "run", "training"),
        pytest.raises(UsageError, match="Another process is training in .*; wait for it, or give another --out"),
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr("robo_orl.base.locks.time.monotonic", iter(range(0, 1000, 10)).__next__)
        train(tiny.run_of(data), tmp_path / "run", progress=False)
    assert train(tiny.run_of(data), tmp_path / "run", progress=False).finished


@pytest.mark.parametrize("change", [{"seed": 1}, {"policy": {"objective": {"name": "iql"}, "critic": {}}}])
def test_a_summary_without_checkpoints_is_not_believed_by_another_run(data, tmp_path, change):
    run = tiny.run_of(data, {"optim": {"steps": 2}})
    train(run, tmp_path / "run", progress=False)
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    assert train(run, tmp_path / "run", progress=False).finished
    policy = {"optim": {"steps": 2}} | change.pop("policy", {})
    with pytest.raises(UsageError, match="holds a run with another"):
        train(tiny.run_of(data, policy, **change), tmp_path / "run", progress=False)


def test_a_summary_without_a_configuration_is_not_believed(data, tmp_path):
    run = tiny.run_of(data, {"optim": {"steps": 2}})
    train(run, tmp_path / "run", progress=False)
    (tmp_path / "run" / "config.json").unlink()
    with pytest.raises(UsageError, match="results without the config.json of their run"):
        train(run, tmp_path / "run", progress=False)


def test_checkpoints_of_another_run_are_not_continued(data, tmp_path):
    """The state after a second training into the same folder was killed, in versions without a lock."""
    for seed in (0, 1):
        train(tiny.run_of(data, seed=seed), tmp_path / str(seed), progress=False, stop_at=2)
    shutil.rmtree(tmp_path / "1" / "checkpoints")
    shutil.copytree(tmp_path / "0" / "checkpoints", tmp_path / "1" / "checkpoints")
    with pytest.raises(UsageError, match="step_00000002 belongs to another run than its folder's config.json"):
        train(tiny.run_of(data, seed=1), tmp_path / "1", progress=False)
    with pytest.raises(UsageError, match="belongs to another run"):
        load_agent(tmp_path / "1")


def test_a_summary_of_another_run_is_not_believed(data, tmp_path):
    for seed in (0, 1):
        train(tiny.run_of(data, {"optim": {"steps": 2}}, seed=seed), tmp_path / str(seed), progress=False)
    shutil.copy(tmp_path / "0" / "train.json", tmp_path / "1" / "train.json")
    with pytest.raises(UsageError, match="train.json belongs to another run than .*delete it"):
        train(tiny.run_of(data, {"optim": {"steps": 2}}, seed=1), tmp_path / "1", progress=False)


def test_a_run_of_an_older_version_goes_on(data, tmp_path):
    run = tiny.run_of(data)
    train(run, tmp_path / "run", progress=False, stop_at=2)
    for path, key in ((tmp_path / "run" / "config.json", "identity"), (checkpoints(tmp_path / "run")[-1], "run")):
        path = path / "state.json" if path.is_dir() else path
        values = json.loads(path.read_text())
        del values[key]
        path.write_text(json.dumps(values))
    assert train(run, tmp_path / "run", progress=False).finished


@pytest.mark.parametrize("content", ["{", "[]", '{"steps": "many"}', ""])
@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("train.json", "train.json is damaged.*delete it"),
        ("config.json", "config.json (is damaged|was written by another version).*"),
        ("spec.json", "spec.json (is damaged|was written by another version).*"),
    ],
)
def test_a_damaged_file_of_a_run_is_a_sentence(data, tmp_path, name, sentence, content):
    run = tiny.run_of(data, {"optim": {"steps": 2}})
    train(run, tmp_path / "run", progress=False)
    (tmp_path / "run" / name).write_text(content)
    with pytest.raises((RunError, UsageError), match=sentence):
        train(run, tmp_path / "run", progress=False)


@pytest.mark.parametrize("damage", ["cut", "empty", "state", "shape"])
def test_a_damaged_checkpoint_is_a_sentence_that_says_what_to_remove(data, tmp_path, damage):
    run = tiny.run_of(data)
    train(run, tmp_path / "run", progress=False, stop_at=2)
    newest = checkpoints(tmp_path / "run")[-1]
    if damage == "state":
        (newest / "state.json").write_text('{"step": ')
    elif damage == "shape":
        other = tiny.run_of(data, {"backbone": {"size": "d2"}})
        train(other, tmp_path / "other", progress=False, stop_at=2)
        shutil.copy(checkpoints(tmp_path / "other")[-1] / "agent.safetensors", newest / "agent.safetensors")
    else:
        content = (newest / "agent.safetensors").read_bytes()
        (newest / "agent.safetensors").write_bytes(content[: len(content) // 2] if damage == "cut" else b"")
    sentence = "holds another agent" if damage == "shape" else "remove its folder to go on from the one before"
    with pytest.raises(RunError, match=sentence):
        train(run, tmp_path / "run", progress=False)


def test_damaged_rows_of_metrics_are_left_out(data, tmp_path):
    run = tiny.run_of(data)
    train(run, tmp_path / "run", progress=False, stop_at=10)
    path = tmp_path / "run" / "metrics.jsonl"
    path.write_bytes(path.read_bytes() + b'[1]\n{"loss": 1}\n\xff\xfe\n{"step": 11, "lo')
    assert train(run, tmp_path / "run", progress=False).finished
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [10, 20]


def train_unprivileged(folder, data, out, user=NOBODY, **environment):
    code = textwrap.dedent(TRAIN.format(tests=str(tiny.__file__.rsplit("/", 1)[0])))
    return run_unprivileged("-c", code, str(data), str(out), cwd=folder, user=user, **environment)


def test_a_data_file_in_a_read_only_folder_trains():
    with public_folder() as folder:
        for name in ("data", "cache", "runs"):
            (folder / name).mkdir()
        tiny.write_data(folder / "data" / "toy.hdf5")
        give(folder / "cache"), give(folder / "runs")
        cache = str(folder / "cache")
        done = train_unprivileged(folder, folder / "data" / "toy.hdf5", folder / "runs" / "a", ROBO_ORL_CACHE=cache)
        assert done.stdout.split() == ["20"], done.stderr


def test_a_read_only_cache_that_is_complete_is_used(monkeypatch):
    with public_folder() as folder:
        for name in ("data", "cache", "runs"):
            (folder / name).mkdir()
        monkeypatch.setenv("ROBO_ORL_CACHE", str(folder / "cache"))
        tiny.write_data(folder / "data" / "toy.hdf5")
        train(tiny.run_of(folder / "data" / "toy.hdf5"), folder / "mine", progress=False, stop_at=2)
        give(folder / "runs")
        cache = str(folder / "cache")
        done = train_unprivileged(folder, folder / "data" / "toy.hdf5", folder / "runs" / "a", ROBO_ORL_CACHE=cache)
        assert done.stdout.split() == ["20"], done.stderr
        again = train_unprivileged(folder, folder / "data" / "toy.hdf5", folder / "b", ROBO_ORL_CACHE=cache)
        assert "Permission denied; choose another --out" in again.stderr.splitlines()[-1]


def test_a_home_without_a_cache_names_the_variable():
    with public_folder() as folder:
        (folder / "data").mkdir()
        tiny.write_data(folder / "data" / "toy.hdf5")
        done = train_unprivileged(folder, folder / "data" / "toy.hdf5", folder / "b", HOME="/dev/null")
        assert "set ROBO_ORL_CACHE to a folder" in done.stderr.splitlines()[-1]


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become a user that does not exist")
def test_a_user_that_no_list_of_users_has_trains_without_a_home():
    with pytest.raises(KeyError):
        pwd.getpwuid(NO_ENTRY)
    with public_folder() as folder:
        for name in ("data", "cache", "runs"):
            (folder / name).mkdir()
            (folder / name).chmod(0o777)
        tiny.write_data(folder / "data" / "toy.hdf5")
        arguments = (folder, folder / "data" / "toy.hdf5", folder / "runs" / "a")
        without = train_unprivileged(*arguments, user=NO_ENTRY, HOME=None)
        assert without.stderr.splitlines()[-1].endswith(
            "has no home folder; set ROBO_ORL_CACHE to a folder for derived data."
        )
        done = train_unprivileged(*arguments, user=NO_ENTRY, HOME=None, ROBO_ORL_CACHE=str(folder / "cache"))
    assert done.stdout.split() == ["20"], done.stderr


def test_a_full_disk_under_the_output_of_a_command_is_a_sentence():
    command = [sys.executable, "-m", "robo_orl", "list", "policies"]
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE)
    assert done.returncode != 0 and b"The disk is full" in done.stderr and b"Traceback" not in done.stderr
