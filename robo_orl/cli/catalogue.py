"""What can be named on the command line, with one line about each."""

from __future__ import annotations

from typing import Any

from robo_orl.config import SIZES, TaskConfig, parse
from robo_orl.config.presets import available, preset_values

KINDS = ("policies", "tasks", "suites", "sizes", "objectives", "references")


def catalogue(kind: str) -> list[dict[str, Any]]:
    """Every entry of `kind` as a row for a table or for JSON."""
    rows = {"policies": _policies, "tasks": _tasks, "suites": _suites, "sizes": _sizes, "objectives": _objectives,
            "references": _references}  # fmt: skip
    return rows[kind]()


def _policies() -> list[dict[str, Any]]:
    rows = []
    for name in available("policies"):
        values = preset_values("policies", name)
        critic = values.get("critic") or {}
        rows.append(
            {
                "name": name,
                "objective": values.get("objective", {}).get("name", "bc"),
                "head": values.get("action_head", {}).get("kind", "l1"),
                "critic": critic.get("topology", "shared") if critic else "-",
                "description": values.get("description", ""),
            }
        )
    return rows


def _tasks() -> list[dict[str, Any]]:
    rows = []
    for name in available("tasks"):
        task = parse(TaskConfig, preset_values("tasks", name), f"task {name}")
        rows.append(
            {
                "name": name,
                "stages": len(task.stages),
                "control_hz": task.control_hz,
                "horizon": task.horizon,
                "description": task.description,
            }
        )
    return rows


def _suites() -> list[dict[str, Any]]:
    return [
        {"name": name, "description": preset_values("tasks/suites", name).get("description", "")}
        for name in available("tasks/suites")
    ]


def _sizes() -> list[dict[str, Any]]:
    from robo_orl.models.backbones.transformer import parameters_of_size
    from robo_orl.models.vlm.architectures import architecture, architectures

    native = [{"name": name, "depth": depth, "parameters": parameters_of_size(name)} for name, depth in SIZES.items()]
    models = [architecture(name) for name in architectures()]
    models = [{"name": m.name, "depth": m.depth, "parameters": m.parameters} for m in models]
    return [row | {"kind": "transformer"} for row in native] + [row | {"kind": "vlm"} for row in models]


def _objectives() -> list[dict[str, Any]]:
    from robo_orl.objectives import OBJECTIVES

    return [
        {
            "name": name,
            "values": " ".join(objective.heads) or "-",
            "extraction": " ".join(objective.extractions) or "its own",
            "description": (objective.__doc__ or "").strip().splitlines()[0],
        }
        for name, objective in OBJECTIVES.items()
    ]


def _references() -> list[dict[str, Any]]:
    from robo_orl.robomimic.algorithms import ALGORITHMS

    return [{"name": name, "description": algorithm.description} for name, algorithm in ALGORITHMS.items()]
