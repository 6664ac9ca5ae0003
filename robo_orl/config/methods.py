"""Methods of learning online, the files in policies/online/: overlays of the policy that goes on to learn."""

from __future__ import annotations

from typing import Any

from robo_orl.config.presets import load_variant, take_apart
from robo_orl.config.reading import deep_merge
from robo_orl.config.variants import Variant, check_disjoint, read_variant, without

METHODS = "policies/online"


def with_method(policy: dict[str, Any], name: str) -> dict[str, Any]:
    """A policy's values with those of a method (`dac`, a path) and of its variants (`dac+random_reward`).

    Raises UsageError where there is no such method or variant, and for variants that contradict each other.
    """
    parts = take_apart(METHODS, name)
    method = read_variant(parts.path.stem, parts.path)
    variants = [load_variant(METHODS, variant) for variant in parts.variants]
    check_disjoint(f"online method '{name}'", variants)
    for part in (method, *variants):
        policy = _laid_on(policy, part)
    return policy


def _laid_on(policy: dict[str, Any], method: Variant) -> dict[str, Any]:
    """A policy's values with a method's, or with a variant's after it. Where the method has another objective, the
    policy's own goes with its critic, selection and backup: they mean nothing beside another one."""
    objective = method.settings.get("objective", {}).get("name", policy["objective"]["name"])
    if objective != policy["objective"]["name"]:
        policy = {k: v for k, v in policy.items() if k not in ("objective", "critic", "selection", "n_step")}
    for key in method.removes:
        policy = without(policy, key.split("."))
    laid = deep_merge(policy, method.settings)
    return laid | {"name": f"{policy['name']}_{method.name}"}
