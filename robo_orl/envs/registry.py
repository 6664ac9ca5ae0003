"""The scenes: the robosuite environment, the parameters and the sizes of each name that a task's `env` may have.

A new scene is one entry here. robosuite itself is imported where an environment is made, and not before.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from math import pi
from types import ModuleType
from typing import TYPE_CHECKING, Any

from pydantic import Field

from robo_orl.base.errors import UsageError, unknown
from robo_orl.base.plugins import with_plugins
from robo_orl.config import Strict, TaskConfig, parse, sha256_of
from robo_orl.envs.any_scene import PREFIX, AnyParams, is_any, laid_on, robosuite_name
from robo_orl.envs.rendering.opengl import import_robosuite

if TYPE_CHECKING:
    from robosuite.environments.manipulation.manipulation_env import ManipulationEnv


ROBOT = "Panda"


class NoParams(Strict):
    """The scene takes no parameters."""

    def objects(self, named: tuple[str, ...]) -> list[str]:
        """The scene's objects, in the task's order."""
        return list(named)


class ChainParams(Strict):
    """The parameters of chain."""

    cubes: int = Field(ge=1, le=8)

    def objects(self, named: tuple[str, ...]) -> list[str]:
        """One name per cube."""
        return [f"cube_{i + 1}" for i in range(self.cubes)]


@dataclass(frozen=True)
class SceneEntry:
    """robosuite's name of the environment, its objects in the task's order, the schema of its parameters, and whether
    every new start draws the objects' sizes too (a new model, half a second).

    module: imported in a simulator's process before the environment is made, where its class is registered with
    robosuite. stages: name -> predicate over a `scene.Scene`; None: those of stages.py. object_size: numbers in the
    scene's `object` observation without dead time, for work that starts no simulator; None: only its simulator knows.
    robots: of which each is one arm with a gripper. base_yaws: radians by which the base of each is turned about the
    vertical, where one is. own_class: an environment with the interface of gymnasium, which is no scene of robosuite
    (gym_env.py).
    """

    robosuite_name: str
    objects: tuple[str, ...] = ()
    params: type[Strict] = NoParams
    draws_model: bool = False
    module: str = ""
    stages: dict[str, Callable[[Any], bool]] | None = None
    object_size: int | None = None
    robots: tuple[str, ...] = (ROBOT,)
    base_yaws: tuple[float, ...] = ()
    own_class: type | None = None


def as_entry(thing: Any) -> Any:
    """The entry of a class with the interface of gymnasium; everything else as it is."""
    if isinstance(thing, type) and callable(getattr(thing, "reset", None)) and callable(getattr(thing, "step", None)):
        return SceneEntry("", params=AnyParams, robots=(), own_class=thing)
    return thing


TRANSPORTED = (
    *("transport_start_bin_lid", "payload", "trash"),
    *("transport_start_bin", "transport_target_bin", "transport_trash_bin"),
)
OURS: dict[str, SceneEntry] = {
    "lift": SceneEntry("Lift", ("cube",), draws_model=True, object_size=10),
    "can": SceneEntry("PickPlaceCan", ("Can",), object_size=14),
    "square": SceneEntry("NutAssemblySquare", ("SquareNut",), object_size=14),
    "stack": SceneEntry("Stack", ("cubeA", "cubeB"), object_size=23),
    "transport": SceneEntry(
        "TwoArmTransport",
        TRANSPORTED,
        draws_model=True,
        object_size=41,
        robots=(ROBOT, ROBOT),
        base_yaws=(pi / 2, -pi / 2),  # they face each other
    ),
    "tool_hang": SceneEntry("ToolHang", ("frame", "tool", "stand"), object_size=44),
    "chain": SceneEntry("Chain", params=ChainParams, module="robo_orl.envs.chain", object_size=74),
}
SCENES = with_plugins(OURS, "environments", SceneEntry, as_entry)


def scene_entry(task: TaskConfig) -> SceneEntry:
    """The scene of a task.

    Raises:
        UsageError: a scene that does not exist, or a task without an environment.
    """
    if not task.has_environment:
        raise UsageError(
            f"Task {task.name} has no environment (env: none), and this needs one: a policy of it trains, and is "
            "judged on held-out data by `robo-orl eval RUN --held-out FILE` or `--held-out-filter MASK`."
        )
    if is_any(task.env):
        name, robots = robosuite_name(task), tuple(task.robots) or (ROBOT,)
        return SceneEntry(name, params=AnyParams, draws_model=True, robots=robots)
    if task.env not in SCENES:
        raise UsageError(f"{unknown('env', task.env, SCENES)} One of your own comes with an installed package.")
    entry = SCENES[task.env]
    if entry.own_class is not None:
        _check_own(task)
        return entry
    if task.robots and tuple(task.robots) != entry.robots:
        raise UsageError(
            f"Task {task.name}: the scene '{task.env}' has the robots {', '.join(entry.robots)}; for others take "
            f"env: {PREFIX}{entry.robosuite_name}."
        )
    if task.controller:
        raise UsageError(
            f"Task {task.name}: the scene '{task.env}' is moved by OSC_POSE; for another controller take env: "
            f"{PREFIX}{entry.robosuite_name}."
        )
    return entry


def is_own(task: TaskConfig) -> bool:
    """Whether the task's environment is a class with the interface of gymnasium; UsageError where there is none."""
    return task.has_environment and scene_entry(task).own_class is not None


