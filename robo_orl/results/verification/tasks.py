"""A stored task against the definition of the task that has its name or its digest here."""

from __future__ import annotations

import os
from functools import cache

from robo_orl.base.errors import UsageError
from robo_orl.config import TaskConfig
from robo_orl.config.presets import PRESETS_VARIABLE, available, load_task
from robo_orl.results.record import TaskRef

# Hash of the shipped bank of start states, by the scene (tasks/starts); a test compares it with the files.
START_BANKS = {
    "can": "b1e95382ce34fb7bd6f2785108c3511b55852254570761a3d6a093ff3f8d51eb",
    "chain1": "22b1190699482dca3a499e882ccf2f61d5355697747b2a113cc200def44850ca",
    "chain2": "1f17a7edb3a7ffd50f6acc073fccd1727ca42aa7e97bf57cd931360e9fdf1573",
    "chain4": "4509f00f3de30a44a80591f7a1df03093ffa4aaff027a52adfadb25a9bf0650a",
    "chain8": "dd97b33e555664a0ed3c6d4d43e3cc3cd7e88486a8c21b2be2b8ead6d93bc5ce",
    "lift": "ad8e9cd823ddf6823193930329a2b4a8e7bae2cf2655635c01b49383d28fe077",
    "square": "50df0fe541a857c3c80e0a2a6f7cda760b208abfb1fa0c6883ef3f6ba3b211e3",
    "stack": "a777075db8b389fdd6178bfc43a49cabf3039af212db6c271981bc13f0d4da69",
    "tool_hang": "658b5c165711dd644e366b7ea4bd3a56f4a0e88cccf4649c1cf15233ff014230",
    "transport": "c2800be31d57ae817dec1a07dffb498a9ee43628fad72b4840f5323d3b3f5bf9",
}
FIELDS = ("name", "version", "horizon", "control_hz", "padding", "stages")


def task_of(task: TaskRef) -> TaskConfig | None:
    """The definition of a stored task, None where no task here has its digest."""
    own = _load(task.name)
    if own is not None and _digest(task.name, os.environ.get(PRESETS_VARIABLE)) == task.digest:
        return own
    return _by_digest(_presets()).get(task.digest)


def task_faults(task: TaskRef, where: str = "task") -> list[str]:
    """The contradictions between a stored task and its definition; none where no task here has its name or digest."""
    definition = task_of(task)
    if definition is None:
        own = _load(task.name)
        if own is not None and own.version == task.version:
            return [f"{where}.digest is not that of version {own.version} of the task {task.name}."]
        return _own_faults(task, where)
    return [
        f"{where}.{name} is {getattr(task, name)}, the task of this digest has {getattr(definition, name)}."
        for name in FIELDS
        if getattr(task, name) != getattr(definition, name)
    ]


def start_bank(task: TaskConfig) -> str | None:
    """The hash of the shipped start states of a task; None where none are shipped for its scene."""
    scene = f"chain{task.params.get('cubes')}" if task.env == "chain" else task.env
    return START_BANKS.get(scene) if task.env == "chain" or not task.params else None


def _own_faults(task: TaskRef, where: str) -> list[str]:
    """Of a task that nothing here defines."""
    issues = [f"{where}.{name} is {value}." for name in ("horizon", "control_hz") if (value := getattr(task, name)) < 1]
    if len(set(task.stages)) != len(task.stages) or not task.stages:
        issues.append(f"{where}.stages does not name every stage once.")
    return issues


def _load(name: str) -> TaskConfig | None:
    return _load_once(name, os.environ.get(PRESETS_VARIABLE))


@cache
def _load_once(name: str, presets: str | None) -> TaskConfig | None:
    """A task by name. presets: the folder of the user's own, which decides what the name means."""
    try:
        return None if name.endswith((".yaml", ".yml")) else load_task(name)
    except UsageError:
        return None


@cache
def _digest(name: str, presets: str | None) -> str | None:
    """The digest of a task by name; taken once, as a folder has many records of one task."""
    task = _load_once(name, presets)
    return task.digest() if task is not None else None


def _presets() -> tuple[str, ...]:
    return tuple(available("tasks"))


@cache
def _by_digest(names: tuple[str, ...]) -> dict[str, TaskConfig]:
    return {task.digest(): task for name in names if (task := _load(name)) is not None}
