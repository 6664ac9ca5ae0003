"""LeRobot, in an environment of its own, reads what is written here: ROBO_ORL_LEROBOT_PYTHON names its Python."""

import json
import os
import subprocess
from pathlib import Path

import h5py
import numpy as np
import pytest
from synthetic import episode, write
from test_lerobot import seen

from robo_orl.data.lerobot.from_hdf5 import export_lerobot
from robo_orl.data.lerobot.selection import Choice
from robo_orl.data.lerobot.to_hdf5 import convert_lerobot

PYTHON = os.environ.get("ROBO_ORL_LEROBOT_PYTHON", "")
WHY = "ROBO_ORL_LEROBOT_PYTHON does not name a Python that has lerobot (docs/start/own-data.md says how to make one)"
SIDE = Path(__file__).parent / "lerobot_side.py"
pytestmark = [pytest.mark.slow, pytest.mark.skipif(not PYTHON, reason=WHY)]


def lerobot(task, folder):
    """The answer of the other side. This environment's own paths stay here."""
    kept = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    kept |= {"HF_HUB_OFFLINE": "1", "HF_HOME": str(folder.parent / "hf")}
    done = subprocess.run([PYTHON, str(SIDE), task, str(folder)], capture_output=True, text=True, timeout=280, env=kept)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_lerobot_reads_an_export(tmp_path):
    episodes = [
        episode(9, True, 0, images={"agentview_image": seen(9)}),
        episode(12, False, 1, images={"agentview_image": seen(12)}),
    ]
    source = write(tmp_path / "a.hdf5", episodes)
    export_lerobot(source, tmp_path / "set", instruction="place the cube", progress=False)
    said = lerobot("read", tmp_path / "set")
    assert (said["frames"], said["episodes"], set(said["tasks"])) == (21, 2, {"place the cube"})
    assert said["policy"] == {
        "observation.state": ["STATE", [3]],
        "observation.environment_state": ["ENV", [5]],
        "action": ["ACTION", [7]],
        "observation.images.agentview": ["VISUAL", [3, 32, 48]],
    }
    numbers = np.load(tmp_path / "seen.npz")
    with h5py.File(source) as file:
        demos = [file["data"][name] for name in ("demo_0", "demo_1")]
        joined = {key: np.concatenate([demo[key] for demo in demos]) for key in ("actions", "rewards", "obs/object")}
        pictures = np.concatenate([demo["obs/agentview_image"] for demo in demos]).transpose(0, 3, 1, 2) / 255
    np.testing.assert_array_equal(numbers["action"][:, 0], joined["actions"])
    np.testing.assert_array_equal(numbers["action"][3, 2], joined["actions"][5])  # a chunk that begins at frame 3
    np.testing.assert_array_equal(numbers["next.reward"].ravel(), joined["rewards"])
    np.testing.assert_array_equal(numbers["observation.environment_state"], joined["obs/object"])
    assert abs(numbers["observation.images.agentview"] - pictures).mean(axis=(1, 2, 3)).max() < 4 / 255


def test_what_lerobot_writes_today_is_read(tmp_path):
    assert lerobot("write", tmp_path / "set")["episodes"] == 3
    written = convert_lerobot(tmp_path / "set", tmp_path / "a.hdf5", Choice(), progress=False)
    assert (written.summary.all.episodes, written.summary.all.success_k, written.summary.all.frames) == (3, 3, 36)
