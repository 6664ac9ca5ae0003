"""A policy on the real simulator goes online by the command line, is evaluated, and its episodes are exported."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from commands import run

pytestmark = pytest.mark.slow
SMALL = ["--set", "policy.online.evaluation.episodes=2", "--set", "policy.optim.batch_size=16"]


@pytest.fixture(scope="module")
def lift(tmp_path_factory):
    pytest.importorskip("robosuite")
    folder = tmp_path_factory.mktemp("lift")
    data = folder / "lift.hdf5"
    run("data", "generate", "--task", "lift", "--regime", "mg", "--episodes", 4, "--out", data, "--json")
    common = ["--task", "lift", "--data", data, "--set", "policy.optim.batch_size=8", "--tracker", "none", "--json"]
    run("train", "--policy", "bc+flow", "--out", folder / "bc", "--steps", 2, *common)
    return folder


def test_collected_episodes_are_a_data_file_that_trains(lift):
    out = lift / "online"
    words = ["online", lift / "bc", "--method", "qc", "--out", out, "--steps", 200, "--workers", 1, "--json", *SMALL]
    account = json.loads(run(*words))
    assert account["env_steps"] >= 200 and [point["at"] for point in account["points"]] == [0, 200]
    run("eval", out, "--episodes", 1, "--workers", 1, "--json")
    exported = lift / "collected.hdf5"
    described = json.loads(run("data", "collected", out, "--out", exported, "--workers", 1, "--json"))
    assert described["all"]["frames"] == account["env_steps"] and described["regime"] == "online"
    assert "ok" in run("data", "validate", exported).lower() or Path(exported).exists()
    import h5py

    with h5py.File(exported) as file:
        first = file["data/demo_0"]
        rewards, dones = first["rewards"][:], first["dones"][:]
        actions = np.load(out / "replay/actions.npy")[: len(rewards)]
        assert np.array_equal(first["actions"][:], actions) and first["states"].shape[0] == len(rewards)
        assert bool(dones[-1]) == bool(rewards[-1]) == bool(first.attrs["success"])
    small = ["--set", "policy.optim.batch_size=8", "--tracker", "none", "--json"]
    run("train", "--policy", "bc", "--task", "lift", "--data", exported, "--out", lift / "again", "--steps", 2, *small)


def test_a_whole_run_is_timed_and_its_shares_are_all_of_it(lift, tmp_path):
    sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
    from online_speed import whole_run

    found = whole_run(lift / "bc", "qc", 200, 2, tmp_path / "timed")
    assert sum(found["shares"].values()) == pytest.approx(1) and min(found["shares"].values()) >= 0
    assert found["env_steps"] >= 200 and found["updates"] > 0 and found["points"] == 2
    assert (found["updates_a_chunk"], found["trains"]) == (2, "cached")
    with pytest.raises(SystemExit, match="is there already"):
        whole_run(lift / "bc", "qc", 200, 2, tmp_path / "timed")
