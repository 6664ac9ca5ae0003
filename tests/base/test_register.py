"""`register` adds to a registry before and after it is imported, and never takes a name of the package's own."""

import pytest

from robo_orl.base import plugins
from robo_orl.base.errors import UsageError
from robo_orl.base.plugins import register, with_plugins


@pytest.fixture(autouse=True)
def nothing_registered(monkeypatch):
    monkeypatch.setattr(plugins, "_registered", {kind: {} for kind in plugins.KINDS})
    monkeypatch.setattr(plugins, "_registries", {})


def test_a_name_that_is_registered_before_the_registry_exists_is_in_it():
    register("objectives", "steady", 1)
    assert with_plugins({"bc": 0}, "objectives", int) == {"bc": 0, "steady": 1}


def test_a_name_that_is_registered_later_is_in_it_and_can_be_replaced():
    registry = with_plugins({"bc": 0}, "objectives", int)
    register("objectives", "steady", 1)
    assert registry["steady"] == 1
    register("objectives", "steady", 2)
    assert registry == {"bc": 0, "steady": 2}


def test_other_kinds_and_names_of_the_package_are_refused():
    registry = with_plugins({"bc": 0}, "objectives", int)
    with pytest.raises(UsageError, match="bc.*is taken"):
        register("objectives", "bc", 1)
    assert registry == {"bc": 0}
    with pytest.raises(UsageError, match="objectives"):
        register("objective", "steady", 1)


def test_register_returns_what_it_registered():
    assert register("backbones", "mine", dict) is dict
