"""What a device adds to a prediction: measured once, kept for one torch, nothing on the CPU."""

import json

import pytest

from robo_orl.base.errors import UsageError
from robo_orl.config import TaskConfig
from robo_orl.cost.measure import calibration
from robo_orl.cost.measure.calibration import calibrate, calibrated, ensured, extra_bytes, path_of

TASK = TaskConfig(name="chain2", env="chain", stages=["one", "two"], max_seconds=16)
WORKSPACES = 10_000_000


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ROBO_ORL_CACHE", str(tmp_path))


@pytest.fixture
def a_gpu(monkeypatch):
    """A device whose counter shows more than tensors: the CPU's, with workspaces."""
    real = calibration.memory_by_phase
    monkeypatch.setattr(calibration, "name_of", lambda device: "NVIDIA H100")
    monkeypatch.setattr(
        calibration, "memory_by_phase", lambda step: {"peak_bytes": real(step)["peak_bytes"] + WORKSPACES}
    )
    monkeypatch.setattr(calibration, "REFERENCES", calibration.REFERENCES[:1])
    made = calibration.TrainingStep
    monkeypatch.setattr(calibration, "TrainingStep", lambda *args: made(*args[:-1], "cpu"))
    layout = calibration.Layout
    monkeypatch.setattr(calibration, "Layout", lambda device: layout(device="cpu"))


@pytest.mark.parametrize("count", [3, pytest.param(4, marks=pytest.mark.slow)])  # a CPU takes its time for the last one
def test_on_the_cpu_every_reference_step_is_predicted_as_it_is_measured(count, monkeypatch):
    monkeypatch.setattr(calibration, "REFERENCES", calibration.REFERENCES[:count])
    found = calibrate(TASK, "cpu")
    assert [row["precision"] for row in found["rows"]] == ["fp32", "bf16", "fp32", "bf16"][:count]
    assert all(row["predicted"] == pytest.approx(row["measured"], rel=0.01) for row in found["rows"])
    assert ensured(TASK, "cpu") == extra_bytes("cpu") == 0


def test_a_gpu_is_calibrated_once_and_its_workspaces_are_added(a_gpu, monkeypatch):
    assert extra_bytes("cuda") == 0  # a run does not stop to calibrate
    extra = ensured(TASK, "cuda")
    assert extra == pytest.approx(WORKSPACES, rel=0.05)
    found = json.loads(path_of("cuda").read_text())
    assert all(abs(row["error"]) < 0.05 for row in found["rows"])
    monkeypatch.setattr(calibration, "calibrate", None)
    assert ensured(TASK, "cuda") == extra_bytes("cuda") == extra


def test_another_torch_asks_for_another_calibration(a_gpu):
    ensured(TASK, "cuda")
    found = json.loads(path_of("cuda").read_text())
    path_of("cuda").write_text(json.dumps(found | {"versions": {"torch": "1.0"}}))
    assert extra_bytes("cuda") == 0


def test_a_broken_file_is_one_sentence(a_gpu):
    path_of("cuda").parent.mkdir(parents=True)
    path_of("cuda").write_text('{"extra_by')
    with pytest.raises(UsageError, match="cannot be read: delete it"):
        extra_bytes("cuda")


def test_what_is_added_is_in_every_phase_and_the_parts_add_up():
    before = {
        "parts": {"parameters": 5, "temporaries": 2},
        "peak_bytes": 7,
        "held_bytes": 5,
        "phase_bytes": {"update": 7},
    }
    after = calibrated(before, 3)
    assert sum(after["parts"].values()) == after["peak_bytes"] == after["phase_bytes"]["update"] == 10
    assert after["held_bytes"] == 8 and after["calibration_bytes"] == 3
