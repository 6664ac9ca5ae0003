"""A task's file from a data set's own description of its environment: what was recorded is what is trained for."""

from __future__ import annotations

import inspect
import math
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import h5py

from robo_orl.config import TaskConfig, parse
from robo_orl.config.tasks import NO_ENVIRONMENT
from robo_orl.data import hdf5_schema as layout
from robo_orl.data.task_check import arm_controller, is_absolute
from robo_orl.envs.any_scene import DECIDED, DELTAS, POSE, PREFIX, STEPS
from robo_orl.envs.registry import SCENES, load_robosuite

ROOM = 1.5  # times the longest episode: the time limit
LOOKS = ("camera", "render", "lite_physics", "reward_", "table_friction", "base_types", "gripper_types")
USUAL_HZ = 20  # robosuite's and robomimic's decisions per second


def task_of(path: Path, name: str) -> tuple[dict[str, Any], str]:
    """The values of a task's file for the data in `path`, and why it has no environment, "" where it has one.

    Environment, robots, its own parameters, rate and a time limit are the file's; success is the environment's own
    check. A scene that is shipped with the same robots is taken by its name, with its stages. Data of an environment
    that is not here, of a robot, or of absolute poses get `env: none`.
    """
    with layout.open_hdf5(path) as file:
        described = layout.env_args(file)
        view = _view(file)
        longest = max((len(file["data"][demo]["actions"]) for demo in layout.demo_names(file)), default=0)
    settings = described.get("env_kwargs", {})
    env_name, rate = described.get("env_name"), int(settings.get("control_freq", USUAL_HZ))
    robots = settings.get("robots", "Panda")
    robots = [robots] if isinstance(robots, str) else list(robots)
    lacking = _lacking(env_name, settings)
    if lacking:
        what = f"Data of {env_name}" if env_name else "Data"
        values = {"description": f"{what} as in {path.name}, without an environment.", "env": NO_ENVIRONMENT}
        values |= {"robots": robots} if "robots" in settings else {}
        values |= {"stages": ["success"]}
    else:
        own = _own_params(load_robosuite().environments.base.REGISTERED_ENVS[env_name], settings)
        values = {"description": f"{env_name} as in {path.name}; success by the environment's own check."}
        values |= _scene(env_name, robots, own, _controller(settings))
    values |= {"control_hz": rate} if rate != USUAL_HZ else {}
    values |= {"max_seconds": max(math.ceil(ROOM * longest / rate), 1)}
    values |= {"view": view} if view else {}
    values |= {"instruction": f"complete {env_name}" if env_name else ""}
    parse(TaskConfig, {"name": name} | values, f"the task of {path}")
    return values, lacking


def _view(file: h5py.File) -> dict[str, Any] | None:
    """The pictures of a file, where all are squares of one size."""
    keys = layout.image_keys(file) if "obs" in file["data"][layout.demo_names(file)[0]] else []
    shapes = {file["data"][layout.demo_names(file)[0]]["obs"][key].shape[1:3] for key in keys}
    if len(shapes) != 1 or len(set(side := shapes.pop())) != 1:
        return None
    return {"cameras": [key.removesuffix(layout.IMAGE) for key in keys], "size": int(side[0])}


def _lacking(env_name: str | None, settings: dict[str, Any]) -> str:
    """The reason why the data's environment cannot be made here, "" where it can."""
    if not env_name:
        return "the file does not say which environment it is of (env_args)"
    if find_spec("robosuite") is None:
        return "robosuite is not installed here; pip install 'robo-orl[sim]', and repeat, if the file is of it"
    if env_name not in load_robosuite().environments.base.REGISTERED_ENVS:
        return f"the file is of {env_name}, which robosuite here does not have (register it, see 'Own task', if it can)"
    arm = arm_controller(settings)
    if arm.get("type", POSE) not in STEPS:
        return f"the file was recorded with the controller {arm['type']}, and tasks here take {', '.join(STEPS)}"
    if is_absolute(arm):
        return "its actions are absolute poses, and tasks here take deltas"
    if odd := next((key for key, usual in DELTAS.items() if arm.get(key, usual) != usual), None):
        return f"its controller has {odd}: {arm[odd]}, and tasks here take steps within [-1, 1] that are taken at once"
    return ""


IDLE = frozenset({"type", "gripper", "ramp_ratio", "damping", *DELTAS})  # no settings that a task would repeat


def _controller(settings: dict[str, Any]) -> dict[str, Any] | str:
    """The controller of a file as a task says it: its kind, with the settings that are not robosuite's own."""
    from robosuite.controllers.parts.controller_factory import load_part_controller_config

    arm = arm_controller(settings)
    kind = arm.get("type", POSE)
    usual = load_part_controller_config(default_controller=kind)
    own = {k: v for k, v in arm.items() if k in usual and k not in IDLE and not _same_limits(v, usual[k])}
    if own:
        return {"type": kind} | own
    return kind if kind != POSE else ""


def _same_limits(one: Any, other: Any) -> bool:
    """Whether two settings are the same, one number standing for one a dimension."""
    widest = max(len(v) if isinstance(v, list) else 1 for v in (one, other))
    spread = [v if isinstance(v, list) else [v] * widest for v in (one, other)]
    return spread[0] == spread[1]


def _scene(
    env_name: str, robots: list[str], params: dict[str, Any], controller: dict[str, Any] | str
) -> dict[str, Any]:
    """The scene: a shipped one where it is the same, else robosuite's by its name."""
    from robo_orl.envs.stages import STAGES

    for name, entry in SCENES.items():
        same = entry.robosuite_name == env_name and list(entry.robots) == robots and not params and not controller
        if same and name in STAGES:
            return {"env": name, "stages": list(STAGES[name])}
    given = {"robots": robots} if robots != ["Panda"] else {}
    given |= {"controller": controller} if controller else {}
    given |= {"params": params} if params else {}
    return {"env": f"{PREFIX}{env_name}"} | given | {"stages": ["success"]}


def _own_params(env: type, settings: dict[str, Any]) -> dict[str, Any]:
    """The arguments of the environment's own that are not its defaults, without looks, rewards and what a task says."""
    defaults = inspect.signature(env.__init__).parameters
    own = {key: value for key, value in settings.items() if key in defaults and key not in DECIDED}
    own = {
        key: value
        for key, value in own.items()
        if not key.startswith(LOOKS) and not _same(value, defaults[key].default)
    }
    return {key: value for key, value in own.items() if key not in ("env_configuration", "initialization_noise")}


def _same(value: Any, default: Any) -> bool:
    return value == (list(default) if isinstance(default, tuple) else default)
