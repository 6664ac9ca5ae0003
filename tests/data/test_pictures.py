"""Pictures on disk, in the cache and in windows, without a simulator."""

from dataclasses import replace
from importlib.metadata import version
from importlib.util import find_spec

import h5py
import numpy as np
import pytest
import seeing
import torch
from seeing import CAMERAS, RENDER, SIZE
from synthetic import SPEC

from robo_orl.base.errors import RunError, UsageError
from robo_orl.config import ObservationConfig
from robo_orl.data import hdf5
from robo_orl.data.cache import open_cache
from robo_orl.data.hdf5 import read_episode
from robo_orl.data.info import describe
from robo_orl.data.task_check import check_pictures
from robo_orl.data.validate import faults
from robo_orl.data.windows import PairedWindows

CHUNK, N = 4, 3


@pytest.fixture
def file(tmp_path):
    return seeing.write(tmp_path / "a.hdf5")


def test_a_file_with_pictures_is_valid_described_and_read_back(tmp_path):
    path = seeing.write(tmp_path / "a.hdf5", next_obs=True)
    assert faults(path) == []
    summary = describe(path)
    assert summary.images == {"agentview_image": [SIZE, SIZE, 3], "robot0_eye_in_hand_image": [SIZE, SIZE, 3]}
    assert summary.obs == SPEC and summary.render == RENDER
    with h5py.File(path) as opened:
        demo = opened["data/demo_1"]
        stored = demo["obs/agentview_image"]
        assert stored.dtype == np.uint8 and stored.chunks is None and stored.compression is None
        np.testing.assert_array_equal(demo["next_obs/agentview_image"][:-1], stored[1:])
        back, written = read_episode(demo), seeing.episode(9, 1)
        np.testing.assert_array_equal(back.images["agentview_image"], written.images["agentview_image"])
        np.testing.assert_array_equal(back.last_images["agentview_image"], written.last_images["agentview_image"])


def test_robomimic_reads_the_pictures(tmp_path):
    pytest.importorskip("robomimic", reason="robomimic is not installed")
    from robomimic.utils import obs_utils
    from robomimic.utils.dataset import SequenceDataset

    path, keys = seeing.write(tmp_path / "a.hdf5", next_obs=True), [f"{camera}_image" for camera in CAMERAS]
    obs_utils.initialize_obs_utils_with_obs_specs({"obs": {"low_dim": list(SPEC), "rgb": keys}})
    theirs = SequenceDataset(
        str(path), [*SPEC, *keys], ("actions",), hdf5_cache_mode="low_dim", hdf5_normalize_obs=False
    )
    ours = PairedWindows(open_cache(path, cameras=CAMERAS), CHUNK, N, 1.0)
    assert len(theirs) == len(ours)
    window = ours.gather(np.array([7]))
    for camera in CAMERAS:
        shown = theirs[7]["obs"][f"{camera}_image"][0]  # robomimic turns it over and scales it as it reads
        if shown.dtype != np.uint8:
            shown = np.round(np.moveaxis(shown, 0, -1) * 255).astype(np.uint8)
        np.testing.assert_array_equal(shown, window.obs.images[camera][0].permute(1, 2, 0))


def test_windows_hold_the_pictures_of_both_frames(file):
    windows = PairedWindows(open_cache(file, cameras=CAMERAS), CHUNK, N, 0.9)
    window = windows.gather(np.array([0, 5, 12]))  # episode 0 frame 0; episode 1 frames 0 and 7, of 9
    assert window.obs.images["agentview"].shape == (3, 3, SIZE, SIZE)
    assert window.obs.images["agentview"].dtype == torch.uint8
    assert window.obs.images["agentview"][:, 0, 0, 0].tolist() == [0, 10, 17]
    assert window.next_obs.images["agentview"][:, 0, 0, 0].tolist() == [3, 13, 11]  # 7 + 3 wraps to 1
    assert window.obs.images["robot0_eye_in_hand"][:, 2, 3, 1].tolist() == [255, 245, 238]


