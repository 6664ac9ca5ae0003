"""robomimic 0.3.0 reads our files: its own dataset returns the very numbers that our windows hold."""

import json

import h5py
import numpy as np
import pytest
from synthetic import SPEC, episode, write

from robo_orl.data.cache import open_cache
from robo_orl.data.windows import PairedWindows

pytest.importorskip("robomimic", reason="robomimic is not installed")
CHUNK = 10


@pytest.fixture
def file(tmp_path):
    return write(tmp_path / "a.hdf5", [episode(5 + 7 * i, i % 2 == 0, i) for i in range(11)], next_obs=True)


def sequences(file, mask=None):
    from robomimic.utils import obs_utils
    from robomimic.utils.dataset import SequenceDataset

    obs_utils.initialize_obs_utils_with_obs_specs({"obs": {"low_dim": list(SPEC), "rgb": []}})
    keys = ("actions", "rewards", "dones")
    return SequenceDataset(str(file), list(SPEC), keys, seq_length=CHUNK, filter_by_attribute=mask)


@pytest.mark.parametrize("mask", [None, "success"])
def test_its_sequences_are_our_windows(file, mask):
    theirs, ours = sequences(file, mask), PairedWindows(open_cache(file), CHUNK, 1, 1.0, mask)
    assert len(theirs) == len(ours)
    batch = ours.gather(ours.frames)
    for index in range(len(ours)):
        item = theirs[index]
        np.testing.assert_array_equal(item["actions"], batch.actions[index])
        for key in SPEC:
            np.testing.assert_array_equal(item["obs"][key][0], batch.obs.low_dim[key][index])
        if batch.discount[index]:  # not the last frame, whose next one wraps to the first
            for key in SPEC:
                np.testing.assert_array_equal(item["next_obs"][key][0], batch.next_obs.low_dim[key][index])
        assert item["rewards"][0] == batch.reward[index]


def test_what_its_playback_needs_is_there(file):
    with h5py.File(file) as opened:
        assert set(json.loads(opened["data"].attrs["env_args"])) == {"env_name", "type", "env_kwargs"}
        for demo in opened["data"].values():
            assert demo["states"].dtype == np.float64 and len(demo["states"]) == demo.attrs["num_samples"]
            assert demo.attrs["model_file"].startswith("<mujoco")
        assert opened["data"].attrs["total"] == sum(demo.attrs["num_samples"] for demo in opened["data"].values())


def test_the_scene_names_no_folder_of_this_machine(file):
    with h5py.File(file) as opened:
        assert '"robosuite/models/assets/a.obj"' in opened["data/demo_0"].attrs["model_file"]


def test_next_obs_is_stored_on_request_only(tmp_path):
    with h5py.File(write(tmp_path / "b.hdf5", [episode(5, True)])) as opened:
        assert "next_obs" not in opened["data/demo_0"]


def test_low_dim_data_are_contiguous_float32(file):
    with h5py.File(file) as opened:
        data = opened["data/demo_0/obs/object"]
        assert data.dtype == np.float32 and data.chunks is None and data.compression is None


def test_the_same_episodes_give_the_same_bytes(tmp_path):
    first, second = (write(tmp_path / name, [episode(5, True), episode(8, False)]) for name in ("a.hdf5", "b.hdf5"))
    assert first.read_bytes() == second.read_bytes()
