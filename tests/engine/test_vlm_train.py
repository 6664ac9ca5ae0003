"""The shipped vision-language-action policies train at debug size on a file with pictures, on the CPU, and resume."""

import sys
from pathlib import Path

import pytest
import torch

sys.path.append(str(Path(__file__).parents[1] / "data"))  # for `import seeing`
import seeing

from robo_orl.base.errors import UsageError
from robo_orl.config import PolicyConfig, RunConfig, deep_merge
from robo_orl.config.presets import available, preset_values
from robo_orl.engine.checkpoint import load_agent
from robo_orl.engine.train import train

NAMES = [*(name for name in available("policies") if name.startswith("vla_")), "vla_flow+lora", "vla_iql+insulated"]
CHUNK = 4


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ROBO_ORL_CACHE", str(tmp_path / "cache"))


def run_of(name: str, file: Path, over: dict | None = None, **fields) -> RunConfig:
    """A shipped policy on the debug model, with as many layers and queries as that has."""
    values = preset_values("policies", name)
    small = {
        "observation": {"image_size": seeing.SIZE, "low_dim": ["robot0_eef_pos"]},
        "backbone": {"size": "debug"},
        "action_head": {"chunk": CHUNK, "execute": 2},
        "optim": {"steps": 4, "batch_size": 8, "warmup_steps": 0},
    }
    if values["action_head"]["kind"].startswith("flow"):
        small["action_head"]["flow_steps"] = 2
    for key, most in (("layers", 3), ("action_queries", CHUNK)):
        if key in values["backbone"]:
            small["backbone"][key] = min(most, values["backbone"][key])
    if "blocks" in values["action_head"]:
        small["action_head"]["blocks"] = 3
    policy = PolicyConfig.model_validate(deep_merge(deep_merge(values, small), over or {}))
    return RunConfig(policy=policy, task=seeing.TASK, data=str(file), tracker="none", **fields)


@pytest.mark.parametrize("name", NAMES)
def test_every_shipped_policy_trains_and_acts(name, tmp_path):
    run = run_of(name, seeing.write(tmp_path / "a.hdf5"), {"optim": {"steps": 2}})
    assert train(run, tmp_path / "run", progress=False).finished
    agent, _ = load_agent(tmp_path / "run")
    cached = list((tmp_path / "cache").glob("features-*.npy"))
    assert len(cached) == (1 if run.policy.backbone.cache else 0)
    assert all(torch.isfinite(p).all() for p in agent.parameters())


def test_a_run_on_a_frozen_model_resumes_to_the_same_weights(tmp_path):
    run = run_of("vla_flow_frozen", seeing.write(tmp_path / "a.hdf5"), checkpoint_every=2)
    train(run, tmp_path / "whole", progress=False)
    train(run, tmp_path / "parts", progress=False, stop_at=2)
    train(run, tmp_path / "parts", progress=False)
    whole, parts = (load_agent(tmp_path / name)[0].state_dict() for name in ("whole", "parts"))
    assert all(torch.equal(whole[key], parts[key]) for key in whole)


def test_a_missing_camera_is_one_sentence(tmp_path):
    run = run_of("vla_debug", seeing.write(tmp_path / "a.hdf5"), {"observation": {"cameras": ["sideview"]}})
    with pytest.raises(UsageError, match="sideview"):
        train(run, tmp_path / "run", progress=False)
