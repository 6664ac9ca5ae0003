"""The doctor names what is wrong and how to mend it, and survives what it examines."""

import ast

import pytest
from unprivileged import public_folder, run_unprivileged

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


def test_a_cache_that_cannot_be_written_is_named_with_its_remedy(monkeypatch, tmp_path):
    monkeypatch.setenv("ROBO_ORL_CACHE", str(tmp_path / "cache"))
    assert doctor.cache().status == "ok" and list((tmp_path / "cache").iterdir()) == []
    (tmp_path / "file").touch()
    monkeypatch.setenv("ROBO_ORL_CACHE", str(tmp_path / "file" / "cache"))
    finding = doctor.cache()
    assert finding.status == "fail" and "set ROBO_ORL_CACHE" in finding.remedy


PROBES = """
from robo_orl.cli.doctor import *
from robo_orl.cli.doctor import _probed
print({p.__name__: _probed(p).model_dump() for p in (cache, folder, disk, processes, simulator)})"""


@pytest.mark.parametrize("home", [pytest.param("/dev/null", marks=pytest.mark.slow), "/nonexistent", "read-only"])
def test_a_user_without_rights_learns_what_fails(home):
    with public_folder() as folder:
        (folder / "home").mkdir(mode=0o755)
        where = str(folder / "home") if home == "read-only" else home
        done = run_unprivileged("-c", PROBES, cwd=folder, HOME=where)
    found = ast.literal_eval(done.stdout)
    cache, here = found["cache"], found["folder"]
    assert cache["status"] == "fail" and "ROBO_ORL_CACHE" in cache["remedy"]
    assert any(words in cache["says"] for words in ("Permission denied", "is a file where a folder is needed"))
    assert here["status"] == "warn" and "Permission denied" in here["says"] and "--out" in here["remedy"]
    assert found["disk"]["says"] and found["processes"]["status"] == found["simulator"]["status"] == "ok", found


def test_a_user_without_a_home_is_told_the_variable(monkeypatch):
    monkeypatch.delenv("ROBO_ORL_CACHE", raising=False)
    monkeypatch.setattr(doctor.Path, "home", lambda: (_ for _ in ()).throw(RuntimeError("no home")))
    finding = doctor._probed(doctor.cache)
    assert finding.status == "fail" and "set ROBO_ORL_CACHE to a folder" in finding.says


def test_a_read_only_cache_that_holds_something_is_a_warning():
    with public_folder() as folder:
        (folder / "cache").mkdir(mode=0o755)
        (folder / "cache" / "data").touch()
        code = "from robo_orl.cli.doctor import cache; print(cache().model_dump())"
        done = run_unprivileged("-c", code, cwd=folder, ROBO_ORL_CACHE=str(folder / "cache"))
    finding = ast.literal_eval(done.stdout)
    assert finding["status"] == "warn" and "what is in it is used" in finding["says"]


def test_a_wrong_choice_of_opengl_is_named_and_fails_no_work_on_states(monkeypatch):
    monkeypatch.setenv("MUJOCO_GL", "disable")
    pictures = doctor.renderer()
    assert pictures.status == "warn" and "MUJOCO_GL=disable switches pictures off" in pictures.says
    assert not pictures.says.startswith("robo_orl") and "MUJOCO_GL" in pictures.remedy
    assert doctor.processes().status == "ok"


def test_a_probe_that_fails_unexpectedly_does_not_end_the_examination():
    def renderer():
        raise ZeroDivisionError("division by zero")

    finding = doctor._probed(renderer)
    assert (finding.name, finding.status) == ("renderer", "fail") and "ZeroDivisionError" in finding.says
