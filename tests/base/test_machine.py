"""A result says what produced it."""

import os
import platform

from robo_orl.base import machine as origin


def test_versions_name_python_and_the_packages_that_are_installed():
    found = origin.versions()
    assert found["python"] == platform.python_version()
    assert "torch" in found and "mujoco" in found and all(found.values())


def test_cores_are_those_that_this_process_may_use():
    assert origin.cores() == len(os.sched_getaffinity(0)) >= 1
    assert origin.hardware().cores == origin.cores() and origin.hardware().cpu


def test_the_commit_is_that_of_the_checkout_and_absent_outside_of_one(monkeypatch, tmp_path):
    found = origin.code()
    assert found.commit is None or len(found.commit) == 40
    origin.code.cache_clear()
    monkeypatch.setattr(origin, "__file__", str(tmp_path / "a" / "b" / "origin.py"))
    assert origin.code().commit is None
    origin.code.cache_clear()
