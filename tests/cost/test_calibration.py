"""What a device adds to a prediction: measured once, kept for one torch, nothing on the CPU."""

import json
from dataclasses import replace

import pytest

from robo_orl.base.errors import UsageError
from robo_orl.config import TaskConfig
from robo_orl.cost.measure import memory as calibration
from robo_orl.cost.measure.memory import calibrate, calibration_bytes, path_of, stored_bytes
from robo_orl.cost.predict.memory import MemoryPrediction

TASK = TaskConfig(name="chain2", env="chain", stages=["one", "two"], max_seconds=16)
WORKSPACES = 10_000_000


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ROBO_ORL_CACHE", str(tmp_path))


@pytest.fixture
def a_gpu(monkeypatch):
    """A device whose counter shows more than tensors: the CPU's, with workspaces."""
    real = calibration.measured_memory
    monkeypatch.setattr(calibration, "name_of", lambda device: "NVIDIA H100")

    def with_workspaces(step):
        memory = real(step)
        return replace(memory, peak_bytes=memory.peak_bytes + WORKSPACES)

    monkeypatch.setattr(calibration, "measured_memory", with_workspaces)
    monkeypatch.setattr(calibration, "REFERENCES", calibration.REFERENCES[:1])
    made = calibration.SyntheticStep
    monkeypatch.setattr(calibration, "SyntheticStep", lambda *args: made(*args[:-1], "cpu"))
    layout = calibration.Layout
    monkeypatch.setattr(calibration, "Layout", lambda device: layout(device="cpu"))


@pytest.mark.parametrize("count", [3, pytest.param(4, marks=pytest.mark.slow)])  # a CPU takes its time for the last one
def test_on_the_cpu_every_reference_step_is_predicted_as_it_is_measured(count, monkeypatch):
    monkeypatch.setattr(calibration, "REFERENCES", calibration.REFERENCES[:count])
    found = calibrate(TASK, "cpu")
    assert [row.precision for row in found.rows] == ["fp32", "bf16", "fp32", "bf16"][:count]
    assert all(row.predicted == pytest.approx(row.measured, rel=0.01) for row in found.rows)
    assert calibration_bytes(TASK, "cpu") == stored_bytes("cpu") == 0


def test_a_gpu_is_calibrated_once_and_its_workspaces_are_added(a_gpu, monkeypatch):
    assert stored_bytes("cuda") == 0  # a run does not stop to calibrate
    extra = calibration_bytes(TASK, "cuda")
    assert extra == pytest.approx(WORKSPACES, rel=0.05)
    found = json.loads(path_of("cuda").read_text())
    assert all(abs(row["error"]) < 0.05 for row in found["rows"])
    monkeypatch.setattr(calibration, "calibrate", None)
    assert calibration_bytes(TASK, "cuda") == stored_bytes("cuda") == extra


def test_another_torch_asks_for_another_calibration(a_gpu):
    calibration_bytes(TASK, "cuda")
    found = json.loads(path_of("cuda").read_text())
    path_of("cuda").write_text(json.dumps(found | {"versions": {"torch": "1.0"}}))
    assert stored_bytes("cuda") == 0


def test_a_broken_file_is_one_sentence(a_gpu):
    path_of("cuda").parent.mkdir(parents=True)
    path_of("cuda").write_text('{"extra_by')
    with pytest.raises(UsageError, match="cannot be read: delete it"):
        stored_bytes("cuda")


def test_what_is_added_is_in_every_phase_and_the_parts_add_up():
    before = MemoryPrediction({"parameters": 5, "temporaries": 2}, 7, "update", 5, {"update": 7}, host_bytes=0)
    after = before.calibrated(3)
    assert sum(after.parts.values()) == after.peak_bytes == after.phase_bytes["update"] == 10
    assert after.held_bytes == 8 and after.calibration_bytes == 3
