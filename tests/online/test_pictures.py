"""A policy that sees learns online: what its replay holds is what its simulators drew, and no kill changes it."""

import json
import signal

import numpy as np
import pytest
import seen_line
import torch
from seen_line import CAMERAS, RENDER, SIZE, pictures
from test_team import worst_moment
from toy_online import METHOD, go, killed, launched, learned, start_of

from robo_orl.base.errors import RunError, UsageError
from robo_orl.config import deep_merge
from robo_orl.engine.checkpoint import checkpoints
from robo_orl.evaluate.success import warn_of_other_pictures
from robo_orl.online import replay_request
from robo_orl.online.collection import CollectingPolicy
from robo_orl.online.experience import collected_windows
from robo_orl.online.opening import open_windows
from robo_orl.online.replay import stored_replay
from robo_orl.online.start import initial_agent
from robo_orl.rollout.episodes import PolicyQuery
from robo_orl.rollout.simulator import SimulatorInfo

SEEN = deep_merge(METHOD, {"online": {"trains": "head"}})
STEPS = 200


@pytest.fixture(scope="module")
def seeing(tmp_path_factory):
    """A run that was trained on pictures."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("seeing")
        patch.setenv("ROBO_ORL_CACHE", str(folder / "cache"))
        yield seen_line.trained(folder)


@pytest.fixture(scope="module")
def whole(seeing, tmp_path_factory):
    """The uninterrupted run."""
    folder = tmp_path_factory.mktemp("whole")
    go(start_of(seeing, folder, method=SEEN), folder / "out", STEPS)
    return folder / "out"


def test_every_frame_is_kept_with_what_each_camera_saw_of_it(whole):
    """Drawn again from the stored positions; timeouts and successes are among the episodes."""
    positions = np.load(whole / "replay/observations.npy")[:, 0]
    for camera in CAMERAS:
        stored = np.load(whole / f"replay/{camera}_image.npy", mmap_mode="r")
        assert stored.dtype == np.uint8 and np.array_equal(stored, pictures(camera, positions))
    episodes = stored_replay(whole / "replay").episodes
    assert {episode.success for episode in episodes} == {True, False}
    assert [episode.terminal for episode in episodes] == [episode.success for episode in episodes]


def test_files_are_as_large_as_is_said_before(whole):
    replay = stored_replay(whole / "replay")
    files = {file.name: file.stat().st_size for file in (whole / "replay").glob("*.npy")}
    assert len(files) == 6 and sum(files.values()) == 6 * 128 + replay.frames * replay.request.step_bytes
    assert files["side_image.npy"] == 128 + replay.frames * SIZE * SIZE * 3


def test_windows_show_both_frames_of_a_pair_with_their_history(seeing, whole, tmp_path):
    """Cameras in the policy's order, mapped from the disk and not read into memory."""
    start = start_of(seeing, tmp_path, method=SEEN)
    replay = stored_replay(whole / "replay")
    windows = collected_windows(start.run, replay, list(start.spec.obs), len(replay.episodes))
    assert list(windows.arrays.images) == list(CAMERAS)
    assert not any(array.flags.writeable or array.flags.owndata for array in windows.arrays.images.values())
    at = np.arange(0, len(windows.frames) - 3, 7)
    window = windows.gather(at)
    positions, starts = windows.arrays.observations[:, 0], windows.arrays.starts
    first = starts[window.episode.numpy()]
    after = first + (at - first + windows.n) % np.diff(starts)[window.episode.numpy()]
    for obs, now in ((window.obs, at), (window.next_obs, after)):
        frames = np.stack((np.maximum(now - 1, first), now), axis=1)  # oldest first, the first frame repeated
        for camera in CAMERAS:
            seen = obs.images[camera].movedim(-3, -1).numpy()
            assert np.array_equal(seen, pictures(camera, positions[frames]))


def test_two_simulator_processes_change_nothing(seeing, whole, tmp_path):
    go(start_of(seeing, tmp_path, method=SEEN), tmp_path / "out", STEPS, workers=2)
    assert learned(tmp_path / "out") == learned(whole)