def test_a_history_repeats_the_first_frame_and_never_leaves_the_episode(file):
    windows = PairedWindows(open_cache(file, cameras=CAMERAS), CHUNK, N, 0.9, history=3)
    window = windows.gather(np.array([5, 6, 12]))
    assert window.obs.images["agentview"].shape == (3, 3, 3, SIZE, SIZE)
    assert window.obs.images["agentview"][:, :, 0, 0, 0].tolist() == [[10, 10, 10], [10, 10, 11], [15, 16, 17]]
    arrays = open_cache(file)
    np.testing.assert_array_equal(window.obs.low_dim["object"][2], arrays.obs["object"][10:13])
    assert window.actions.shape == (3, CHUNK, 7)


def test_the_cache_is_mapped_and_keeps_each_camera_once(file, tmp_path):
    images = open_cache(file, cameras=CAMERAS).images["agentview"]
    assert not images.flags.writeable and images.base is not None
    folders = sorted((tmp_path / "cache" / "data").glob("[!.]*agentview*"))
    open_cache(file, ["object"], cameras=["agentview"])
    assert sorted((tmp_path / "cache" / "data").glob("[!.]*agentview*")) == folders and len(folders) == 1
    assert open_cache(file).images == {} and open_cache(file, cameras=["agentview"]).render == RENDER


def test_pictures_of_an_unknown_or_another_renderer_are_said_before_training(file):
    seen = ObservationConfig(cameras=list(CAMERAS), image_size=SIZE)
    arrays = open_cache(file, cameras=CAMERAS)
    assert any("drawn with mujoco 0.0" in note for note in check_pictures(_drawn_with(arrays, "0.0"), seen))
    here = check_pictures(_drawn_with(arrays, version("mujoco")), seen) if find_spec("mujoco") else []
    assert here == []
    unknown = check_pictures(replace(arrays, render=None), seen)
    assert len(unknown) == 1 and "do not say which renderer made them" in unknown[0]


def _drawn_with(arrays, mujoco):
    return replace(arrays, render=RENDER | {"versions": {"mujoco": mujoco}})


def test_a_camera_without_pictures_is_one_sentence_with_the_remedy(file):
    with pytest.raises(UsageError, match=r"no pictures of the camera 'frontview' \(it has agentview, .*add-images"):
        open_cache(file, cameras=["frontview"])


def test_another_resolution_is_refused(file):
    arrays = open_cache(file, cameras=["agentview"])
    check_pictures(arrays, ObservationConfig(cameras=["agentview"], image_size=16))
    with pytest.raises(UsageError, match="16 x 16 pixels of the camera 'agentview', and the policy takes 84 x 84"):
        check_pictures(arrays, ObservationConfig(cameras=["agentview"]))


def test_pictures_of_another_type_are_a_fault(file):
    with h5py.File(file, "r+") as opened:
        obs = opened["data/demo_1/obs"]
        pictures = obs["agentview_image"][:].astype(np.float32)
        del obs["agentview_image"]
        obs["agentview_image"] = pictures
    assert any("pictures are (T, H, W, 3) uint8" in fault for fault in faults(file))


def test_a_disk_without_room_for_pictures_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(hdf5, "SPARE", 2**60)
    with pytest.raises(RunError, match="The disk is full"):
        seeing.write(tmp_path / "a.hdf5")
    assert not list(tmp_path.glob("*.hdf5")) and not list(tmp_path.glob(".*.partial"))


def test_each_pair_is_told_one_sentence_in_both_halves(file):
    table = torch.arange(6).view(3, 2), torch.ones(3, 2, dtype=torch.bool)
    windows = PairedWindows(open_cache(file), CHUNK, N, 0.9, instructions=table)
    window = windows.batch(0, 0, 0, 1, 64)
    assert torch.equal(window.obs.instruction, window.next_obs.instruction)
    assert set(window.obs.instruction[:, 0].tolist()) == {0, 2, 4}
    halves = [windows.batch(0, 0, rank, 2, 64).obs.instruction for rank in (0, 1)]
    assert torch.equal(torch.cat(halves), window.obs.instruction)
