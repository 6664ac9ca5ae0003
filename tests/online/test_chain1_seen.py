"""A policy from pictures on the real simulator, by the command line: its episodes are exported, and train again."""

import json

import h5py
import numpy as np
import pytest
from commands import run

from robo_orl.config import View

pytestmark = pytest.mark.slow
CAMERAS, SIZE = ("agentview", "robot0_eye_in_hand"), 32
SMALL = ["--set", f"policy.observation.image_size={SIZE}", "--set", "policy.optim.batch_size=8", "--tracker", "none"]
FEW = ("trains=head", "collection.episodes=1", "updates=0.1", "evaluation.points=[0]", "evaluation.episodes=1")


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    """A run that has collected at least two episodes, and the file that they were exported to."""
    pytest.importorskip("robosuite")
    folder = tmp_path_factory.mktemp("chain1")
    data, out = folder / "chain1.hdf5", folder / "online"
    view = ["--cameras", ",".join(CAMERAS), "--size", SIZE]
    run("data", "generate", "--task", "chain1", "--regime", "ph", "--episodes", 2, *view, "--out", data, "--json")
    words = ["--task", "chain1", "--data", data, "--out", folder / "run", "--steps", 2, *SMALL, "--json"]
    run("train", "--policy", "bc+flow+pixels", *words)
    words = ["--method", "bc_continue", "--out", out, "--steps", 201, "--workers", 2, "--json"]
    run("online", folder / "run", *words, *(word for one in FEW for word in ("--set", f"policy.online.{one}")))
    run("data", "collected", out, "--out", folder / "collected.hdf5", "--workers", 1, "--json")
    return folder


def test_pictures_of_the_file_are_those_of_the_replay_and_of_its_states(seen):
    """Drawn again from the states, which come from playing the actions once more."""
    from robo_orl.data.recording import read_recording
    from robo_orl.engine.run_folder import read_run
    from robo_orl.envs.task_env import TaskEnv

    file, view = seen / "collected.hdf5", View(cameras=CAMERAS, size=SIZE)
    env, first = TaskEnv(read_run(seen / "online").task), 0
    with h5py.File(file) as opened:
        names = sorted(opened["data"], key=lambda name: int(name[5:]))
        assert len(names) >= 2
        for name in names:
            recording, demo = read_recording(file, name), opened["data"][name]
            recording.begin(env)
            for number, state in enumerate(recording.states):
                env.pose(state)
                for key, image in env.see(view).items():
                    replay = np.load(seen / f"online/replay/{key}.npy", mmap_mode="r")
                    assert np.array_equal(demo["obs"][key][number], image)
                    assert np.array_equal(replay[first + number], image)
            first += len(recording.states)


def test_the_file_is_valid_and_trains(seen):
    described = json.loads(run("data", "info", seen / "collected.hdf5", "--json"))
    assert described["images"] == {f"{camera}_image": [SIZE, SIZE, 3] for camera in CAMERAS}
    assert described["render"]["look"] == "plain" and described["regime"] == "online"
    run("data", "validate", seen / "collected.hdf5")
    words = ["--task", "chain1", "--data", seen / "collected.hdf5", "--out", seen / "again", "--steps", 2, *SMALL]
    run("train", "--policy", "bc+flow+pixels", *words, "--json")
