"""Several processes that learn together: one collects, all learn, and two give what one does."""

import json

import pytest
import torch
import toy_run
from safetensors.torch import load_file
from toy_online import go, launched, start_of

from robo_orl.engine.checkpoint import OPTIMIZER, checkpoints
from robo_orl.online.team import Team


def rounds_of(out):
    rows = [json.loads(line) for line in (out / "online.jsonl").read_text().splitlines()]
    return [(r["round"], r["updates"], r["critic_only"]) for r in rows if r["kind"] == "round"]


def worst_moment(one, two):
    """The largest difference of a moment of two runs, relative to the largest of its tensor; those of zeros are out."""
    ours, theirs = (load_file(checkpoints(out)[-1] / OPTIMIZER) for out in (one, two))
    compared = {name: tensor for name, tensor in ours.items() if tensor.abs().max() > 1e-7 and "exp_avg" in name}
    assert len(compared) > 12
    return max(((tensor - theirs[name]).abs().max() / tensor.abs().max()).item() for name, tensor in compared.items())


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
    assert worst_moment(one, two) <= 1e-4


def test_one_process_averages_nothing():
    team, weight = Team(torch.device("cpu")), torch.nn.Parameter(torch.ones(2))
    weight.grad = torch.tensor([3.0, 4.0])
    assert team.clip_grad_norm_([weight], 1.0) == 5 and team.main
    assert torch.allclose(weight.grad, torch.tensor([0.6, 0.8])) and team.mean({"loss": 2.0}) == {"loss": 2.0}


ROUNDS = {
    "description": "A method on rounds of its own, on a line.",
    "n_step": "execute",
    "optim": {"schedule": "constant", "lr": 1e-3, "warmup_steps": 0, "batch_size": 32},
    "online": {
        "collection": {"episodes": 8, "group": 4, "selection": {"acting": "sample"}},
        "replay": {"mix": "online"},
        "epochs": 3,
        "evaluation": {"points": [0], "every": 200, "episodes": 2},
    },
}
CRITIC = {"critic": {"topology": "shared_detached", "target": "none"}}
OWN = {
    "ppo": CRITIC | {"objective": {"name": "ppo", "params": {"target_kl": 0.5}}},
    "grpo": {"objective": {"name": "grpo"}},
    "fpo": CRITIC | {"objective": {"name": "fpo"}, "online": ROUNDS["online"] | {"collection": {"episodes": 8}}},
}


@pytest.fixture(scope="module")
def gaussian(tmp_path_factory):
    """A run whose groups end differently."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("gaussian")
        patch.setenv("ROBO_ORL_CACHE", str(folder / "cache"))
        head = {"kind": "gaussian", "flow_steps": 10, "min_std": 0.5}
        yield toy_run.trained(folder, {"name": "tiny_gaussian", "action_head": head}, checkpoint_every=4)


@pytest.mark.slow
@pytest.mark.parametrize("name, engine", [*((name, "ddp") for name in OWN), ("ppo", "zero3"), ("grpo", "zero1")])
def test_two_processes_learn_from_a_round_what_one_learns(cloned, gaussian, tmp_path, name, engine):
    """From the first round, which the start itself acted: its updates are those of one process to rounding."""
    run, method = cloned if name == "fpo" else gaussian, ROUNDS | OWN[name]
    account = go(start_of(run, tmp_path, method=method), tmp_path / "one", steps=40)
    done = launched(run, tmp_path, tmp_path / "two", steps=40, method=method, engine=engine)
    assert done.returncode == 0, done.stderr[-3000:]
    one, two = tmp_path / "one", tmp_path / "two"
    summary = json.loads((two / "online.json").read_text())
    same = ("env_steps", "episodes", "updates", "skipped", "discarded_groups")
    assert summary["processes"] == 2 and account["updates"] > 3
    assert {key: summary[key] for key in same} == {key: account[key] for key in same}
    assert rounds_of(one) == rounds_of(two)
    assert worst_moment(one, two) <= 1e-3
