"""Reward models of pictures and of a frozen model's tokens; models that are saved and judge another file."""

import json

import numpy as np
import pytest
from processes import CAMERA, SIDE, seen_walks, walks
from synthetic import episode, write
from typer.testing import CliRunner

from robo_orl.base.errors import UsageError
from robo_orl.cli.app import app
from robo_orl.config import RewardConfig
from robo_orl.data.cache import open_cache
from robo_orl.rewards.relabel import relabel, reward_of

SEES = {"cameras": [CAMERA], "image_size": SIDE, "low_dim": ["object"], "batch": 32, "lr": 0.003}
FEW = {"steps": 60, "batch": 16, "history": 1}


def judged(tmp_path, source, params, labels=12):
    path, out = tmp_path / "seen.hdf5", tmp_path / "out.hdf5"
    if not path.exists():
        seen_walks(path)
    relabel(path, RewardConfig(name=source, source=source, labels=labels, params=SEES | params), out)
    return reward_of(out)["quality"]


@pytest.mark.slow
def test_a_classifier_sees_success_in_pictures_alone(tmp_path):
    found = judged(tmp_path, "classifier", {"steps": 120, "history": 1})
    assert found["auc"] == 1.0 and found["brier"] < 0.15


@pytest.mark.slow
def test_progress_follows_what_is_seen(tmp_path):
    found = judged(tmp_path, "progress", {"steps": 120, "history": 2, "gap": 1})
    assert found["auc"] == 1.0 and found["tau_distance"] > 0.8


@pytest.mark.slow
def test_progress_reads_several_frames_of_a_frozen_model(tmp_path):
    found = judged(tmp_path, "progress", {"steps": 200, "vlm": "debug", "history": 2, "gap": 1})
    assert found["auc"] > 0.9 and found["tau_distance"] > 0.7


@pytest.mark.slow
def test_a_classifier_reads_what_a_frozen_model_says_which_is_computed_once(tmp_path, monkeypatch):
    monkeypatch.setenv("ROBO_ORL_CACHE", str(tmp_path / "cache"))
    found = judged(tmp_path, "classifier", {"steps": 100, "vlm": "debug", "history": 1})
    assert found["auc"] > 0.9
    (features,) = (tmp_path / "cache").glob("features-*.npy")
    written = features.stat().st_mtime_ns
    (tmp_path / "out.hdf5").unlink()
    judged(tmp_path, "classifier", {"steps": 2, "vlm": "debug", "history": 1}, labels=4)
    assert features.stat().st_mtime_ns == written


@pytest.mark.parametrize(
    "params, sentence",
    [
        (
            {"image_size": 64},
            f"has pictures of {SIDE} pixels of {CAMERA}, and the model reads 64: set params.image_size",
        ),
        ({"cameras": [], "vlm": "debug"}, "vlm reads pictures: name its cameras"),
        ({"weights": "somewhere"}, "weights are those of a vlm: name it"),
        ({"vlm": "debugg"}, "Did you mean 'debug'"),
    ],
)
def test_pictures_that_a_model_cannot_read_are_refused(params, sentence, tmp_path):
    with pytest.raises(UsageError, match=sentence):
        judged(tmp_path, "classifier", params)
    assert not (tmp_path / "out.hdf5").exists()


# --------------------------------------------------------------------------------------------------------- saved models


def saved(tmp_path, source="progress", labels=6, **params):
    path, out, model = walks(tmp_path / "a.hdf5"), tmp_path / f"{source}.hdf5", tmp_path / f"{source}_model"
    config = RewardConfig(name=source, source=source, labels=labels, params=FEW | params)
    relabel(path, config, out, save_model=model)
    return path, out, model


