"""Runs that are killed before their first update, or never make one, go on like any other: nothing is collected twice
or lost. grpo makes none of a round whose groups all end alike."""

import json
import signal

import pytest
import torch
import toy_run
from toy_online import PLACES, go, killed, learned, start_of

from robo_orl.engine.checkpoint import checkpoints, load_agent
from robo_orl.online.account import Account, open_account
from robo_orl.online.replay import read_episodes
from robo_orl.online.schedule import Slot
from robo_orl.online.start import initial_agent

GRPO = {
    "description": "Groups of four on a line.",
    "objective": {"name": "grpo"},
    "n_step": "execute",
    "optim": {"schedule": "constant", "lr": 1e-3, "warmup_steps": 0, "batch_size": 32},
    "online": {
        "collection": {"episodes": 8, "group": 4, "selection": {"acting": "sample"}},
        "replay": {"mix": "online"},
        "epochs": 2,
        "evaluation": {"points": [0, 200], "every": 200, "episodes": 3},
    },
}
STEPS = 800


def gaussian(tmp_path_factory, **head):
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("gaussian")
        patch.setenv("ROBO_ORL_CACHE", str(folder / "cache"))
        head = {"kind": "gaussian", "flow_steps": 10} | head
        return toy_run.trained(folder, {"name": "tiny_gaussian", "action_head": head}, checkpoint_every=4)


@pytest.fixture(scope="module")
def alike(tmp_path_factory):
    """A run whose first four groups end alike."""
    return gaussian(tmp_path_factory)


@pytest.fixture(scope="module")
def loose(tmp_path_factory):
    """A run whose samples differ so much that some groups end alike and others do not."""
    return gaussian(tmp_path_factory, min_std=0.5)


@pytest.fixture(scope="module")
def whole(loose, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    return folder / "out", go(start_of(loose, folder, method=GRPO), folder / "out", STEPS)


def test_a_run_without_an_update_has_the_weights_of_its_start_and_goes_on(alike, tmp_path):
    start = start_of(alike, tmp_path, method=GRPO)
    account = go(start, tmp_path / "out", 400)
    assert account["updates"] == 0 and account["discarded_groups"] == 4 and account["episodes"] == 16
    assert account["discarded_steps"] == account["env_steps"] >= 400
    assert [folder.name for folder in checkpoints(tmp_path / "out")] == ["step_00000000"]
    begun, now = initial_agent(start, None).state_dict(), load_agent(tmp_path / "out")[0].state_dict()
    assert begun.keys() == now.keys() and all(torch.equal(tensor, now[name]) for name, tensor in begun.items())
    assert (tmp_path / "out/eval/eval.json").exists()
    longer = go(start, tmp_path / "out", STEPS)
    uninterrupted = go(start, tmp_path / "uninterrupted", STEPS)
    assert longer["updates"] == uninterrupted["updates"] > 0
    assert learned(tmp_path / "out") == learned(tmp_path / "uninterrupted")


@pytest.mark.parametrize(
    "place, count",
    [
        ("line", 3),  # in the first round
        *(
            pytest.param(*at, marks=pytest.mark.slow)
            for at in (("first", 1), ("start", 1), ("rows", 14), ("line", 8), ("round", 1), ("update", 1))
            + (("update", 5), ("round", 2), ("checkpoint", 1), ("point", 2))
        ),
    ],
)
def test_grpo_that_is_killed_goes_on_and_collects_nothing_twice(loose, whole, tmp_path, place, count):
    """Its groups are learned from or discarded as without the kill, and counted once."""
    out, uninterrupted = whole
    assert place in PLACES and uninterrupted["updates"] > 5 and 0 < uninterrupted["discarded_groups"] < 6
    assert killed(loose, tmp_path, tmp_path / "out", place, count, STEPS, GRPO) == -signal.SIGKILL
    kept = read_episodes(tmp_path / "out/replay")
    account = go(start_of(loose, tmp_path, method=GRPO), tmp_path / "out", STEPS)
    assert learned(tmp_path / "out") == learned(out)
    same = ("env_steps", "episodes", "updates", "discarded_groups", "discarded_steps", "skipped")
    assert {name: account[name] for name in same} == {name: uninterrupted[name] for name in same}
    # What an episode took is measured when it is played: the same number is the same play.
    assert [e.simulation_s for e in read_episodes(tmp_path / "out/replay")[: len(kept)]] == [
        e.simulation_s for e in kept
    ]


def test_a_round_that_is_done_again_keeps_the_seconds_of_its_episodes(tmp_path):
    slot, spent = Slot(0, 0, True, 0, 0, 0), {"acting_s": 2.0, "learning_s": 0.0, "wall_s": 3.0}
    open_account(tmp_path, 0).add_round(slot, [], spent, {}, {})
    again = open_account(tmp_path, 0)
    assert again.sums()["acting_s"] == 0
    again.add_round(slot, [], {"acting_s": 0.0, "learning_s": 1.0, "wall_s": 1.5}, {}, {})
    sums = again.sums()
    assert (sums["acting_s"], sums["learning_s"], sums["wall_s"]) == (2.0, 1.0, 3.0)
    rows = [json.loads(row) for row in (tmp_path / "online.jsonl").read_text().splitlines()]
    assert len(rows) == 1 and isinstance(again, Account)
