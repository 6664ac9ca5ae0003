"""A file that a script of somebody else wrote, with robosuite and h5py alone, trains, evaluates and is converted."""

import json
from pathlib import Path

import h5py
import numpy as np
import pytest

import robo_orl
from robo_orl.config.presets import load_task
from robo_orl.data.convert import convert
from robo_orl.data.validate import examine

pytestmark = pytest.mark.slow
suite = pytest.importorskip("robosuite", reason="robosuite is not installed")
KEYS = {"object": "object-state"} | {k: k for k in ("robot0_eef_pos", "robot0_eef_quat", "robot0_gripper_qpos")}
TAIL = 5  # frames that are recorded after the success
SETTINGS = {
    "robots": "Panda",
    "control_freq": 20,
    "has_renderer": False,
    "has_offscreen_renderer": False,
    "use_camera_obs": False,
    "use_object_obs": True,
    "ignore_done": True,
    "reward_shaping": False,
}


def targets(seen):
    """Phase -> where the hand goes, whether it is closed, how near it must come (metres), how many frames it waits."""
    hand, upper, lower = (np.array(seen[key]) for key in ("robot0_eef_pos", "cubeA_pos", "cubeB_pos"))
    held = hand - upper
    return [
        (upper + [0, 0, 0.10], False, 0.012, 0),
        (upper, False, 0.008, 0),
        (hand, True, 1.0, 9),
        (np.array([hand[0], hand[1], lower[2] + 0.16]), True, 0.015, 0),
        (lower + [0, 0, 0.12] + held * [1, 1, 0], True, 0.012, 0),
        (lower + [0, 0, 0.048] + held, True, 0.008, 0),
        (hand + [0, 0, 0.05], False, 0.0, 0),
    ]


def episode(env):
    """(states, actions, observations, rewards), one a frame, of a scripted pick and place."""
    seen, phase, waited, rows = env.reset(), 0, 0, []
    while len(rows) < 400 and sum(row[3] > 0 for row in rows) < TAIL:
        target, closed, near, wait = targets(seen)[phase]
        way = target - seen["robot0_eef_pos"]
        action = np.append(np.clip(12 * way, -1, 1), [0, 0, 0, 1 if closed else -1])
        state, before = env.sim.get_state().flatten(), seen
        seen, reward, _, _ = env.step(action)
        rows.append((state, action, before, reward))
        arrived = np.linalg.norm(way) < near and waited >= wait
        phase, waited = (phase + 1, 0) if arrived else (phase, waited + 1)
    return zip(*rows, strict=True) if rows[-1][3] > 0 else episode(env)


def record(path: Path, episodes: int) -> Path:
    from robosuite.controllers import load_composite_controller_config

    settings = SETTINGS | {"controller_configs": load_composite_controller_config(robot="Panda")}
    env = suite.make("Stack", **settings)
    with h5py.File(path, "w") as file:
        data, total = file.create_group("data"), 0
        for number in range(episodes):
            states, actions, seen, rewards = episode(env)
            demo = data.create_group(f"demo_{number}")
            demo.attrs["num_samples"], demo.attrs["model_file"] = len(actions), env.sim.model.get_xml()
            demo["states"], demo["actions"], demo["rewards"] = np.array(states), np.array(actions), np.array(rewards)
            demo["dones"] = (np.array(rewards) > 0).astype(int)
            for name, key in KEYS.items():
                demo[f"obs/{name}"] = np.array([frame[key] for frame in seen])
            total += len(actions)
        data.attrs["total"] = total
        data.attrs["env_args"] = json.dumps({"env_name": "Stack", "type": 1, "env_kwargs": settings})
    return path


def test_it_trains_evaluates_and_is_converted(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("ROBO_ORL_CACHE", str(tmp_path / "cache"))
    theirs = record(tmp_path / "theirs.hdf5", 2)
    assert examine(theirs).trains == examine(theirs).replays == []
    short = ["policy.optim.steps=2", "policy.optim.batch_size=8"]
    options = {"progress": False, "tracker": "none"}
    assert robo_orl.train_policy("iql", "stack", theirs, tmp_path / "run", short, **options)["finished"]
    said = capsys.readouterr().err
    assert f"{2 * (TAIL - 1)} frames after the first success of 2 episodes are left out" in said
    assert "it has no stages" in said and "`robo-orl data convert" in said
    score = robo_orl.evaluate_policy(tmp_path / "run", episodes=1, workers=1, progress=False)
    assert score["success_once"]["n"] == 1
    made = convert(theirs, load_task("stack"), tmp_path / "made.hdf5", workers=1, progress=False).summary
    assert made.all.success_k == 2 and examine(made.path).all() == []
