"""LeRobot, in an environment of its own, reads what is written here: ROBO_ORL_LEROBOT_PYTHON names its Python."""

import json
import os
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from synthetic import episode, write
from test_lerobot import seen

from robo_orl.config.presets import load_task
from robo_orl.data.generate import generate
from robo_orl.data.lerobot.from_hdf5 import export_lerobot
from robo_orl.data.lerobot.selection import Choice
from robo_orl.data.lerobot.to_hdf5 import convert_lerobot
from robo_orl.envs.demonstrators.regimes import plan, record
from robo_orl.envs.start_banks import stored_bank
from robo_orl.envs.task_env import TaskEnv

PYTHON = os.environ.get("ROBO_ORL_LEROBOT_PYTHON", "")
WHY = "ROBO_ORL_LEROBOT_PYTHON does not name a Python that has lerobot (docs/start/own-data.md says how to make one)"
SIDE = Path(__file__).parent / "lerobot_side.py"
pytestmark = [pytest.mark.slow, pytest.mark.skipif(not PYTHON, reason=WHY)]


ROOT = Path(__file__).parents[2]


def run(folder, *arguments):
    """The output of the other Python; it sees the plug-in, and of this environment the Python alone."""
    kept = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(folder / "hf")}
    kept["ROBO_ORL_PYTHON"] = f"env -u LD_LIBRARY_PATH PYTHONPATH={ROOT} {sys.executable}"
    kept["PYTHONPATH"] = str(ROOT / "integrations/lerobot_env_robo_orl")
    done = subprocess.run([PYTHON, *arguments], capture_output=True, text=True, timeout=600, env=kept, cwd=folder)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def lerobot(task, path):
    """The answer of the other side."""
    return json.loads(run(path.parent, str(SIDE), task, str(path)).splitlines()[-1])


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


def test_lerobots_environment_plays_our_tasks(tmp_path):
    """The expert's actions from start state 0 succeed there when they do here, and in the same decision."""
    lift = load_task("lift")
    env = TaskEnv(lift)
    expert = record(env, stored_bank(lift, "test")[0], plan(lift, "ph", 1)[0])
    env.close()
    assert expert.success
    np.save(tmp_path / "actions.npy", expert.actions)
    said = lerobot("play", tmp_path / "actions.npy")
    assert said["success"] == [False] * (len(expert) - 1) + [True]
    assert said["shapes"]["observation.state"] == [1, 9]
    assert said["shapes"]["observation.images.agentview"] == [1, 3, 32, 32]
    assert {key: shape[1:] for key, shape in said["shapes"].items()} == {
        key: shape for key, shape in said["features"].items() if key != "action"
    }
    assert said["fps"] == 20 and said["picture"] == [256, 256, 3]


@pytest.mark.timeout(1500)
def test_a_policy_of_lerobot_learns_from_an_export_and_is_evaluated_here(tmp_path):
    generate(load_task("lift"), "ph", 1, tmp_path / "a.hdf5", workers=1, progress=False)
    export_lerobot(tmp_path / "a.hdf5", tmp_path / "set", progress=False)
    small = ["--policy.dim_model=16", "--policy.n_heads=2", "--policy.dim_feedforward=16"]
    small += ["--policy.n_encoder_layers=1", "--policy.use_vae=false", "--policy.chunk_size=8"]
    words = [
        "--policy.type=act",
        "--policy.n_action_steps=8",
        "--policy.device=cpu",
        "--policy.push_to_hub=false",
        *small,
    ]
    words += ["--dataset.repo_id=local/lift", f"--dataset.root={tmp_path / 'set'}", "--steps=2", "--num_workers=0"]
    run(tmp_path, "-m", "lerobot.scripts.lerobot_train", *words, f"--output_dir={tmp_path / 'act'}")
    words = [f"--policy.path={tmp_path / 'act/checkpoints/last/pretrained_model'}", "--policy.device=cpu", "--seed=0"]
    words += ["--env.discover_packages_path=lerobot_env_robo_orl", "--env.type=robo_orl"]
    short = tmp_path / "short.yaml"  # LeRobot films every decision
    short.write_text("extends: lift\nname: short\nmax_seconds: 1.0\n")
    words += [f"--env.task={short}", "--eval.n_episodes=2", "--eval.batch_size=1", f"--output_dir={tmp_path / 'out'}"]
    run(tmp_path, "-m", "lerobot.scripts.lerobot_eval", *words)
    said = json.loads((tmp_path / "out/eval_info.json").read_text())
    assert said["overall"]["n_episodes"] == len(said["per_task"][0]["metrics"]["successes"]) == 2
