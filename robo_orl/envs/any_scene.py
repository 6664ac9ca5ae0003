"""Any environment of robosuite as a scene: `env: robosuite:Door` and `robots: [Sawyer]` in a task's file, without code.

Success is the environment's own check. Other stages are expressions over the simulation (conditions.py).
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from pydantic import ConfigDict

from robo_orl.base.errors import UsageError
from robo_orl.config import Strict, TaskConfig

PREFIX = "robosuite:"
DECIDED = frozenset(
    {
        *("robots", "controller_configs", "has_renderer", "has_offscreen_renderer", "use_camera_obs", "use_object_obs"),
        *("ignore_done", "hard_reset", "control_freq", "seed", "horizon"),
    }
)  # arguments of robosuite.make that the task itself says


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


def check_controllers(env: Any, task: TaskConfig) -> None:
    """UsageError where an arm is not moved by pose deltas, which is what policies here act in."""
    for robot in env.robots:
        for arm in robot.arms:
            name = getattr(robot.part_controllers[arm], "name", "")
            if name != "OSC_POSE":
                raise UsageError(
                    f"Task {task.name}: robosuite moves the robot {robot.name} by {name}, and tasks here take "
                    "OSC_POSE: take a robot with a fixed base and one arm, e.g. Panda, Sawyer or UR5e."
                )
