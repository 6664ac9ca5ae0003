"""Variants: overlays that change one axis of a policy or a task, and what becomes of nested keys under them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import combinations
from pathlib import Path
from typing import Any

from robo_orl.base.errors import UsageError
from robo_orl.config.reading import deep_merge, read_yaml


@dataclass(frozen=True, slots=True)
class Variant:
    """An overlay that changes one axis of a policy or a task.

    settings: its own keys, nested. removes: dotted keys that mean nothing beside its settings. by_env: of a task, the
    settings that depend on its scene; where there are any, the variant is of these scenes alone.
    """

    name: str
    description: str
    settings: dict[str, Any]
    removes: tuple[str, ...] = ()
    by_env: dict[str, dict[str, Any]] = field(default_factory=dict)

    def changes(self) -> str:
        """Its settings in one line, as --set would take them."""
        scenes = [f"{env}: {_assignments(settings)}" for env, settings in self.by_env.items()]
        return "; ".join(filter(None, [_assignments(self.settings), *scenes]))

    def of(self, values: dict[str, Any]) -> Variant:
        """The variant of a task with these values; UsageError where it is not of the task's scene."""
        if not self.by_env:
            return self
        env = values.get("env")
        if env not in self.by_env:
            raise UsageError(
                f"The variant '{self.name}' is of {', '.join(self.by_env)}, and the task {values['name']} of the scene "
                f"'{env}': leave the variant out, or set what it changes with a variant of your own."
            )
        return replace(self, settings=deep_merge(self.settings, self.by_env[env]), by_env={})


def read_variant(name: str, path: Path) -> Variant:
    """The variant in a file; UsageError where the file is none."""
    values = read_yaml(path)
    description, removes = values.pop("description", ""), values.pop("removes", [])
    by_env = values.pop("by_env", {})
    if not isinstance(removes, list) or not all(isinstance(key, str) for key in removes):
        raise UsageError(f"{path}: removes is a list of keys, e.g. [critic.trunk_gradient].")
    if "name" in values or "extends" in values:
        raise UsageError(f"{path}: a variant has no name or extends of its own; give it only the keys that it changes.")
    if not isinstance(by_env, dict) or not all(isinstance(settings, dict) for settings in by_env.values()):
        raise UsageError(
            f"{path}: by_env holds the settings of each scene, e.g. by_env: {{lift: {{max_seconds: 20}}}}."
        )
    return Variant(name, str(description), values, tuple(removes), by_env)


def check_disjoint(where: str, variants: list[Variant]) -> None:
    """UsageError where two variants give one key different values, so that their order would decide."""
    for one, other in combinations(variants, 2):
        ours, theirs = leaves(one.settings), leaves(other.settings)
        for key in ours.keys() & theirs.keys():
            if one.name == other.name or ours[key] != theirs[key]:
                raise UsageError(
                    f"{where}: the variants '{one.name}' and '{other.name}' both set {key}; leave one of them out."
                )


def without(values: dict[str, Any], path: list[str]) -> dict[str, Any]:
    """`values` without the key at `path`, which may be missing."""
    key, *inner = path
    if not inner:
        return {k: v for k, v in values.items() if k != key}
    nested = values.get(key)
    return values | {key: without(nested, inner)} if isinstance(nested, dict) else values


def leaves(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Dotted key -> value of every value in nested dictionaries."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        nested = isinstance(value, dict) and value
        flat |= leaves(value, f"{prefix}{key}.") if nested else {f"{prefix}{key}": value}
    return flat


def _assignments(settings: dict[str, Any]) -> str:
    return " ".join(f"{key}={_plain(value)}" for key, value in leaves(settings).items())


def _plain(value: Any) -> str:
    return f"[{', '.join(map(_plain, value))}]" if isinstance(value, list) else str(value)
