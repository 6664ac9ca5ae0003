"""Each way of breaking a file is named in a sentence of its own."""

import contextlib
import json

import h5py
import numpy as np
import pytest
from synthetic import episode, write

from robo_orl.base.errors import UsageError
from robo_orl.config import sha256_of
from robo_orl.data.info import describe
from robo_orl.data.validate import faults


@pytest.fixture
def file(tmp_path):
    return write(tmp_path / "a.hdf5", [episode(6, True, 1), episode(9, False, 2)], next_obs=True)


def lose(path):
    """Take away a dataset or a group."""
    return lambda file: file.__delitem__(path)


def lose_attribute(path, name):
    return lambda file: file[path].attrs.__delitem__(name)


def say(path, name, value):
    """Give an attribute another value."""
    return lambda file: file[path].attrs.__setitem__(name, value)


def put(path, at, value):
    """Change one number."""
    return lambda file: file[path].__setitem__(at, value)


def swap(path, values):
    """Put other contents in a dataset's place."""

    def act(file):
        del file[path]
        file[path] = values

    return act


BREAKS = {
    "demo_0: the dataset actions is missing.": lose("data/demo_0/actions"),
    "demo_1: the dataset obs is missing.": lose("data/demo_1/obs"),
    "demo_1: obs/object is missing, which the first demo has.": lose("data/demo_1/obs/object"),
    "demo_1: obs is a dataset, but it must be a group": swap("data/demo_1/obs", np.zeros(9)),
    "demo_1: the attribute num_samples is missing.": lose_attribute("data/demo_1", "num_samples"),
    "demo_1: the attribute model_file is missing.": lose_attribute("data/demo_1", "model_file"),
    "data: the attribute env_args is missing": lose_attribute("data", "env_args"),
    "data: the attribute env_args is not JSON.": say("data", "env_args", "{"),
    "data: the attribute total is missing.": lose_attribute("data", "total"),
    "data: total says 99 frames, but the demos hold 15.": say("data", "total", 99),
    "data: task_digest does not belong": say("data", "task_digest", "0"),
    "data: holds 2 demos, but 3 were requested.": say("data", "episodes", 3),
    "another version of this format": say("data", "task", "{}"),
    "The group 'data' is missing": lose("data"),
    "The group 'data' holds no demo.": lambda file: [lose(f"data/{name}")(file) for name in list(file["data"])],
    "data/extra: demos are named": lambda file: file["data"].create_group("extra"),
    "demo_0/obs/object: holds NaN or infinity, first at frame 2.": put("data/demo_0/obs/object", (2, 1), np.nan),
    "demo_0/actions: leaves [-1, 1], first at frame 4 (1.5); --clip-actions": put("data/demo_0/actions", (4, 0), 1.5),
    "demo_0/dones: holds values other than 0 and 1.": put("data/demo_0/dones", 5, 2),
    "demo_1/rewards: has 8 frames, but the episode has 9.": swap("data/demo_1/rewards", np.zeros(8, np.float32)),
    "demo_1/rewards: has shape (9, 1), but 1 axes": swap("data/demo_1/rewards", np.zeros((9, 1), np.float32)),
    "demo_1/actions: has frames of shape (6,), but those of the first demo have (7,).": swap(
        "data/demo_1/actions", np.zeros((9, 6), np.float32)
    ),
    "demo_1/states: has type int64": swap("data/demo_1/states", np.zeros((9, 11), np.int64)),
    "demo_1/dones: is set at the end of an episode without success": put("data/demo_1/dones", 8, 1),
    "demo_0/dones: is not set at the end of an episode that succeeded.": put("data/demo_0/dones", 5, 0),
    "demo_0/dones: is set before the last frame, first at frame 1.": put("data/demo_0/dones", 1, 1),
    "demo_0/next_obs/object: is not the observation of the next": put("data/demo_0/next_obs/object", (1, 0), 9.0),
    "mask/success: names demo_7, which the file does not hold.": put("mask/success", 0, b"demo_7"),
    "mask/success: names demo_1, which did not succeed.": put("mask/success", 0, b"demo_1"),
}


@pytest.mark.parametrize("sentence", BREAKS)
def test_every_fault_is_named(file, sentence):
    assert faults(file) == []
    with h5py.File(file, "r+") as opened:
        BREAKS[sentence](opened)
    found = faults(file)
    assert any(sentence in fault for fault in found), found
    assert all("\n" not in fault for fault in found)


def test_several_faults_are_all_named(file):
    with h5py.File(file, "r+") as opened:
        opened["data/demo_0/obs/object"][0, 0] = np.inf
        opened["data/demo_1/actions"][0, 0] = -3
    assert len(faults(file)) == 2


def test_a_truncated_file_is_named(file):
    file.write_bytes(file.read_bytes()[:-4000])
    assert len(faults(file)) == 1 and "is truncated" in faults(file)[0]


def test_what_is_no_hdf5_is_named(tmp_path):
    (tmp_path / "a.hdf5").write_text("episodes: 3")
    assert faults(tmp_path / "a.hdf5") == [f"{tmp_path / 'a.hdf5'} is not an HDF5 file."]
    (tmp_path / "empty.hdf5").touch()
    assert "is not an HDF5 file" in faults(tmp_path / "empty.hdf5")[0]
    assert "does not exist" in faults(tmp_path / "none.hdf5")[0]


@pytest.mark.parametrize("seed", range(20))
def test_damage_anywhere_never_escapes_as_another_error(file, seed):
    """Bytes overwritten at random: validation, and the table, end in sentences or in a clean bill, never in a crash."""
    draw = np.random.default_rng(seed)
    damaged = bytearray(file.read_bytes())
    at = draw.integers(0, len(damaged) - 64)
    damaged[at : at + 64] = draw.bytes(64)
    file.write_bytes(damaged)
    assert isinstance(faults(file), list)
    with contextlib.suppress(UsageError):
        describe(file)


def test_a_file_whose_task_digest_was_taken_of_the_text_with_its_description_is_faultless(file):
    """Earlier versions hashed every value of the task; what they wrote still trains."""
    with h5py.File(file, "r+") as opened:
        attributes = opened["data"].attrs
        task = json.loads(attributes["task"]) | {"description": "as it was called then"}
        attributes["task"] = json.dumps(task, sort_keys=True)
        attributes["task_digest"] = sha256_of(task)
    assert faults(file) == []
    with h5py.File(file, "r+") as opened:
        opened["data"].attrs["task"] = json.dumps(task | {"padding": 1.0}, sort_keys=True)
    assert "task_digest does not belong" in faults(file)[0]