@pytest.mark.parametrize("source", ["progress", "classifier"])
def test_a_saved_model_judges_its_own_file_as_it_did_and_another_one_without_labels(tmp_path, source):
    path, out, model = saved(tmp_path, source)
    again, other = tmp_path / "again.hdf5", tmp_path / "other.hdf5"
    relabel(path, None, again, model=model)
    np.testing.assert_array_equal(open_cache(again).rewards, open_cache(out).rewards)
    np.testing.assert_array_equal(open_cache(again).success, open_cache(out).success)
    relabel(walks(tmp_path / "b.hdf5", many=8, length=21), None, other, model=model)
    said = reward_of(other)
    assert said["annotation"]["labels"] == 0 and said["labelled"] == 0 and "model" in said["request"]
    assert said["quality"]["episodes"] == 8, "it has seen none of them"
    assert reward_of(again)["quality"]["episodes"] == 4, "it has seen sixteen of them"


def test_every_network_of_an_ensemble_is_saved(tmp_path):
    path, out, model = walks(tmp_path / "a.hdf5"), tmp_path / "s.hdf5", tmp_path / "model"
    params = {"steps": 3, "batch": 16, "networks": 2, "reach": 4, "bins": 5}
    relabel(path, RewardConfig(name="stride", source="stride", params=params), out, save_model=model)
    assert {p.name for p in model.iterdir()} == {"model.json", "stride-0.safetensors", "stride-1.safetensors"}
    relabel(path, None, tmp_path / "again.hdf5", model=model)
    np.testing.assert_array_equal(open_cache(tmp_path / "again.hdf5").rewards, open_cache(out).rewards)


def test_a_model_of_other_observations_and_one_that_is_not_whole_are_refused(tmp_path):
    path, _, model = saved(tmp_path)
    other, out = tmp_path / "b.hdf5", tmp_path / "out.hdf5"
    episodes = [episode(8, True, seed=i) for i in range(3)]
    for made in episodes:
        made.obs["object"] = made.obs["object"][:, :3]
        made.next_obs["object"] = made.next_obs["object"][:, :3]
    sentence = r"reads robot0_eef_pos \(3\), object \(5\) .* has .*object \(3\).*: give a file with these observations"
    with pytest.raises(UsageError, match=sentence):
        relabel(write(other, episodes), None, out, model=model)
    with pytest.raises(UsageError, match="is no reward model: `robo-orl data relabel --save-model` writes one"):
        relabel(path, None, out, model=tmp_path)
    (model / "progress.safetensors").write_bytes(b"short")
    with pytest.raises(UsageError, match="progress.safetensors is damaged or of another version"):
        relabel(path, None, out, model=model)
    (model / "progress.safetensors").unlink()
    with pytest.raises(UsageError, match="is missing: the reward model is not whole"):
        relabel(path, None, out, model=model)
    with pytest.raises(UsageError, match="trains no network to be saved"):
        relabel(path, RewardConfig(name="s", source="success"), out, save_model=tmp_path / "none")
    assert not out.exists() and not (tmp_path / "none").exists()


def test_the_command_saves_a_model_and_judges_by_it(tmp_path):
    def run(*words):
        return CliRunner().invoke(app, ["data", "relabel", *map(str, words), "--json"])

    path, model = walks(tmp_path / "a.hdf5"), tmp_path / "model"
    few = ["--set", "params.steps=3", "--set", "params.batch=8", "--save-model", model]
    assert run(path, "--reward", "classifier", "--labels", 5, "--out", tmp_path / "b.hdf5", *few).exit_code == 0
    result = run(path, "--model", model, "--out", tmp_path / "c.hdf5")
    assert json.loads(result.output)["reward"]["request"]["config"]["name"] == "classifier_5"
    for words, sentence in (
        (["--model", model, "--labels", 5], "leave --labels out"),
        ([], "--reward NAME, or --model DIR"),
        (["--model", model, "--reward", "progress"], "--reward NAME, or --model DIR"),
    ):
        refused = run(path, "--out", tmp_path / "d.hdf5", *words)
        assert refused.exit_code != 0 and sentence in str(refused.exception)
