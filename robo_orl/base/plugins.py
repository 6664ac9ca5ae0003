"""Objectives, backbones and environments from outside: by entry points of installed packages, or by `register`.

    [project.entry-points."robo_orl.objectives"]      # also robo_orl.backbones, robo_orl.environments
    steady = "my_package.steady:SteadyCloning"

What a package registers runs as its own code, as everything does that is installed; configurations load nothing.
"""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import Any, TypeVar

from robo_orl.base.errors import RunError, UsageError, unknown

T = TypeVar("T")
KINDS = ("objectives", "backbones", "environments")

_registered: dict[str, dict[str, Any]] = {kind: {} for kind in KINDS}
_registries: dict[str, dict[str, Any]] = {}  # those that are imported


def with_outside(ours: dict[str, T], kind: str) -> dict[str, T]:
    """A registry of ours and what other packages add to it. kind: objectives, backbones or environments.

    Raises:
        UsageError: a package takes a name that is taken.
        RunError: a package's entry cannot be imported.
    """
    registry = dict(ours)
    for entry in entry_points(group=f"robo_orl.{kind}"):
        owner = entry.dist.name if entry.dist else entry.value
        if entry.name in registry:
            raise UsageError(f"Package {owner} registers '{entry.name}' in {kind}, which is taken; it must be renamed.")
        try:
            registry[entry.name] = entry.load()
        except (ImportError, AttributeError) as error:
            raise RunError(f"Package {owner} registers '{entry.name}' in {kind}, but {entry.value}: {error}.") from None
    _registries[kind] = registry
    for name, thing in _registered[kind].items():
        _add(registry, kind, name, thing)
    return registry


def register(kind: str, name: str, thing: Any) -> Any:
    """Add an objective, a backbone or an environment to this process; returns `thing`.

    kind: objectives (a class of Objective), backbones (a class of backbone) or environments (a SceneEntry). A name that
    was registered in this way before is replaced, so that a cell of a notebook can run twice. Simulator processes and
    launched trainings do not see it: code that they need is registered by an entry point.

    Raises UsageError for another kind, and for a name of this package or of an installed one.
    """
    if kind not in KINDS:
        raise unknown("kind", kind, KINDS)
    if kind in _registries:
        _add(_registries[kind], kind, name, thing)
    _registered[kind][name] = thing
    return thing


def _add(registry: dict[str, Any], kind: str, name: str, thing: Any) -> None:
    if name in registry and registry[name] is not _registered[kind].get(name):
        raise UsageError(f"'{name}' in {kind} is taken; register it under another name.")
    registry[name] = thing
