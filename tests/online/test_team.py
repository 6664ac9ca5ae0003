"""Several processes that learn together: one collects, all learn, and two give what one does."""

import json

import pytest
import torch
from safetensors.torch import load_file
from toy_online import go, launched, start_of

from robo_orl.base.errors import UsageError
from robo_orl.engine.checkpoint import OPTIMIZER, checkpoints
from robo_orl.online.team import Team


def rounds_of(out):
    rows = [json.loads(line) for line in (out / "online.jsonl").read_text().splitlines()]
    return [(r["round"], r["updates"], r["critic_only"]) for r in rows if r["kind"] == "round"]


@pytest.mark.slow
def test_two_processes_collect_once_and_learn_what_one_learns(cloned, tmp_path):
    """Before anything that was learned acts. Moments are compared, which are means of gradients: at its first steps
    AdamW makes a whole step of a gradient that is rounding alone, as that of the readout's queries is here."""
    go(start_of(cloned, tmp_path), tmp_path / "one", steps=100)
    done = launched(cloned, tmp_path, tmp_path / "two", steps=100)
    assert done.returncode == 0, done.stderr[-3000:]
    one, two = tmp_path / "one", tmp_path / "two"
    summary = json.loads((two / "online.json").read_text())
    episodes = [json.loads(line)["episode"] for line in (two / "replay/episodes.jsonl").read_text().splitlines()]
    assert summary["processes"] == 2 and episodes == list(range(len(episodes))) == list(range(summary["episodes"]))
    assert rounds_of(one) == rounds_of(two)
    ours, theirs = (load_file(checkpoints(out)[-1] / OPTIMIZER) for out in (one, two))
    compared = {name: tensor for name, tensor in ours.items() if tensor.abs().max() > 1e-7 and "exp_avg" in name}
    assert len(compared) > 12
    worst = max(((tensor - theirs[name]).abs().max() / tensor.abs().max()).item() for name, tensor in compared.items())
    assert worst <= 1e-4


def test_one_process_averages_nothing():
    team, weight = Team(torch.device("cpu")), torch.nn.Parameter(torch.ones(2))
    weight.grad = torch.tensor([3.0, 4.0])
    assert team.clip_grad_norm_([weight], 1.0) == 5 and team.main
    assert torch.allclose(weight.grad, torch.tensor([0.6, 0.8])) and team.mean({"loss": 2.0}) == {"loss": 2.0}


def test_zero_is_refused_before_anything_is_written(cloned, tmp_path, monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "true")
    with pytest.raises(UsageError, match="runs without ZeRO"):
        go(start_of(cloned, tmp_path), tmp_path / "out")
    assert not (tmp_path / "out").exists()
