"""A video shows an episode with the stage under way, and is there whole or not at all."""

import os
import subprocess
import sys

import imageio_ffmpeg
import numpy as np
import pytest
from scripted_scene import LineScene

from robo_orl.base.errors import RunError
from robo_orl.rollout.episodes import Rollouts
from robo_orl.rollout.video import SIZE, caption, overlaid


def film(scene, path):
    def steady(queries):
        return np.full((len(queries), 5, 1), 0.5)

    with Rollouts(scene, steady, workers=1, videos={0: path}) as rollouts:
        return list(rollouts.run([0]))[0]


def test_an_episode_becomes_one_frame_per_decision_at_the_tasks_rate(tmp_path):
    finished = film(LineScene(tmp_path), tmp_path / "episode.mp4")
    reader = imageio_ffmpeg.read_frames(str(tmp_path / "episode.mp4"))
    about = next(reader)
    assert about["size"] == (SIZE, SIZE) and about["fps"] == 20
    assert sum(1 for _ in reader) == finished.outcome.length + 1
    assert [p.name for p in tmp_path.glob("*.mp4")] == ["episode.mp4"]


def test_the_caption_names_the_stage_under_way():
    assert caption(["half", "goal"], [None, None], 0) == "next, 1 of 2: half  (0 decisions)"
    assert caption(["half", "goal"], [7, None], 9) == "next, 2 of 2: goal  (9 decisions)"
    assert caption(["half", "goal"], [7, 12], 12) == "success  (12 decisions)"


def test_the_caption_is_written_over_the_foot_of_the_picture():
    picture = np.full((128, 128, 3), 200, np.uint8)
    shown = overlaid(picture, "stage 1/2")
    assert (shown[:100] == 200).all() and shown[112:].max() > 240 and shown[112:].min() < 100


def test_no_renderer_is_one_sentence_and_no_file(tmp_path):
    with pytest.raises(RunError, match=r"^No renderer here\.$"):
        film(LineScene(tmp_path, fault_at=("render", 0), kind="refuse"), tmp_path / "episode.mp4")
    with pytest.raises(RunError, match=r"^Cannot render episode\.mp4: ValueError: the cube fell through the table\."):
        film(LineScene(tmp_path, fault_at=("render", 0), kind="raise", times=2), tmp_path / "episode.mp4")
    assert not (tmp_path / "episode.mp4").exists()


def test_a_full_disk_is_a_sentence_and_no_crashed_episode(tmp_path, monkeypatch):
    """Files may not grow beyond 2 kB in any process that begins here."""
    script = f"""
import resource, signal, sys
from pathlib import Path
import numpy as np
from scripted_scene import LineScene
from robo_orl.base.errors import RunError
from robo_orl.rollout.episodes import Rollouts
resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, 2_000))
policy = lambda queries: np.full((len(queries), 5, 1), 0.5)
video = Path({str(tmp_path)!r}) / "episode.mp4"
with Rollouts(LineScene(video.parent), policy, workers=1, videos={{0: video}}) as rollouts:
    try:
        print(list(rollouts.run([0])))
    except RunError as error:
        print(error)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment())
    assert done.stdout.startswith(f"The disk is full: the video {tmp_path}/episode.mp4 could not be written"), done
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_a_sentence(tmp_path):
    with pytest.raises(RunError, match="could not be written .*; evaluate without --video"):
        film(LineScene(tmp_path), tmp_path / "missing" / "episode.mp4")


def environment():
    return os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
