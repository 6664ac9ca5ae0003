"""Where policies/, tasks/ and launch/ are found, and how a name becomes a configuration."""

from __future__ import annotations

import os
from pathlib import Path

from robo_orl.base.errors import UsageError, unknown
from robo_orl.config import PolicyConfig, TaskConfig, deep_merge, parse, read_yaml

PRESETS_VARIABLE = "ROBO_ORL_PRESETS"  # set by --presets, inherited by the processes that a command starts


def preset_folders(kind: str) -> list[Path]:
    """The folders that hold presets of `kind` ("policies", "tasks", "launch", "tasks/suites"), the user's own first."""
    package = Path(__file__).parents[1]
    roots = [Path(os.environ[PRESETS_VARIABLE])] if os.environ.get(PRESETS_VARIABLE) else []
    roots += [package / "presets_data", package.parent]  # an installed wheel, a source checkout
    return [root / kind for root in roots if (root / kind).is_dir()]


def available(kind: str) -> dict[str, Path]:
    """Name -> file of every preset of `kind`."""
    found: dict[str, Path] = {}
    for folder in preset_folders(kind):
        for path in sorted(folder.glob("*.yaml")):
            found.setdefault(path.stem, path)
    return found


def preset_values(kind: str, name: str) -> dict:
    """The values of a preset given by name or by path, `extends` resolved."""
    path = Path(name) if name.endswith((".yaml", ".yml")) else available(kind).get(name)
    if path is None:
        what = kind.rstrip("s").replace("policie", "policy").replace("tasks/suite", "suite")
        raise unknown(what, name, available(kind), f"robo-orl list {kind.rpartition('/')[2]}")
    return _resolve(kind, path, seen=())


def _resolve(kind: str, path: Path, seen: tuple[Path, ...]) -> dict:
    if path in seen:
        raise UsageError(f"{path} extends itself by way of {' -> '.join(p.stem for p in seen)}.")
    values = {"name": path.stem} | read_yaml(path)
    parent = values.pop("extends", None)
    if parent is None:
        return values
    known = available(kind) | {p.stem: p for p in path.parent.glob("*.yaml")}
    if parent not in known:
        listed_by = f"robo-orl list {kind.rpartition('/')[2]}"
        raise unknown(f"{kind} preset that {path.name} extends", parent, known, listed_by)
    return deep_merge(_resolve(kind, known[parent], (*seen, path)), values)


def load_policy(name: str) -> PolicyConfig:
    """A policy by the name of its file in policies/, or by path."""
    return parse(PolicyConfig, preset_values("policies", name), f"policy {name}")


def load_task(name: str) -> TaskConfig:
    """A task by the name of its file in tasks/, or by path."""
    return parse(TaskConfig, preset_values("tasks", name), f"task {name}")
