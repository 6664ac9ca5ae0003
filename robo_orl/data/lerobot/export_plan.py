"""What is written of a robomimic file into a LeRobot folder: which keys become which feature, with names and rate."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import h5py
import numpy as np

from robo_orl.base.errors import UsageError
from robo_orl.data import hdf5_schema as layout
from robo_orl.data.array_checks import array_faults
from robo_orl.data.lerobot.v3_folder import Column
from robo_orl.data.training_checks import container_faults

STATE, OBJECT = "observation.state", "observation.environment_state"
OBJECT_KEYS = ("object", "object-state")


@dataclass(slots=True)
class Plan:
    """What is written. keys: feature -> [(HDF5 key, size)] that it consists of; cameras: by HDF5 key."""

    path: Path
    demos: list[str]
    keys: dict[str, list[tuple[str, int]]]
    cameras: list[str]
    fps: int
    robot: str
    instruction: str
    names: dict[str, list[str]]
    stages: list[str] | None
    action_range: np.ndarray | None
    notes: list[str] = field(default_factory=list)


def plan_export(file: h5py.File, path: Path, instruction: str, fps: int) -> Plan:
    """The plan for a file; UsageError where it cannot be read, lacks something in an episode, or says no rate."""
    faults = container_faults(file)
    if faults:
        raise UsageError(faults[0] if str(path) in faults[0] else f"{path}: {faults[0]}")
    made, env = layout.provenance(file), layout.env_args(file)
    settings = env.get("env_kwargs") if isinstance(env.get("env_kwargs"), dict) else {}
    rate = fps or (made.task.control_hz if made else settings.get("control_freq"))
    if not rate or int(rate) != rate:
        raise UsageError(f"{path} does not say how many frames a second it has: give it with --fps, e.g. --fps 20.")
    demos = layout.demo_names(file)
    sizes, cameras = layout.low_dim_sizes(file), layout.image_keys(file)
    objects = [key for key in sizes if key in OBJECT_KEYS or key == "environment_state"]
    others = [key for key in sizes if key not in objects]
    keys = {STATE: others or objects} | ({OBJECT: objects} if others and objects else {})
    robots = settings.get("robots") or ""
    attributes = file["data"].attrs
    scaled = attributes.get("action_range")
    plan = Plan(
        path=path,
        demos=demos,
        keys={feature: [(key, sizes[key]) for key in members] for feature, members in keys.items() if members},
        cameras=cameras,
        fps=int(rate),
        robot=str(robots if isinstance(robots, str) else "+".join(map(str, robots))),
        instruction=instruction
        or (made.task.instruction or made.task.name if made else str(env.get("env_name", path.stem))),
        names=json.loads(attributes.get("names", "{}")),
        stages=list(made.task.stages) if made else None,
        action_range=None if scaled is None else np.array(json.loads(scaled)),
    )
    shapes: dict[str, tuple] = {}
    for name in demos:
        _check(file["data"][name], name, plan, shapes)
    if any("states" in file["data"][name] for name in demos):
        plan.notes.append("states and scenes of the simulator stay behind: `data replay` needs the HDF5 file")
    return plan


def _check(demo: h5py.Group, name: str, plan: Plan, shapes: dict[str, tuple]) -> None:
    """UsageError where a part of an episode that is written is missing, has another shape, or is not finite."""
    if "actions" not in demo or not isinstance(demo.get("obs"), h5py.Group) or not len(demo["actions"]):
        raise UsageError(
            f"{plan.path}: {name} has no actions or no obs; leave it out with `robo-orl data edit --drop`."
        )
    if not plan.keys and not plan.cameras:
        raise UsageError(f"{plan.path} has no observation key in every episode.")
    length = len(demo["actions"])
    parts = {"actions": demo["actions"]} | {key: demo[key] for key in ("rewards", "dones", "stages") if key in demo}
    for key in [key for members in plan.keys.values() for key, _ in members] + plan.cameras:
        stored = layout.stored_name(demo["obs"], key)
        if stored is None:
            raise UsageError(f"{plan.path}: {name} lacks obs/{key}; leave it out with `robo-orl data edit --drop`.")
        parts[f"obs/{key}"] = demo["obs"][stored]
    for key, data in parts.items():
        for fault in array_faults(f"{name}/{key}", key, data, length, shapes):
            raise UsageError(f"{plan.path}: {fault}")


def _common(file: h5py.File, plan: Plan, key: str) -> bool:
    return all(key in file["data"][name] for name in plan.demos)


def columns(file: h5py.File, plan: Plan) -> dict[str, Column]:
    """The features of numbers, named KEY_i where the file knows no better."""
    made = {}
    for feature, members in plan.keys.items():
        names = [name for key, size in members for name in plan.names.get(key) or _numbered(key, size)]
        made[feature] = Column("float32", len(names), names)
    size = file["data"][plan.demos[0]]["actions"].shape[1]
    made["action"] = Column("float32", size, plan.names.get("actions") or _numbered("action", size))
    if _common(file, plan, "rewards"):
        made["next.reward"] = Column("float32", 1)
    if _common(file, plan, "dones"):
        made["next.done"] = Column("bool", 1)
    if _says_success(file, plan):
        made["next.success"] = Column("bool", 1)
    count = layout.stage_count(file)
    if count:
        named = plan.stages if plan.stages and len(plan.stages) == count else _numbered("stage", count)
        made["next.stages"] = Column("int64", count, named)
    return made


def _numbered(key: str, size: int) -> list[str]:
    return [f"{key}_{i}" for i in range(size)]


def _says_success(file: h5py.File, plan: Plan) -> bool:
    return all("success" in file["data"][name].attrs for name in plan.demos)
