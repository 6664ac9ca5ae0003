"""`import robo_orl` is light, its functions are found by name, and a run is what the command line makes of the same."""

import subprocess
import sys
from pathlib import Path

import pytest

import robo_orl
from robo_orl.api import resolve_run
from robo_orl.base.errors import UsageError
from robo_orl.config.presets import load_policy, load_task

STUB = Path(robo_orl.__file__).with_suffix(".pyi")


def test_the_import_loads_no_torch_and_no_simulator():
    heavy = ("torch", "numpy", "accelerate", "mujoco", "robosuite", "robomimic")
    code = f"import robo_orl, sys; print([name for name in {heavy} if name in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


@pytest.mark.parametrize("name", robo_orl._INTERFACE)
def test_every_function_is_found_documented_and_declared_for_type_checkers(name):
    assert name in dir(robo_orl) and getattr(robo_orl, name).__doc__
    assert f"from {robo_orl._INTERFACE[name]} import {name} as {name}\n" in STUB.read_text()


def test_another_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="trian_policy"):
        robo_orl.trian_policy  # noqa: B018


def test_a_policy_is_given_by_name_by_values_or_as_a_configuration():
    by_name = resolve_run("qc", "lift", "x.hdf5", ["policy.optim.steps=7"], seed=3)
    assert by_name.policy.optim.steps == 7 and by_name.seed == 3
    as_configuration = resolve_run(load_policy("qc"), load_task("lift"), "x.hdf5", ["policy.optim.steps=7"], seed=3)
    assert as_configuration == by_name
    by_values = resolve_run({"extends": "qc", "optim": {"steps": 7}}, "lift", "x.hdf5", seed=3)
    assert by_values == by_name


def test_unknown_names_and_keys_are_refused():
    with pytest.raises(UsageError, match="qd"):
        resolve_run("qd", "lift", "x.hdf5")
    with pytest.raises(UsageError, match="sede"):
        resolve_run("qc", "lift", "x.hdf5", sede=1)
