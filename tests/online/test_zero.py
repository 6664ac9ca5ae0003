"""Two processes under ZeRO learn online what one process learns, whatever engine began a run and whatever goes on."""

import json
import shutil

import numpy as np
import pytest
from safetensors.torch import load_file
from toy_online import METHOD, go, launched, learned, start_of

from robo_orl.config import deep_merge
from robo_orl.engine.checkpoint import AGENT, OPTIMIZER, checkpoints

TOLERANCE = 1e-5  # of tests/engine/test_parity.py
ROUNDING = 1e-8  # of gradients: AdamW makes a whole step of one that is rounding alone
# Collected episodes act on nothing that is learned, so that rounding stays rounding over many rounds.
APART = deep_merge(
    METHOD,
    {
        "critic": {"topology": "separate", "target": "full_ema"},
        "optim": {"accumulation": 2},
        "online": {"trains": "all", "replay": {"mix": "data"}},
    },
)
STEPS, IN_WARM_UP = 300, 100  # after the latter the critic alone has learned


@pytest.fixture(scope="module")
def whole(cloned, tmp_path_factory):
    """What one process comes to without a break."""
    folder = tmp_path_factory.mktemp("whole")
    account = go(start_of(cloned, folder, method=APART), folder / "out", STEPS)
    assert account["critic_only_updates"] == 3 and account["updates"] > 10
    return folder / "out"


def goes_on(engine, run, folder, steps, method, **kill):
    """The run in folder/out by one process, or by two on an engine."""
    if engine == "one":
        go(start_of(run, folder, method=method), folder / "out", steps)
        return
    done = launched(run, folder, folder / "out", steps, method, engine, **kill)
    assert bool(done.returncode) == bool(kill), done.stderr[-3000:]


def assert_same(out, reference):
    """Rounds and points alike; what was done, moments, and weights that have a gradient, within a tolerance."""
    ours, theirs = learned(out), learned(reference)
    assert ours["checkpoint"] == theirs["checkpoint"] and ours["rounds"] == theirs["rounds"]
    assert set(theirs["points"]) <= set(ours["points"])
    assert [e["length"] for e in ours["episodes"]] == [e["length"] for e in theirs["episodes"]]
    actions = (np.load(folder / "replay/actions.npy") for folder in (out, reference))
    np.testing.assert_allclose(*actions, atol=1e-4)  # a learned policy acts with the rounding of its weights
    (weights, moments), (same, of_same) = ([load_file(checkpoints(o)[-1] / file) for file in (AGENT, OPTIMIZER)]
                                           for o in (out, reference))  # fmt: skip
    assert weights.keys() == same.keys() and moments.keys() == of_same.keys()
    assert max((moments[name] - of_same[name]).abs().max().item() for name in moments) <= TOLERANCE
    compared = 0
    for name, tensor in weights.items():
        square = of_same.get(f"{name.removeprefix('target.')}.exp_avg_sq")
        if square is not None and (real := square.sqrt() > ROUNDING).any():
            compared += int(real.sum())
            assert (tensor - same[name]).abs()[real].max().item() <= TOLERANCE, name
    assert compared > 0.8 * sum(tensor.numel() for tensor in weights.values())


PAIRS = [("zero1", "zero2"), ("zero2", "zero3"), ("zero3", "zero3_offload"), ("zero3_offload", "one")]


@pytest.mark.slow
@pytest.mark.parametrize("begins, continues", PAIRS)
def test_a_run_that_was_killed_under_zero_ends_as_one_process_does(cloned, whole, tmp_path, begins, continues):
    """Killed at its ninth update, of which the first three are of the critic alone."""
    goes_on(begins, cloned, tmp_path, STEPS, APART, place="update", count=9)
    assert 3 < int(checkpoints(tmp_path / "out")[-1].name[5:]) < 9
    goes_on(continues, cloned, tmp_path, STEPS, APART)
    assert_same(tmp_path / "out", whole)
    if continues != "one":
        engine = json.loads((tmp_path / "out/engine.json").read_text())
        assert (engine["processes"], engine["zero_stage"]) == (2, int(continues[4]))


@pytest.mark.slow
@pytest.mark.parametrize("begins, continues", [("one", "zero3"), ("zero1", "one")])
def test_what_ended_with_updates_of_the_critic_alone_goes_on(cloned, whole, tmp_path, begins, continues):
    goes_on(begins, cloned, tmp_path, IN_WARM_UP, APART)
    assert checkpoints(tmp_path / "out")[-1].name == "step_00000003"
    moments = load_file(checkpoints(tmp_path / "out")[-1] / OPTIMIZER)
    assert moments and all(name.startswith("critic") for name in moments)
    goes_on(continues, cloned, tmp_path, STEPS, APART)
    assert_same(tmp_path / "out", whole)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["zero2", "zero3"])
def test_learned_weights_act_and_are_judged_whole(cloned, tmp_path, engine):
    """What one process has learned collects one round more: by two processes with the actions of one, to the bit."""
    go(start_of(cloned, tmp_path), tmp_path / "begun", steps=200)
    for name in ("one", engine):
        shutil.copytree(tmp_path / "begun", tmp_path / name / "out")
        goes_on(name, cloned, tmp_path / name, 220, METHOD)
    one, two = (learned(tmp_path / name / "out") for name in ("one", engine))
    assert len(one["episodes"]) > len(learned(tmp_path / "begun")["episodes"])
    assert all(one[part] == two[part] for part in ("checkpoint", "arrays", "episodes", "rounds"))
    told = [json.loads((tmp_path / name / "out/online.json").read_text())["points"][-1] for name in ("one", engine)]
    for part in ("mean_value", "starts", "decisions"):
        before, now = (point["calibration"][part] for point in told)
        assert now == pytest.approx(before, rel=1e-3, abs=1e-4)
