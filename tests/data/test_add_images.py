"""Pictures from the simulator: rendered while recording or from stored states, pixel for pixel the same."""

import shutil
import signal
import subprocess
import sys
import time

import h5py
import numpy as np
import psutil
import pytest

from robo_orl.base.errors import RunError, UsageError
from robo_orl.config import View
from robo_orl.config.presets import load_task
from robo_orl.data.add_images import add_images
from robo_orl.data.generate import generate
from robo_orl.data.validate import faults

pytest.importorskip("robosuite", reason="robosuite is not installed")
VIEW = View(cameras=("agentview", "robot0_eye_in_hand"), size=32)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """lift, regime ph, two episodes, with pictures."""
    out = tmp_path_factory.mktemp("recorded") / "lift.hdf5"
    try:
        generate(load_task("lift"), "ph", 2, out, workers=1, progress=False, view=VIEW)
    except RunError as error:
        pytest.skip(f"no renderer on this machine: {error}")
    return out


@pytest.fixture(scope="module")
def blind(recorded, tmp_path_factory):
    """The same file without its pictures."""
    out = tmp_path_factory.mktemp("blind") / "lift.hdf5"
    shutil.copyfile(recorded, out)
    with h5py.File(out, "r+") as file:
        for demo in file["data"].values():
            for camera in VIEW.cameras:
                del demo[f"obs/{camera}_image"]
        del file["data"].attrs["view"], file["data"].attrs["render"]
    assert faults(out) == []
    return out


@pytest.fixture(scope="module")
def seeing(blind, tmp_path_factory):
    """The same with pictures from its states, rendered by a call that was killed after the first demo, and again."""
    out = tmp_path_factory.mktemp("seeing") / "lift.hdf5"
    shutil.copyfile(blind, out)
    cameras = ",".join(VIEW.cameras)
    command = [sys.executable, "-m", "robo_orl", "data", "add-images", str(out), "--cameras", cameras, "--size", "32"]
    process = subprocess.Popen([*command, "--workers", "1", "--json"], stderr=subprocess.PIPE, stdout=subprocess.PIPE)
    folder = out.with_name(f".{out.name}.images")
    while process.poll() is None and not list(folder.glob("*.npz")):
        time.sleep(0.01)
    workers = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
    process.send_signal(signal.SIGKILL)
    process.wait()
    psutil.wait_procs(workers, timeout=30)
    return out, add_images(out, VIEW, workers=1, progress=False)


def test_a_killed_call_goes_on_and_leaves_nothing_beside_the_file(seeing):
    out, written = seeing
    assert written.counts.get("rendered_now", 0) < 2
    assert [path.name for path in out.parent.iterdir()] == [out.name]
    assert faults(out) == [] and written.summary.render["look"] == "plain"
    assert add_images(out, VIEW, progress=False).already_complete


def test_stored_states_show_what_was_seen_while_recording(seeing, recorded):
    with h5py.File(recorded) as one, h5py.File(seeing[0]) as other:
        for demo in one["data"]:
            for key in one["data"][demo]["obs"]:
                a, b = one["data"][demo]["obs"][key][:], other["data"][demo]["obs"][key][:]
                np.testing.assert_array_equal(a, b, err_msg=key)
        assert one["data/demo_0/obs/agentview_image"][:].std() > 10
        assert one["data"].attrs["render"] == other["data"].attrs["render"]


def test_other_pictures_and_unknown_cameras_are_refused(seeing, blind, tmp_path):
    with pytest.raises(UsageError, match="has other pictures"):
        add_images(seeing[0], VIEW.model_copy(update={"size": 48}), progress=False)
    copy = tmp_path / "lift.hdf5"
    shutil.copyfile(blind, copy)
    with pytest.raises(UsageError, match="Did you mean 'agentview'"):
        add_images(copy, View(cameras=("agentvew",), size=32), workers=1, progress=False)


def test_generating_over_a_file_with_another_view_is_refused(blind):
    with pytest.raises(UsageError, match="holds other data: its view is None"):
        generate(load_task("lift"), "ph", 2, blind, view=VIEW, progress=False)


def test_fingerprints_name_what_differs():
    from robo_orl.envs.rendering.renderer import difference, render_fingerprint

    try:
        plain = render_fingerprint("plain")
    except RunError as error:
        pytest.skip(f"no renderer on this machine: {error}")
    full = render_fingerprint("full")
    assert difference(plain, render_fingerprint("plain")) is None
    assert "look plain there and full here" in difference(full, plain)
    other = plain | {"renderer": "glfw", "reference_sha256": "0"}
    assert difference(plain, other) == "renderer glfw there and egl here"