@pytest.mark.parametrize(
    "place, count",
    [
        ("rows", 11),  # of the second episode one camera is written, and not the other
        pytest.param("line", 3, marks=pytest.mark.slow),
        pytest.param("update", 4, marks=pytest.mark.slow),
        pytest.param("point", 2, marks=pytest.mark.slow),
    ],
)
def test_a_killed_run_goes_on_and_collects_nothing_twice(seeing, whole, tmp_path, place, count):
    out = tmp_path / "out"
    assert killed(seeing, tmp_path, out, place, count, STEPS, SEEN) == -signal.SIGKILL
    before = (out / "replay/episodes.jsonl").read_text()
    go(start_of(seeing, tmp_path, method=SEEN), out, STEPS)
    assert learned(out) == learned(whole)
    assert (out / "replay/episodes.jsonl").read_text().startswith(before)


def test_pictures_of_another_renderer_are_not_added_to_a_replay(seeing, whole, tmp_path):
    start = start_of(seeing, tmp_path, method=SEEN)
    (tmp_path / "out").mkdir()
    (tmp_path / "out/replay").symlink_to(whole / "replay")
    with pytest.raises(UsageError, match="another simulator .its render differs"):
        go(start, tmp_path / "out", 2 * STEPS, reference="e" * 64)


def test_a_policy_is_told_that_it_learned_from_other_pictures(seeing, tmp_path, capsys):
    start = start_of(seeing, tmp_path, method=SEEN)
    warn_of_other_pictures(start.render, SimulatorInfo(40, "b" * 64, {"position": 1}, 1, ["goal"], "", RENDER))
    assert not capsys.readouterr().err
    go(start, tmp_path / "out", 1, reference="e" * 64)
    assert "learned from other pictures than it is shown" in capsys.readouterr().err


def test_what_a_large_replay_takes_is_said_before_and_nothing_of_a_small_one(whole, tmp_path, capsys, monkeypatch):
    request = stored_replay(whole / "replay").request
    assert request.step_bytes == 2 * SIZE * SIZE * 3 + 4 * (1 + 1 + 1) + 2  # two cameras, float32 vectors, two stages
    replay_request.check_room(tmp_path, request, 200, 0)
    assert not capsys.readouterr().err
    monkeypatch.setattr(replay_request, "LARGE", 200 * request.step_bytes - 1)
    replay_request.check_room(tmp_path / "replay", request, 200, 0)
    assert f"replay of 200 steps will take 0.3 MB in {tmp_path}/replay (1.6 kB a step)" in capsys.readouterr().err


def test_a_disk_without_room_for_the_whole_replay_is_refused_before_anything_is_written(
    seeing, whole, tmp_path, monkeypatch
):
    start, request = start_of(seeing, tmp_path, method=SEEN), stored_replay(whole / "replay").request
    open_windows(start)  # the data's own cache takes room as well
    free = STEPS * request.step_bytes
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Disk", (), {"free": free})())
    with pytest.raises(RunError, match="replay of 201 steps takes 0.3 MB, 0.3 MB of it still.*has 0.3 MB free: lower"):
        go(start, tmp_path / "out", STEPS + 1)
    assert not (tmp_path / "out/config.json").exists() and not (tmp_path / "out/replay").exists()
    replay_request.check_room(whole / "replay", request, 2 * STEPS, STEPS)  # half of it is there


PPO = {
    "description": "PPO on a line that is seen.",
    "objective": {"name": "ppo"},
    "critic": {"topology": "shared", "target": "none"},
    "n_step": "execute",
    "optim": {"schedule": "constant", "lr": 1e-3, "warmup_steps": 0, "batch_size": 16},
    "online": {
        "collection": {"episodes": 2, "selection": {"acting": "sample"}},
        "replay": {"mix": "online"},
        "evaluation": {"points": [0, 200], "every": 200, "episodes": 2},
    },
}
REFUSED = {
    "cached tokens": (deep_merge(SEEN, {"online": {"trains": "cached"}}), "set online.trains to head"),
    "an augmented likelihood": (PPO, "set observation.shift and observation.jitter to 0"),
    "a reward of vectors": (deep_merge(SEEN, {"online": {"imitation": {"source": "gail"}}}), "compares the vectors"),
}


@pytest.mark.parametrize("method, says", REFUSED.values(), ids=REFUSED)
def test_what_pictures_do_not_go_with_is_refused_before_anything_is_written(seeing, tmp_path, method, says):
    head = () if "qc" in str(method) else ("policy.action_head.kind=gaussian", "policy.action_head.flow_steps=10")
    with pytest.raises(UsageError, match=says):
        go(start_of(seeing, tmp_path, *head, method=method), tmp_path / "out", STEPS)
    assert not (tmp_path / "out").exists()