def _check_own(task: TaskConfig) -> None:
    """UsageError where a task says of a gymnasium environment what only a scene of robosuite has."""
    said = {
        "robots": task.robots,
        "controller": task.controller,
        "conditions": task.conditions,
        "padding": task.padding,
    }
    for key in (key for key, value in said.items() if value):
        raise UsageError(
            f"Task {task.name}: {key} is for scenes of robosuite, and '{task.env}' is an environment of its own, which "
            "decides that itself: leave it out."
        )


def scene_params(task: TaskConfig) -> dict[str, Any]:
    """The scene's own parameters, checked.

    Raises:
        UsageError: a parameter that the scene does not take.
    """
    return parse(scene_entry(task).params, task.params, f"task {task.name}: params").model_dump()


def object_names(task: TaskConfig) -> list[str]:
    """The scene's objects, in the task's order."""
    entry = scene_entry(task)
    return entry.params(**scene_params(task)).objects(entry.objects)


def start_name(task: TaskConfig) -> str:
    """The name of the scene's start states: the same for every control_hz, padding, stages and time-out."""
    params = scene_params(task)
    if is_any(task.env):
        entry = scene_entry(task)
        decides = {"params": params, "robots": list(entry.robots)}
        decides |= {"controller": task.controller} if task.controller else {}
        return f"{entry.robosuite_name}-{sha256_of(decides)[:12]}"
    if task.env == "chain":
        return f"chain{params['cubes']}"
    return task.env if not params else f"{task.env}-{sha256_of(params)[:12]}"


ARM_ACTION = 7  # numbers of one arm's action: position 3, rotation vector 3, gripper 1 (OSC_POSE)
PROPRIOCEPTION = {"eef_pos": 3, "eef_quat": 4, "gripper_qpos": 2}


def action_size(task: TaskConfig) -> int | None:
    """The numbers of an action: those of every arm, one arm after the other; None where only the simulator knows.

    Raises UsageError for a scene that does not exist.
    """
    if is_any(task.env) or not task.has_environment or is_own(task):
        return None
    return ARM_ACTION * len(scene_entry(task).robots)


def proprioception(robots: int) -> dict[str, int]:
    """Low-dim key -> size of what so many robots know of themselves."""
    return {f"robot{i}_{name}": size for i in range(robots) for name, size in PROPRIOCEPTION.items()}


def observation_sizes(task: TaskConfig) -> dict[str, int] | None:
    """Low-dim key -> size of the scene of `task`; None for a scene that does not declare its size in the registry.

    Dead time adds one number to `object`; chain always has it.
    """
    entry = SCENES.get(task.env)
    if entry is None or entry.object_size is None:
        return None
    flag = int(task.env != "chain" and task.padding > 0)
    return proprioception(len(entry.robots)) | {"object": entry.object_size + flag}


# --------------------------------------------------------------------------------------------------------- environments


@cache
def load_robosuite() -> ModuleType:
    """The robosuite module, imported without OpenGL, and without its notices about optional parts on stderr."""
    logging.getLogger("robosuite_logs").addFilter(lambda record: record.levelno >= logging.ERROR)
    logging.getLogger("robosuite_logs").propagate = False
    return import_robosuite()


def env_kwargs(
    control_hz: int,
    params: dict[str, Any],
    robots: tuple[str, ...] = (ROBOT,),
    controller: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """The arguments of robosuite.make: states only, no time-out.

    controller: of the arms, as `any_scene.controller_settings`; None: each robot's own, OSC_POSE deltas.
    """
    from robosuite.controllers import load_composite_controller_config

    for robot in robots:
        if robot not in (known := load_robosuite().ALL_ROBOTS):
            raise unknown("robot of robosuite", robot, known)
    controllers = [load_composite_controller_config(robot=robot) for robot in robots]
    if controller is not None:
        controllers = [laid_on(own, controller, name) for own, name in zip(controllers, robots, strict=True)]
    return dict(
        params,
        robots=robots[0] if len(robots) == 1 else list(robots),
        controller_configs=controllers[0] if len(robots) == 1 else controllers,
        has_renderer=False,
        has_offscreen_renderer=False,
        use_camera_obs=False,
        use_object_obs=True,
        ignore_done=True,
        hard_reset=False,
        control_freq=control_hz,
    )


def make_simulator(env_name: str, kwargs: dict[str, Any]) -> ManipulationEnv:
    """A robosuite environment by its registered name; that of a scene is registered here."""
    robosuite = load_robosuite()
    for module in {entry.module for entry in SCENES.values() if entry.robosuite_name == env_name and entry.module}:
        import_module(module)  # registers the environment with robosuite
    known = robosuite.environments.base.REGISTERED_ENVS
    if env_name not in known:
        raise unknown("environment of robosuite", env_name, known)
    try:
        return robosuite.make(env_name, **kwargs)
    except (AssertionError, TypeError) as error:  # robots that do not fit it, arguments that it does not take
        reason = " ".join(str(error).split())
        raise UsageError(f"robosuite cannot make {env_name} from robots and params of the task: {reason}") from error
