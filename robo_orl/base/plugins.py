"""Objectives, backbones, environments, stages and rewards from outside: by entry points of packages, or by `register`.

    [project.entry-points."robo_orl.objectives"]      # also .backbones, .environments, .stages, .rewards
    steady = "my_package.steady:SteadyCloning"

A package's entry runs as its own code, as every installed package does; configurations load no code.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from typing import Any, TypeVar

from robo_orl.base.errors import RunError, UsageError, unknown

T = TypeVar("T")
KINDS = ("objectives", "backbones", "environments", "stages", "rewards")

_registered: dict[str, dict[str, Any]] = {kind: {} for kind in KINDS}
_registries: dict[str, Registry[Any]] = {}  # those that are imported


class Registry(dict[str, T]):
    """The entries by name. A name that cannot be used is in `broken`; its error is raised where it is named."""

    def __init__(self, entries: dict[str, T], adapt: Callable[[Any], Any]):
        super().__init__(entries)
        self.adapt = adapt
        self.registered: set[str] = set()  # by `register`
        self.broken: dict[str, UsageError | RunError] = {}

    def __contains__(self, name: object) -> bool:
        return super().__contains__(name) or name in self.broken

    def __getitem__(self, name: str) -> T:
        if name in self.broken:
            raise self.broken[name]
        return super().__getitem__(name)


def _as_it_is(thing: Any) -> Any:
    return thing


def with_plugins(
    entries: dict[str, T], kind: str, expected: type, adapt: Callable[[Any], Any] = _as_it_is
) -> Registry[T]:
    """The registry of our `entries` and of those that other packages add.

    kind: one of KINDS. expected: the class that an entry is an instance or a subclass of. adapt: makes one of what a
    package may give instead. A package whose entry fails to load, is something else, or takes a name of ours breaks
    that name and nothing else.
    """
    registry = Registry(entries, adapt)
    for entry in entry_points(group=f"robo_orl.{kind}"):
        owner = entry.dist.name if entry.dist else entry.value
        says = f"Package {owner} registers '{entry.name}' in {kind}"
        if entry.name in registry:
            registry.broken[entry.name] = UsageError(f"{says}, which is taken; rename it there or uninstall {owner}.")
            continue
        try:
            registry[entry.name] = _load(entry, expected, adapt)
        except RunError as error:
            registry.broken[entry.name] = RunError(f"{says}, but {error}; mend or uninstall {owner}.")
    _registries[kind] = registry
    for name, thing in _registered[kind].items():
        _add(registry, kind, name, thing)
    return registry


def _load(entry: EntryPoint, expected: type, adapt: Callable[[Any], Any]) -> Any:
    """The object of an entry; RunError for everything that its package raises on import."""
    try:
        loaded = adapt(entry.load())
    except (Exception, SystemExit) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise RunError(f"{entry.value} cannot be imported ({reason})") from None
    if not isinstance(loaded, expected) and not (isinstance(loaded, type) and issubclass(loaded, expected)):
        raise RunError(f"{entry.value} is no {expected.__name__}")
    return loaded


def register(kind: str, name: str, thing: Any) -> Any:
    """Add an objective, a backbone, an environment or a source of rewards to this process; returns `thing`.

    kind: objectives (a class of Objective), backbones (a class of backbone), environments (a SceneEntry, or a class
    with the interface of gymnasium), stages (a function of a scene) or rewards (a class of Source). A name that was
    registered in this way before is replaced, so that a cell of a notebook can run twice. Simulator processes and
    launched trainings do not see it: code that they need is registered by an entry point.

    Raises UsageError for another kind, and for a name of this package or of an installed one.
    """
    if kind not in KINDS:
        raise unknown("kind", kind, KINDS)
    if kind in _registries:
        _add(_registries[kind], kind, name, thing)
    _registered[kind][name] = thing
    return thing


def _add(registry: Registry[Any], kind: str, name: str, thing: Any) -> None:
    if name in registry and name not in registry.registered:
        raise UsageError(f"'{name}' in {kind} is taken; register it under another name.")
    registry[name] = registry.adapt(thing)
    registry.registered.add(name)