def test_the_other_tasks_of_a_start_are_seen_in_their_own_look(tmp_path):
    """Both are judged at every point, and the row of the other task is that of its own environment."""
    far = seen_line.SEEN_TASK.model_copy(update={"name": "far", "instruction": "stop at one, from afar"})
    run = seen_line.trained(tmp_path, {"observation": {"instruction": True}}, (seen_line.SEEN_TASK, far))
    start = start_of(run, tmp_path, method=SEEN, task="line")
    assert start.render == RENDER and start.other_renders == (RENDER,) and start.spec.render == [RENDER]
    go(start, tmp_path / "out", 60)
    rows = [json.loads(line) for line in (tmp_path / "out/online.jsonl").read_text().splitlines()]
    assert all(row["others"]["far"]["success"]["n"] == 3 for row in rows if row["kind"] in ("start", "point"))
    scores = json.loads((tmp_path / "out/eval/eval.json").read_text())
    assert scores["render"]["reference_sha256"] == RENDER["reference_sha256"] and scores["render_difference"] is None


@pytest.mark.slow
def test_two_learning_processes_read_the_pictures_that_the_first_one_collects(seeing, tmp_path):
    """They make the update that one process makes, to rounding."""
    start = start_of(seeing, tmp_path, method=SEEN)
    go(start, tmp_path / "one", 100)
    done = launched(seeing, tmp_path, tmp_path / "two", 100, SEEN)
    assert done.returncode == 0, done.stderr[-3000:]
    assert worst_moment(tmp_path / "one", tmp_path / "two") <= 1e-4


# --------------------------------------------------------------------------------------------- rounds of its own, VLAs


def test_an_on_policy_round_is_learned_from_by_its_pictures(tmp_path):
    run = seen_line.trained(tmp_path, {"action_head": {"kind": "gaussian", "flow_steps": 10}})
    method = deep_merge(PPO, {"observation": {"shift": 0}})
    account = go(start_of(run, tmp_path, method=method), tmp_path / "out", 100)
    assert account["updates"] > 0 and (tmp_path / "out/replay/side_image.npy").exists()
    go(start_of(run, tmp_path, method=method), tmp_path / "again", 100, workers=2)
    assert learned(tmp_path / "again") == learned(tmp_path / "out")


def test_a_vision_language_action_policy_learns_from_what_it_collects(tmp_path):
    debug = {
        "name": "tiny_vla",
        "observation": {"history": 1, "shift": 0, "instruction": True},
        "backbone": {"kind": "vlm", "size": "debug", "patch": 32},
    }
    run = seen_line.trained(tmp_path, debug)
    method = {
        "description": "Cloning goes on.",
        "optim": {"schedule": "constant", "lr": 1e-3, "warmup_steps": 0, "batch_size": 8},
        "online": {"collection": {"episodes": 1}, "replay": {"mix": "half"}, "updates": 0.05, "evaluation": {
            "points": [0], "every": 1000, "episodes": 1,
        }},
    }  # fmt: skip
    start = start_of(run, tmp_path, method=method)
    account = go(start, tmp_path / "out", 41, history=1)
    assert account["updates"] >= 1 and int(checkpoints(tmp_path / "out")[-1].name[5:]) == account["updates"]


@pytest.mark.parametrize("acts_in, batches", [(torch.float32, [1, 1, 1]), (torch.float64, [3])])
def test_in_float32_an_episode_does_not_depend_on_which_others_wait(seeing, tmp_path, monkeypatch, acts_in, batches):
    monkeypatch.setattr("robo_orl.evaluate.policy.acting_dtype", lambda parameters: acts_in)
    start, sizes = start_of(seeing, tmp_path, method=SEEN), []
    actor = CollectingPolicy(initial_agent(start, None), start.run.policy, 0, None, "cpu")
    monkeypatch.setattr(actor, "act", lambda obs, draws: sizes.append(len(obs)) or actor.agent.act(obs, draws))
    seen = {"position": np.zeros((2, 1), np.float32)} | {f"{c}_image": pictures(c, np.zeros(2)) for c in CAMERAS}
    assert actor([PolicyQuery(episode, 0, seen) for episode in range(3)]).shape == (3, 2, 1) and sizes == batches
