"""A finished run goes on to more steps, and a run starts from another one's weights."""

import json

import pytest
import tiny
import torch
from safetensors.torch import load_file, save_file

from robo_orl.base.errors import UsageError
from robo_orl.engine.checkpoint import AGENT, checkpoints, load_agent
from robo_orl.engine.run_folder import read_run
from robo_orl.engine.train import train


@pytest.fixture
def data(tmp_path, monkeypatch):
    monkeypatch.setenv("ROBO_ORL_CACHE", str(tmp_path / "cache"))
    return tiny.write_data(tmp_path / "toy.hdf5")


def steps(count):
    return {"optim": {"steps": count}}


def run_for(data, out, count, **options):
    return train(tiny.run_of(data, steps(count)), out, progress=False, **options)


def test_a_finished_run_goes_on_and_says_where_its_schedule_changed(data, tmp_path):
    out = tmp_path / "run"
    assert run_for(data, out, 6).steps == 6
    with pytest.raises(UsageError, match="another policy.optim.steps"):
        run_for(data, out, 10)
    summary = run_for(data, out, 10, extend=True)
    assert summary.steps == 10 and summary.finished
    assert read_run(out).extended_at == [6] and read_run(out).policy.optim.steps == 10
    assert json.loads((out / "train_6.json").read_text())["steps"] == 6
    assert checkpoints(out)[-1].name == "step_00000010"
    load_agent(out)
    assert run_for(data, out, 10, extend=True) == summary == run_for(data, out, 10)  # finished
    assert run_for(data, out, 12, extend=True).steps == 12 and read_run(out).extended_at == [6, 10]
    with pytest.raises(UsageError, match="is a run of 12 steps, and --steps 8 is less"):
        run_for(data, out, 8, extend=True)


def test_an_interrupted_extension_ends_where_an_uninterrupted_one_does(data, tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    for out in (whole, parts):
        run_for(data, out, 4)
    run_for(data, whole, 10, extend=True)
    run_for(data, parts, 10, extend=True, stop_at=7)
    run_for(data, parts, 10, extend=True)
    a, b = (load_file(checkpoints(out)[-1] / AGENT) for out in (whole, parts))
    assert all(torch.equal(a[name], b[name]) for name in a) and read_run(parts).extended_at == [4]


def test_without_a_run_steps_are_steps(data, tmp_path):
    assert run_for(data, tmp_path / "run", 3, extend=True).steps == 3 and read_run(tmp_path / "run").extended_at == []


def test_a_run_starts_from_the_weights_of_another(data, tmp_path, capsys):
    run_for(data, tmp_path / "first", 4)
    config = tiny.run_of(data, steps(1) | {"optim": {"steps": 1, "lr": 1e-12}}, seed=3, init=str(tmp_path / "first"))
    train(config, tmp_path / "second", progress=False)
    first, second = (load_file(checkpoints(tmp_path / name)[-1] / AGENT) for name in ("first", "second"))
    assert all(torch.allclose(first[name], second[name], atol=1e-6) for name in first)
    report = json.loads((tmp_path / "second" / "init.json").read_text())
    assert len(report["loaded"]) == len(first) and not report["missing"] and not report["unused"]
    assert f"{len(first)} of {len(first)} tensors start from" in capsys.readouterr().err


def test_of_another_policy_what_fits_is_loaded_and_the_rest_is_named(data, tmp_path, capsys):
    run_for(data, tmp_path / "bc", 2)
    config = tiny.run_of(data, tiny.iql(topology="shared") | steps(1), init=str(tmp_path / "bc"))
    train(config, tmp_path / "iql", progress=False)
    report = json.loads((tmp_path / "iql" / "init.json").read_text())
    assert report["loaded"] and all("critic" in name or "target" in name for name in report["missing"])
    assert "are not there (first" in capsys.readouterr().err


def test_weights_that_do_not_exist_or_do_not_fit_are_refused(data, tmp_path):
    with pytest.raises(UsageError, match="is neither a trained run nor a safetensors file"):
        train(tiny.run_of(data, init=str(tmp_path / "none")), tmp_path / "a", progress=False)
    save_file({"other": torch.zeros(3)}, tmp_path / "other.safetensors")
    with pytest.raises(UsageError, match="No weight of .*other.safetensors fits this policy"):
        train(tiny.run_of(data, init=str(tmp_path / "other.safetensors")), tmp_path / "b", progress=False)
    (tmp_path / "text.safetensors").write_text("weights")
    with pytest.raises(UsageError, match="text.safetensors cannot be read"):
        train(tiny.run_of(data, init=str(tmp_path / "text.safetensors")), tmp_path / "c", progress=False)
