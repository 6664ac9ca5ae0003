"""A task's file from a data set's own description of its environment: what was recorded is what is trained for."""

from __future__ import annotations

import inspect
import math
from pathlib import Path
from typing import Any

from robo_orl.base.errors import UsageError
from robo_orl.config import TaskConfig, parse
from robo_orl.data import hdf5_schema as layout
from robo_orl.data.task_check import arm_controller
from robo_orl.envs.any_scene import DECIDED, PREFIX
from robo_orl.envs.registry import SCENES, load_robosuite

ROOM = 1.5  # times the longest episode: the time limit
LOOKS = ("camera", "render", "lite_physics", "reward_", "table_friction", "base_types", "gripper_types")
USUAL_HZ = 20  # robosuite's and robomimic's decisions per second


def task_of(path: Path, name: str) -> dict[str, Any]:
    """The values of a task's file for the data in `path`: environment, robots, its own parameters, rate, time limit.

    Success is the environment's own check. A scene that is shipped with the same robots is taken by its name, with its
    stages. Raises UsageError where the file does not describe an environment of robosuite that is moved by pose deltas.
    """
    with layout.open_hdf5(path) as file:
        described = layout.env_args(file)
        longest = max((len(file["data"][demo]["actions"]) for demo in layout.demo_names(file)), default=0)
    env_name, settings = described.get("env_name"), described.get("env_kwargs", {})
    if not env_name:
        raise UsageError(f"{path} does not say which environment it is of (env_args): write the task by hand.")
    kind = arm_controller(settings).get("type", "OSC_POSE")
    if kind != "OSC_POSE":
        raise UsageError(f"{path} was recorded with the controller {kind}, and tasks here take OSC_POSE deltas.")
    known = load_robosuite().environments.base.REGISTERED_ENVS
    if env_name not in known:
        raise UsageError(f"{path} is of {env_name}, which robosuite here does not have: register it, see 'Own task'.")
    robots = settings.get("robots", "Panda")
    robots = [robots] if isinstance(robots, str) else list(robots)
    rate = int(settings.get("control_freq", USUAL_HZ))
    seconds = math.ceil(ROOM * longest / rate)
    values = _scene(env_name, robots, _own_params(known[env_name], settings))
    values |= {"control_hz": rate} if rate != USUAL_HZ else {}
    values |= {"max_seconds": max(seconds, 1), "instruction": f"complete {env_name}"}
    values = {"description": f"{env_name} as in {path.name}; success by the environment's own check."} | values
    parse(TaskConfig, {"name": name} | values, f"the task of {path}")
    return values


def _scene(env_name: str, robots: list[str], params: dict[str, Any]) -> dict[str, Any]:
    """The scene: a shipped one where it is the same, else robosuite's by its name."""
    from robo_orl.envs.stages import STAGES

    for name, entry in SCENES.items():
        if entry.robosuite_name == env_name and list(entry.robots) == robots and not params and name in STAGES:
            return {"env": name, "stages": list(STAGES[name])}
    given = {"robots": robots} if robots != ["Panda"] else {}
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
