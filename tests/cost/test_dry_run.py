"""A dry run says memory and time from the run's own steps, writes nothing, and refuses what the training refuses."""

import json
from dataclasses import replace

import pytest
import synthetic
import tiny

from robo_orl.base.errors import UsageError
from robo_orl.cost import dry_run as module
from robo_orl.cost.dry_run import MEASURED, dry_run
from robo_orl.cost.measure.step_time import MeasuredStep, estimate_step, seconds_at
from robo_orl.cost.parallelism import Layout
from robo_orl.cost.predict.workload import Workload
from robo_orl.cost.profile import Request, predicted, step_here
from robo_orl.cost.terminal import _step_here


@pytest.fixture
def spec(monkeypatch):
    """The observation and the actions of the synthetic task, which has no simulator."""
    monkeypatch.setattr(module, "policy_spec", lambda policy, task: dict(synthetic.SPEC))
    monkeypatch.setattr(module, "action_size", lambda task: 7)


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setenv("ROBO_ORL_CACHE", str(tmp_path / "cache"))
    return tiny.run_of(tiny.write_data(tmp_path / "toy.hdf5"))


def test_memory_step_and_total_are_said_and_nothing_is_written(run, spec, tmp_path):
    before = sorted(tmp_path.rglob("*"))
    expected = dry_run(run)
    assert sorted(tmp_path.rglob("*")) == before
    values = json.loads(json.dumps(expected.to_json()))
    assert values["total_s"] == run.policy.optim.steps * values["step_s"] > 0
    assert values["memory"]["peak_bytes"] > 0 and values["measured_steps"] == MEASURED
    assert values["step_s_quartiles"][0] <= values["step_s"] <= values["step_s_quartiles"][1]
    assert any("step, measured" in line for line in expected.lines()) and "nothing was written" in expected.lines()


def test_files_that_do_not_train_are_refused(run, spec, tmp_path):
    (tmp_path / "toy.hdf5").write_text("no HDF5")
    with pytest.raises(UsageError, match="toy.hdf5"):
        dry_run(run)


def test_a_run_that_does_not_fit_is_refused_with_the_sentence_of_the_training(run, spec, monkeypatch):
    monkeypatch.setattr(module, "available_bytes", lambda device: 1000)
    with pytest.raises(UsageError, match="This run needs .* per process and there are 1 kB"):
        dry_run(run)


def test_a_launcher_is_refused_with_the_command_that_predicts_it(run, monkeypatch):
    launched = {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}
    for name, value in launched.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match="profile --world 2"):
        dry_run(run)


@pytest.fixture
def request_for_m(monkeypatch):
    """A prediction beside which nothing is measured: the ceiling is given, the estimate left out."""
    monkeypatch.setattr("robo_orl.cost.profile.matmul_ceiling", lambda device, precision: 2e9)
    return Request(policies=("bc",), task="chain2", size="m", batch=16)


def test_the_floor_of_a_predicted_step_is_its_flops_at_the_measured_ceiling(request_for_m, monkeypatch):
    monkeypatch.setattr("robo_orl.cost.profile.estimate_step", lambda workload, device: None)
    request = replace(request_for_m, size="xs")
    prediction = predicted(request)
    here = step_here(request, prediction)
    assert here.to_json()["step_s_at_least"] == prediction.flops.hardware_per_step / 2e9
    doubled = step_here(request, replace(prediction, world=2))
    assert doubled.step_s_at_least == here.step_s_at_least / 2
    assert "a real step takes longer" in _step_here(here)


@pytest.mark.slow
def test_a_predicted_step_has_a_time_from_small_sizes_with_its_measured_error(request_for_m):
    """Steps of tiny, xs and s run here; m does not."""
    here = step_here(request_for_m, predicted(request_for_m))
    estimate = here.to_json()["estimate"]
    sizes = [row["size"] for row in estimate["rows"]]
    assert sizes[:3] == ["tiny", "xs", "s"] and "m" not in sizes[:3]
    assert estimate["step_s"] > 0 and estimate["error"] >= 0 and (estimate["beyond"] > 1 or "m" in sizes)
    assert f"about {estimate['step_s']:.3g} s" in _step_here(here) and "with an error of" in _step_here(here)


def row(flops, seconds):
    return MeasuredStep("xs", flops, seconds)


def test_times_follow_the_line_through_the_nearest_measured_steps():
    rows = [row(10, 1.0), row(20, 2.0), row(40, 3.0)]
    assert [seconds_at(flops, rows) for flops in (5, 10, 15, 30, 40, 60)] == [1.0, 1.0, 1.5, 2.5, 3.0, 4.0]
    assert seconds_at(60, [row(10, 2.0), row(20, 1.0)]) == 2.0


def test_a_backbone_without_sizes_has_no_estimate(request_for_m):
    policy, task = request_for_m.only_policy("--predict")
    unsized = policy.model_copy(update={"backbone": policy.backbone.model_copy(update={"size": "smolvlm2_256m"})})
    assert estimate_step(Workload(unsized, {}, 0.99, Layout()), "cpu") is None
