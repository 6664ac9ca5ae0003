"""Generation on the simulator: one file, the same bytes however it came about, and a replay that is bit-equal."""

import json
import re
import signal
import subprocess
import sys
import time

import h5py
import numpy as np
import psutil
import pytest
from interruptible import start_interruptible
from synthetic import TASK, episode, write

from robo_orl.base.errors import UsageError
from robo_orl.config.presets import load_task
from robo_orl.data.generate import generate
from robo_orl.data.info import describe
from robo_orl.data.replay import replay
from robo_orl.data.validate import faults

pytest.importorskip("robosuite", reason="robosuite is not installed")
EPISODES = 8  # enough that a call can be stopped between two of them on a busy machine
KEPT = re.compile(r"Interrupted: [12] of 8 episodes are kept in")


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """lift, regime mg, by two workers."""
    out = tmp_path_factory.mktemp("generated") / "lift.hdf5"
    summary = generate(load_task("lift"), "mg", EPISODES, out, workers=2, next_obs=True, progress=False)
    return out, summary.to_json()


def test_the_file_is_valid_and_described(recorded):
    out, summary = recorded
    assert faults(out) == []
    json.dumps(summary)
    assert summary["all"]["episodes"] == summary["recorded_now"] == EPISODES
    assert (summary["task"], summary["regime"], summary["loop"]) == ("lift", "mg", "exact")
    assert [path.name for path in out.parent.iterdir()] == [out.name]  # no shard is left


def test_an_interrupted_and_a_killed_call_continue_to_the_same_bytes(recorded, tmp_path):
    """One worker instead of two, Ctrl-C after the first episode, kill -9 after the second."""
    out = tmp_path / "lift.hdf5"
    command = [sys.executable, "-m", "robo_orl", "data", "generate", "--task", "lift", "--regime", "mg", "--next-obs"]
    command += ["--episodes", str(EPISODES), "--workers", "1", "--out", str(out)]
    for stop, shards in ((signal.SIGINT, 1), (signal.SIGKILL, 2)):
        process = start_interruptible(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
        workers = _stop_after(process, out, shards, stop)
        _, said = process.communicate(timeout=60)
        assert process.returncode == (-9 if stop == signal.SIGKILL else 130)
        assert stop == signal.SIGKILL or (KEPT.search(said) and "Traceback" not in said)
        assert not out.exists()
        assert psutil.wait_procs(workers, timeout=30)[1] == []  # a worker does not outlive its parent
    written = generate(load_task("lift"), "mg", EPISODES, out, workers=1, next_obs=True, progress=False)
    assert written.counts["recorded_now"] < EPISODES
    assert out.read_bytes() == recorded[0].read_bytes()


def _stop_after(process, out, shards, stop):
    """Stop the command once so many episodes are kept; its worker processes."""
    folder = out.with_name(f".{out.name}.shards")
    deadline = time.monotonic() + 300
    while len(list(folder.glob("[0-9]*.hdf5"))) < shards:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    workers = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(stop)
    return workers


def test_a_complete_file_is_left_alone(recorded):
    out, _ = recorded
    before = out.stat().st_mtime_ns
    written = generate(load_task("lift"), "mg", EPISODES, out, next_obs=True, progress=False)
    assert written.already_complete and out.stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"seed": 1}, "its seed is 0, not 1"),
        ({"regime": "ph"}, "its regime is 'mg', not 'ph'"),
        ({"episodes": 9}, "its episodes is 8, not 9"),
        ({"task": "can"}, "its task is lift, not can"),
        ({"next_obs": False}, "its next_obs is True, not False"),
    ],
)
def test_a_file_that_holds_something_else_is_not_overwritten(recorded, asked, said):
    wanted = {"task": "lift", "regime": "mg", "episodes": EPISODES, "next_obs": True} | asked
    with pytest.raises(UsageError, match=said):
        generate(load_task(wanted.pop("task")), out=recorded[0], progress=False, **wanted)


def test_an_unknown_regime_is_an_error_with_a_suggestion(tmp_path):
    with pytest.raises(UsageError, match="Did you mean"):
        generate(load_task("lift"), "mgg", 1, tmp_path / "a.hdf5", progress=False)
    assert list(tmp_path.glob("*.hdf5")) == []


def test_replay_meets_every_stored_state_bit_for_bit(recorded):
    summary = replay(recorded[0], workers=2, progress=False).to_json()
    assert summary["success_n"] == summary["bit_equal_k"] == EPISODES and summary["max_state_difference"] == 0.0
    assert summary["recorded_success_k"] == summary["replayed_success_k"] == describe(recorded[0]).all.success_k


def test_replay_notices_other_actions(recorded, tmp_path):
    changed = tmp_path / "changed.hdf5"
    changed.write_bytes(recorded[0].read_bytes())
    with h5py.File(changed, "r+") as file:
        names = [name for name, demo in file["data"].items() if demo.attrs["success"]]
        file["data"][names[0]]["actions"][:] = 0
        only = int(names[0][5:]) + 1
    row = replay(changed, episodes=only, workers=1, progress=False).rows[-1]
    assert row.recorded and not row.replayed and row.max_state_difference > 1e-3


def test_states_of_another_scene_cannot_be_replayed(tmp_path):
    path = write(tmp_path / "a.hdf5", [episode(5, True)], task=load_task("lift"))
    with pytest.raises(UsageError, match="The stored states hold 11 numbers, and the scene Lift has 32"):
        replay(path, workers=1, progress=False)


def test_robomimic_playback_restores_scene_and_state(recorded):
    """robomimic's EnvRobosuite.reset_to, spelled out (the released one needs mujoco_py): model_file, then states[t]."""
    import robosuite

    with h5py.File(recorded[0]) as file:
        arguments, demo = json.loads(file["data"].attrs["env_args"]), file["data/demo_0"]
        model, states, seen = demo.attrs["model_file"], demo["states"][:], demo["obs/robot0_eef_pos"][:]
    env = robosuite.make(arguments["env_name"], **arguments["env_kwargs"])
    env.reset()
    env.reset_from_xml_string(env.edit_model_xml(model))
    for t in (0, len(states) // 2, len(states) - 1):
        env.sim.set_state_from_flattened(states[t])
        env.sim.forward()
        hand = env.sim.data.site_xpos[env.robots[0].eef_site_id["right"]]
        # observations are one physics substep old, in which the hand moves a millimetre at most
        np.testing.assert_allclose(hand, seen[t], atol=2e-3)
    env.close()


def test_another_task_of_the_same_name_is_told_apart(tmp_path):
    out = write(tmp_path / "a.hdf5", [episode(5, True)])
    lift = load_task("lift")
    with pytest.raises(UsageError, match="its task is toy, not lift"):
        generate(lift, "mh", 1, out, progress=False)
    toy = TASK.model_copy(update={"env": "lift", "control_hz": 10})
    with pytest.raises(UsageError, match="another definition of toy"):
        generate(toy, "mh", 1, out, progress=False)
