"""The replay on disk: what a kill or a power cut leaves is read up to the last whole episode, and nothing else."""

import json
import resource
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from robo_orl.base.errors import UsageError
from robo_orl.config import View
from robo_orl.online.replay import open_replay
from robo_orl.online.replay_request import request_of
from robo_orl.rollout.episodes import FinishedEpisode
from robo_orl.rollout.simulator import Outcome, SimulatorInfo, Trajectory

INFO = SimulatorInfo(40, "b" * 64, {"arm": 2, "cube": 3}, 1, ["half", "goal"], "exact")
REQUEST = request_of("me", INFO)
SEEN = request_of("me", INFO, View(cameras=("front", "side"), size=16))


def finished(number, length=5, success=True):
    draw = np.random.default_rng(number)
    obs = {key: draw.normal(size=(length, size)).astype(np.float32) for key, size in INFO.spec.items()}
    rewards = np.zeros(length, np.float32)
    rewards[-1] = success
    actions, stages = draw.normal(size=(length, 1)).astype(np.float32), np.ones((length, 2), np.uint8)
    pictures = {key: draw.integers(0, 256, (length, 16, 16, 3), np.uint8) for key in ("front_image", "side_image")}
    trajectory = Trajectory(obs, actions, rewards, stages, success, pictures)
    outcome = Outcome(success, success, [1, length], length, 0.5, f"print{number}")
    return FinishedEpisode(number, outcome, 1.0, 0, simulation_s=0.5, trajectory=trajectory)


def filled(folder, count=3, request=REQUEST):
    replay = open_replay(folder, request)
    for number in range(count):
        replay.add(finished(number, 5 + number, success=number != 1), start_seed=number)
    return replay


def test_rows_lie_end_to_end_and_numpy_reads_them(tmp_path):
    filled(tmp_path)
    observations = np.load(tmp_path / "observations.npy", mmap_mode="r")
    assert observations.shape == (5 + 6 + 7, 5)
    assert np.array_equal(observations[5:11, 2:], finished(1, 6).trajectory.obs["cube"])
    assert np.load(tmp_path / "actions.npy").shape == (18, 1) and np.load(tmp_path / "stages.npy").dtype == np.uint8


def test_what_was_added_is_there_when_it_is_opened_again(tmp_path):
    before = filled(tmp_path)
    after = open_replay(tmp_path, REQUEST)
    assert after.episodes == before.episodes and after.frames == 18
    after.add(finished(3), start_seed=3)
    assert open_replay(tmp_path, REQUEST).frames == 23


def test_training_reads_the_vectors_it_wants_in_its_own_order(tmp_path):
    from synthetic import TASK

    arrays = filled(tmp_path).arrays(["cube", "arm"], TASK, episodes=2)
    assert arrays.spec == {"cube": 3, "arm": 2} and arrays.starts.tolist() == [0, 5, 11]
    assert np.array_equal(arrays.obs["arm"][5:], finished(1, 6).trajectory.obs["arm"])
    assert arrays.terminal.tolist() == [True, False] and arrays.masks["success"].tolist() == [True, False]


def test_training_reads_the_pictures_of_the_episodes_it_wants_from_the_disk(tmp_path):
    from synthetic import TASK

    arrays = filled(tmp_path, request=SEEN).arrays(["arm"], TASK, episodes=3, first=1)
    assert list(arrays.images) == ["front", "side"] and arrays.starts.tolist() == [0, 6, 13]
    for camera, images in arrays.images.items():
        there = [finished(number, 5 + number).trajectory.pictures[f"{camera}_image"] for number in (1, 2)]
        assert np.array_equal(images, np.concatenate(there)) and not images.flags.owndata


def test_a_line_that_a_kill_cut_short_is_no_episode(tmp_path):
    filled(tmp_path)
    lines = (tmp_path / "episodes.jsonl").read_text()
    (tmp_path / "episodes.jsonl").write_text(lines[:-20])
    assert len(open_replay(tmp_path, REQUEST).episodes) == 2
    assert (tmp_path / "episodes.jsonl").read_text() == "".join(lines.splitlines(keepends=True)[:2])


def test_rows_without_a_line_are_written_over(tmp_path):
    replay = filled(tmp_path)
    replay._write("observations", replay.frames, np.full((4, 5), np.nan, np.float32))
    again = open_replay(tmp_path, REQUEST)
    again.add(finished(3), start_seed=3)
    assert not np.isnan(again.rows("observations")).any()


@pytest.mark.parametrize("name", SEEN.widths)
def test_an_episode_whose_rows_were_lost_is_dropped_with_those_after_it(tmp_path, name):
    filled(tmp_path, request=SEEN)
    with (tmp_path / f"{name}.npy").open("r+b") as file:
        file.seek(-9, 2)  # within the last episode
        file.write(b"\xa5")
    assert len(open_replay(tmp_path, SEEN).episodes) == 2
    with (tmp_path / f"{name}.npy").open("r+b") as file:
        file.truncate(140)
    assert len(open_replay(tmp_path, SEEN).episodes) < 2


def test_the_replay_of_another_run_or_simulator_is_refused(tmp_path):
    filled(tmp_path)
    with pytest.raises(UsageError, match="another run"):
        open_replay(tmp_path, request_of("you", INFO))
    other = SimulatorInfo(**(vars(INFO) | {"loop": "fast"}))
    with pytest.raises(UsageError, match="its loop differs"):
        open_replay(tmp_path, request_of("me", other))
    assert json.loads((tmp_path / "request.json").read_text())["loop"] == "exact"


@pytest.mark.parametrize("request_name, room", [("REQUEST", 700), ("SEEN", 30_000)], ids=["vectors", "pictures"])
def test_a_full_disk_is_one_sentence_and_leaves_the_replay_as_it_was(tmp_path, request_name, room):
    """A file may not grow beyond a limit of the process: the disk is as good as full."""
    code = f"""
        import resource, signal, sys
        sys.path[:0] = {sys.path!r}
        from pathlib import Path
        from test_replay import REQUEST, SEEN, filled, finished
        from robo_orl.base.errors import RunError
        replay = filled(Path({str(tmp_path)!r}), request={request_name})
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, ({room}, resource.RLIM_INFINITY))
        try:
            replay.add(finished(3, 60), start_seed=3)
        except RunError as error:
            print(error)
    """
    assert resource.RLIMIT_FSIZE
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True)
    assert str(tmp_path) in done.stdout and len(done.stdout.splitlines()) == 1, done.stderr
    again = open_replay(tmp_path, {"REQUEST": REQUEST, "SEEN": SEEN}[request_name])
    assert len(again.episodes) == 3
    again.add(finished(3, 60), start_seed=3)
    assert len(open_replay(tmp_path, again.request).episodes) == 4
