"""A run says what memory it will take, and what it took; one that cannot fit stops before it starts."""

import json

import pytest
import tiny

from robo_orl.base.errors import UsageError
from robo_orl.cost import memory_check as module
from robo_orl.cost.parallelism import Layout
from robo_orl.cost.predict.memory import largest_batch, memory
from robo_orl.cost.predict.workload import Workload
from robo_orl.engine.train import train


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """No test reads or fills the user's cache."""
    monkeypatch.setenv("ROBO_ORL_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def data(tmp_path):
    """A small data file."""
    return tiny.write_data(tmp_path / "toy.hdf5")


@pytest.fixture
def run(data):
    return tiny.run_of(data, tiny.iql(topology="shared") | {"optim": {"steps": 4}})


def test_memory_is_predicted_before_and_measured_after_the_third_step(run, tmp_path, capsys):
    train(run, tmp_path / "run", progress=True, memory_check=module.PredictedMemory)
    told = capsys.readouterr().err
    assert told.index("predicted: ") < told.index("measured: ")
    assert "optimiser" in told and "parameters" in told
    found = json.loads((tmp_path / "run" / "memory.json").read_text())
    predicted = found["predicted"]["peak_bytes"]
    assert sum(found["predicted"]["parts"].values()) == predicted
    assert found["measured_peak_bytes"] >= 0.9 * predicted  # other tests' tensors may live in this process


def test_a_run_that_cannot_fit_stops_before_it_starts(run, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "available_bytes", lambda device, processes: 1_000_000)
    with pytest.raises(UsageError, match=r"needs .* MB per process and there are 1 MB"):
        train(run, tmp_path / "run", progress=False, memory_check=module.PredictedMemory)
    assert not list((tmp_path / "run").glob("checkpoints/*"))


def test_the_nearest_setting_is_named(run):
    asked = Workload(run.policy, {"object": 9}, 0.99, Layout(device="cpu"), 3).but(batch=256)
    needed, once = (memory(w).peak_bytes for w in (asked, asked.but(checkpointing=True)))
    module.check_room(asked, memory(asked), needed)
    assert "checkpointing=true" in module.nearest(asked, once)
    parts = memory(asked.but(parts=4, checkpointing=True)).peak_bytes
    assert "accumulation=4" in module.nearest(asked.but(checkpointing=True), parts)
    assert "No setting" in module.nearest(asked, 10_000)


@pytest.mark.slow  # two searches, each of many walks
def test_the_largest_batch_is_named_where_no_switch_is_enough(run):
    asked = Workload(run.policy, {"object": 9}, 0.99, Layout(device="cpu"), 3).but(batch=256, checkpointing=True)
    small = memory(asked.but(batch=32)).peak_bytes
    assert f"batch_size={largest_batch(asked, small)}" in module.nearest(asked, small)


def test_parts_are_not_proposed_to_an_objective_that_needs_the_whole_batch(data):
    run = tiny.run_of(data, tiny.shipped()["td3_bc"])
    assert module.parts_of(Workload(run.policy, {"object": 9}, 0.99, Layout(device="cpu"), 3)) == []
