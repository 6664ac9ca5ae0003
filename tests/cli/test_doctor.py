"""The doctor names what is wrong and how to mend it, and survives what it examines."""

import pytest

from robo_orl.cli import doctor


@pytest.mark.parametrize("version, status", [("3.9.0", "ok"), ("3.3.7", "ok"), ("3.10.0", "fail"), ("4.0.0", "fail")])
def test_a_wrong_mujoco_is_detected_and_named(monkeypatch, version, status):
    monkeypatch.setattr(doctor, "package_version", lambda name: version)
    finding = doctor.mujoco_version()
    assert finding.status == status and version in finding.says
    assert ("<3.10" in finding.remedy) == (status == "fail")


def test_a_probe_that_raises_or_crashes_is_a_finding():
    raised = doctor._finding("x", "raise ImportError('no such library')", remedy="install it")
    assert (raised.status, raised.remedy) == ("fail", "install it") and "no such library" in raised.says
    crashed = doctor._finding("x", "import os; os.kill(os.getpid(), 11)", remedy="update it", missing="warn")
    assert crashed.status == "warn" and "signal 11" in crashed.says


def test_a_full_disk_is_named(monkeypatch):
    usage = type("Usage", (), {"free": 10**8})
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda place: usage)
    assert doctor.disk().status == "fail"


def test_everything_works_on_a_machine_that_was_set_up_by_make():
    findings = {finding.name: finding for finding in doctor.examine()}
    assert {name: f.says for name, f in findings.items() if f.status == "fail"} == {}
    assert findings["robomimic"].status == "ok"
