"""The features of a frozen vision-language model are computed once, and training on them is training on the images."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch

sys.path.append(str(Path(__file__).parents[1] / "models"))
import test_vlm_agent as vlm
import toy_agents as toy

from robo_orl.agent.agent import build_agent
from robo_orl.base.errors import RunError, UsageError
from robo_orl.base.rng import Draws
from robo_orl.data.cache import open_cache
from robo_orl.data.windows import PairedWindows
from robo_orl.engine.features import cached
from robo_orl.models.backbones.vlm import VLM

FROZEN = {"frozen": True, "layers": 2, "cache": True}


def policy(**over):
    return vlm.policy("iql", "flow_expert", backbone=FROZEN, **over)


@pytest.fixture
def windows(tmp_path, monkeypatch):
    """Windows of two sentences and two cameras."""
    monkeypatch.setenv("ROBO_ORL_CACHE", str(tmp_path / "cache"))
    arrays = open_cache(tiny.write_data(tmp_path / "toy.hdf5", episodes=3))
    shape, drawn = (len(arrays.actions), vlm.SIDE, vlm.SIDE, 3), np.random.default_rng(0)
    images = {camera: drawn.integers(0, 256, shape, dtype=np.uint8) for camera in vlm.CAMERAS}
    words = VLM.tokeniser(policy().backbone)(["lift it", "pick the cube up"])
    return PairedWindows(replace(arrays, images=images), toy.CHUNK, toy.CHUNK, 0.9, instructions=words)


def agent_of(windows, config=None, seed=0):
    return build_agent(config or policy(), windows.arrays.spec, windows.arrays.action_dim, 0.9, None, seed)


CPU = torch.device("cpu")


def test_training_on_features_is_training_on_images_without_the_model(windows, monkeypatch):
    learner = agent_of(windows)
    plain = windows.batch(0, 3, 0, 1, 8)
    expected, metrics = learner(plain, Draws(0, 3))
    kept = cached(learner, windows, CPU)
    monkeypatch.setattr(learner.backbone.family, "encode_images", None)  # whoever looks at an image fails
    window = kept.batch(0, 3, 0, 1, 8)
    assert not window.obs.images and torch.equal(window.frame, plain.frame)
    loss, found = learner(window, Draws(0, 3))
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(found, metrics, rtol=1e-4, atol=1e-5)


def test_it_is_computed_once_for_the_same_weights_and_again_for_others(windows, tmp_path):
    files = (tmp_path / "cache").glob
    learner = agent_of(windows)
    cached(learner, windows, CPU)
    learner.backbone.features = None  # whoever computes again fails
    kept = cached(learner, windows, CPU)
    assert kept.features.shape[:2] == (2, len(windows.arrays.actions)) and len(list(files("features-*.npy"))) == 1
    cached(agent_of(windows, seed=1), windows, CPU)
    assert len(list(files("features-*.npy"))) == 2


def test_bf16_features_keep_their_bits(windows):
    learner = agent_of(windows, policy(optim={"precision": "bf16"}))
    kept = cached(learner, windows, CPU)
    with torch.autocast("cpu", torch.bfloat16):
        expected = learner.backbone.features(windows.batch(0, 0, 0, 1, 8).obs)
    found = kept.batch(0, 0, 0, 1, 8).obs.features
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), expected.float(), rtol=0.05, atol=0.05)


def test_a_full_disk_is_one_sentence_before_anything_is_computed(windows, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Disk", (), {"free": 1000})())
    with pytest.raises(RunError, match="backbone.layers lower"):
        cached(agent_of(windows), windows, CPU)


REFUSED = {
    "augmentation": ({"observation": {"shift": 2}}, "augmentation changes it in every step"),
    "not frozen": ({"backbone": {"frozen": False, "layers": 2, "cache": True}}, "set backbone.frozen"),
    "a critic with its own model": ({"topology": "separate"}, "no images for a critic's own vlm"),
}


@pytest.mark.parametrize(("over", "sentence"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_computed_once_is_refused(over, sentence):
    with pytest.raises(UsageError, match=sentence):
        toy.agent(vlm.policy("iql", "flow_expert", **{"backbone": FROZEN, **over}))
