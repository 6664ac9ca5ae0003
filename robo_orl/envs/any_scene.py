"""Any environment of robosuite as a scene: `env: robosuite:Door` and `robots: [Sawyer]` in a task's file, without code.

Success is the environment's own check. Other stages are expressions over the simulation (conditions.py).
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from pydantic import ConfigDict

from robo_orl.base.errors import UsageError, unknown
from robo_orl.config import Strict, TaskConfig

PREFIX = "robosuite:"
DECIDED = frozenset(
    {
        *("robots", "controller_configs", "has_renderer", "has_offscreen_renderer", "use_camera_obs", "use_object_obs"),
        *("ignore_done", "hard_reset", "control_freq", "seed", "horizon"),
    }
)  # arguments of robosuite.make that the task itself says

NOT_IN_STATES = {"Wipe": "which markers are wiped, with what is observed of them and success"}
"""Environment of robosuite -> what it keeps outside the simulator's state, so that no stored state restores it."""


class AnyParams(Strict):
    """Arguments of the environment's own, as robosuite.make takes them."""

    model_config = ConfigDict(extra="allow", frozen=True, allow_inf_nan=False)

    def objects(self, named: tuple[str, ...]) -> list[str]:
        """Its objects are known to its simulator alone."""
        return []


def is_any(env: str) -> bool:
    """Whether a task's `env` names an environment of robosuite itself."""
    return env.startswith(PREFIX)


def robosuite_name(task: TaskConfig) -> str:
    """The environment that a task names.

    Raises:
        UsageError: no name stands behind the prefix, or `params` repeats what the task says elsewhere.
    """
    if decided := sorted(DECIDED & task.params.keys()):
        raise UsageError(
            f"Task {task.name}: params has {decided[0]}, which follows from the task (robots, control_hz, max_seconds) "
            "or is decided here: leave it out."
        )
    name = task.env.removeprefix(PREFIX)
    if not name:
        raise UsageError(f"Task {task.name}: env names no environment: write one behind the colon, e.g. {PREFIX}Door.")
    return name


OWN = re.compile(r"robot\d_(.+_)?(eef_pos|eef_quat|gripper_qpos)")


def own_keys(env: Any) -> tuple[str, ...]:
    """The low-dim keys of what the robots know of themselves: each hand's pose and fingers."""
    sampled = env._observables.items()  # a sponge has no fingers to observe
    return tuple(name for name, observable in sampled if OWN.fullmatch(name) and np.size(observable.obs))


JOINED = "-state"  # robosuite's name of all observations of a modality side by side, e.g. robot0_proprio-state


def further_keys(env: Any, keys: list[str]) -> tuple[str, ...]:
    """Those of the keys that robosuite can observe beside the usual ones; switched on where they are off."""
    known = env._observables
    modalities = {observable.modality for observable in known.values() if observable.modality != "image"}
    found = []
    for key in keys:
        if key in known and known[key].modality != "image":
            env.modify_observable(key, "enabled", True)  # and no more active than it was: that decides what is joined
            found.append(key)
        elif key.endswith(JOINED) and key.removesuffix(JOINED) in modalities - {"object"}:
            found.append(key)
    return tuple(found)


def observed(env: Any, key: str) -> np.ndarray:
    """(D,) the last sample of an observable, or of all that are shown of a modality, as robosuite joins them."""
    if key in env._observables:
        return np.atleast_1d(env._observables[key].obs)
    own = (o for o in env._observables.values() if o.modality == key.removesuffix(JOINED))
    return np.concatenate([np.atleast_1d(o.obs) for o in own if o.is_enabled() and o.is_active()])


def gripper_numbers(env: Any) -> np.ndarray:
    """(G,) int: the places of an action that open and close grippers."""
    places, start = [], 0
    for robot in env.robots:
        parts = robot.composite_controller._action_split_indexes
        for arm in robot.arms:
            if robot.has_gripper[arm]:
                first, last = parts[robot.get_gripper_name(arm)]
                places += range(start + first, start + last)
        start += robot.action_dim
    return np.array(places, dtype=np.int64)


# ---------------------------------------------------------------------------------------------------------- controllers

POSE = "OSC_POSE"
STEPS = {  # kind of controller -> what an action of 1 asks for, as robosuite's own settings have it
    POSE: (0.05, 0.05, 0.05, 0.5, 0.5, 0.5),
    "OSC_POSITION": (0.05, 0.05, 0.05),
    "IK_POSE": None,
    "JOINT_POSITION": 0.05,
    "JOINT_VELOCITY": 0.5,
    "JOINT_TORQUE": 0.1,
}
DELTAS = {"input_max": 1, "input_min": -1, "impedance_mode": "fixed", "input_type": "delta", "control_delta": True}
DELTAS |= {"interpolation": None, "interpolator": None}


def controller_settings(task: TaskConfig) -> dict[str, Any]:
    """The controller of the arms as settings of robosuite's: its `type`, and what differs from robosuite's own.

    Raises:
        UsageError: a kind that does not exist, or settings with which actions are no steps within [-1, 1].
    """
    settings = {"type": task.controller or POSE} if isinstance(task.controller, str) else dict(task.controller)
    kind = settings.setdefault("type", POSE)
    if kind not in STEPS:
        raise unknown(f"controller of task {task.name}", str(kind), STEPS)
    for key, value in DELTAS.items():
        if settings.get(key, value) != value:
            raise UsageError(
                f"Task {task.name}: controller has {key}: {settings[key]}, and policies here act by steps within "
                "[-1, 1] that are taken at once: leave it out."
            )
    return settings


def laid_on(config: dict[str, Any], settings: dict[str, Any], robot: str) -> dict[str, Any]:
    """A robot's composite controller of robosuite with arms that are moved as `settings` say.

    Raises:
        UsageError: a robot whose composite controller moves more than arms and grippers.
    """
    if settings == {"type": POSE}:
        return config
    from robosuite.controllers.parts.controller_factory import load_part_controller_config

    arms = {name: part for name, part in config["body_parts"].items() if name in ("right", "left")}
    if config["type"] != "BASIC" or not arms:
        raise UsageError(
            f"The robot {robot} is moved by the controller {config['type']}, whose arms have no controller of their "
            "own: take a robot with a fixed base, e.g. Panda, Sawyer or UR5e."
        )
    if (kind := settings["type"]) == "JOINT_VELOCITY":
        from robo_orl.envs.joint_velocity import mend

        mend()
    for name, part in arms.items():
        own = part if part["type"] == kind else load_part_controller_config(default_controller=kind)
        config["body_parts"][name] = own | settings | {"gripper": part.get("gripper", {"type": "GRIP"})}
    return config


def check_controllers(env: Any, task: TaskConfig) -> None:
    """UsageError where an arm is moved otherwise than the task says."""
    wanted = controller_settings(task)["type"]
    for robot in env.robots:
        for arm in robot.arms:
            name = getattr(robot.part_controllers[arm], "name", "")
            if name != wanted:
                raise UsageError(
                    f"Task {task.name}: robosuite moves the robot {robot.name} by {name}, and the task asks for "
                    f"{wanted}: take a robot with a fixed base, e.g. Panda, Sawyer or UR5e, or another `controller`."
                )
