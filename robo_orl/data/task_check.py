"""The check that data belong to a task: by the file's own word, else by all that can be compared."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from robo_orl.base.errors import UsageError
from robo_orl.base.machine import package_version
from robo_orl.config import ObservationConfig, TaskConfig
from robo_orl.data.arm_frames import arm_yaws, is_in_world
from robo_orl.data.arrays import EpisodeArrays
from robo_orl.envs.any_scene import STEPS, controller_settings
from robo_orl.envs.registry import action_size, is_own, observation_sizes, scene_entry

MISMATCH = "--accept-mismatch takes it all the same"


def check_task(arrays: EpisodeArrays, task: TaskConfig, accept_mismatch: bool = False) -> list[str]:
    """Refuse data of another task than `task`; what could not be checked, one sentence each.

    A file of other software does not name a task: then `task` is taken, and its environment, robot, control rate,
    controller, action size and observation sizes are compared. accept_mismatch: a difference in these is a sentence,
    except in sizes. Raises UsageError with the remedy.
    """
    recorded = arrays.task
    if recorded is None:
        return _check_other(arrays, task, accept_mismatch)
    if recorded.digest() == task.digest():
        return []
    if recorded.name != task.name:
        raise UsageError(f"{arrays.path} holds data for task {recorded.name}, but {task.name} was asked for.")
    own, other = task.identity(), recorded.identity()
    key = next(k for k in TaskConfig.model_fields if own.get(k) != other.get(k))
    raise UsageError(
        f"{arrays.path} holds data for another definition of {task.name}: {key} is {getattr(recorded, key)!r} there "
        f"and {getattr(task, key)!r} here, so generate the data again."
    )


def _check_other(arrays: EpisodeArrays, task: TaskConfig, accept_mismatch: bool) -> list[str]:
    notes = check_environment(arrays.path, arrays.env, task, accept_mismatch)
    _check_sizes(arrays, task)
    return notes


def check_environment(path: str, env: dict[str, Any], task: TaskConfig, accept_mismatch: bool) -> list[str]:
    """Compare a file's description of its environment with the task's; what is accepted or unknown, in sentences.

    Raises UsageError where they differ, unless that is accepted.
    """
    different = list(_differences(env, task))
    if different and not accept_mismatch:
        raise UsageError(f"{path} is not of task {task.name}: {different[0]}; {MISMATCH}.")
    unknown = list(_unchecked(env)) if task.has_environment and not is_own(task) else []
    notes = [f"{path} does not name its task: {task.name} is taken from the command line"]
    notes += [f"{sentence}, and is accepted" for sentence in different]
    if unknown:
        notes.append(f"it does not say {' nor '.join(unknown)}, which could not be compared with the task")
    return notes


def _check_sizes(arrays: EpisodeArrays, task: TaskConfig) -> None:
    """UsageError where the policy would read or act in other sizes than the task's simulator has."""
    expected = action_size(task)
    if expected is not None and arrays.action_dim != expected:
        arms = len(scene_entry(task).robots)
        raise UsageError(
            f"{arrays.path} has actions of {arrays.action_dim} numbers, and {task.name} takes {expected} (position, "
            f"rotation, gripper{'' if arms == 1 else f' of each of {arms} arms'})."
        )
    sizes = observation_sizes(task)
    for key, size in arrays.spec.items() if sizes else ():
        others = [k for k, s in arrays.spec.items() if sizes.get(k) == s]
        remedy = f"leave it out with --set policy.observation.low_dim=[{','.join(others)}]"
        if key not in sizes:
            raise UsageError(
                f"{arrays.path}: the policy reads '{key}', which the simulator of {task.name} does not provide (it has "
                f"{', '.join(sizes)}): {remedy}."
            )
        if sizes[key] != size:
            raise UsageError(
                f"{arrays.path}: '{key}' has {size} numbers, and in the simulator of {task.name} {sizes[key]}: "
                f"{remedy}."
            )


def _differences(env: dict[str, Any], task: TaskConfig) -> Iterator[str]:
    """A sentence per statement of the file about its environment that does not hold for the task."""
    settings = _settings(env)
    rate = settings.get("control_freq")
    scene = task.has_environment and not is_own(task)
    if task.has_environment and (name := env.get("env_name")) is not None:
        expected = scene_entry(task).robosuite_name if scene else task.env
        if name != expected:
            yield f"it was recorded in the environment {name}, and the task's is {expected}"
    robots = settings.get("robots")
    robots = robots if isinstance(robots, list) or robots is None else [robots]
    expected = scene_entry(task).robots if scene else tuple(task.robots)
    if expected and robots is not None and tuple(robots) != expected:
        kind = "robot is" if len(expected) == 1 else "robots are"
        yield f"its {kind} {' and '.join(map(str, robots))}, and the task's {' and '.join(expected)}"
    if rate is not None and rate != task.control_hz:
        yield f"it was recorded at {rate} Hz, and the task runs at {task.control_hz}"
    if not scene:
        return
    if is_in_world(env) and len(robots or ()) > 1 and not arm_yaws(env):
        yield "its actions are in the world's axes, and the task's in those of each arm's base"
    yield from _controller_differences(arm_controller(settings), task)


def _controller_differences(there: dict[str, Any], task: TaskConfig) -> Iterator[str]:
    here = controller_settings(task)
    kind = here["type"]
    if there.get("type") not in (None, kind):
        yield f"its controller is {there['type']}, and the task's is {kind}"
        return
    if is_absolute(there):
        yield "its actions are absolute poses, and the task's controller takes deltas"
    step, expected = there.get("output_max"), here.get("output_max", STEPS[kind])
    if step is not None and expected is not None and not _equal(step, expected):
        yield f"its controller's steps reach {step} (output_max), and the task's {expected}"


def _equal(one: Any, other: Any) -> bool:
    """Whether two limits, each one number or one a dimension, are the same."""
    try:
        one, other = np.broadcast_arrays(np.asarray(one, np.float64), np.asarray(other, np.float64))
    except (TypeError, ValueError):
        return False
    return bool(np.allclose(one, other))


def arm_controller(settings: dict[str, Any]) -> dict[str, Any]:
    """The arm's controller of robosuite's settings: the old form, or the right arm of a composite one (1.5)."""
    config = settings.get("controller_configs")
    config = config[0] if isinstance(config, list) and config else config
    if not isinstance(config, dict):
        return {}
    parts = config.get("body_parts", {})
    arm = parts.get("right", parts.get("arms", {}).get("right")) if isinstance(parts, dict) else None
    return arm if isinstance(arm, dict) else ({} if parts else config)


def is_absolute(controller: dict[str, Any]) -> bool:
    """Whether a controller takes absolute poses and no deltas, in the old form or in that of robosuite 1.5."""
    return controller.get("control_delta") is False or controller.get("input_type") == "absolute"


def _settings(env: dict[str, Any]) -> dict[str, Any]:
    settings = env.get("env_kwargs")
    return settings if isinstance(settings, dict) else {}


def _unchecked(env: dict[str, Any]) -> Iterator[str]:
    settings = _settings(env)
    if "env_name" not in env:
        yield "its environment"
    if "robots" not in settings:
        yield "its robot"
    if "control_freq" not in settings:
        yield "its control rate"
    if not arm_controller(settings):
        yield "its controller"


def check_pictures(arrays: EpisodeArrays, expected: ObservationConfig) -> list[str]:
    """Refuse pictures of another resolution than the policy's; say where their renderer is unknown or another."""
    for camera, pictures in arrays.images.items():
        height, width = pictures.shape[1:3]
        if (height, width) != (expected.image_size, expected.image_size):
            raise UsageError(
                f"{arrays.path} has pictures of {width} x {height} pixels of the camera '{camera}', and the policy "
                f"takes {expected.image_size} x {expected.image_size}: set observation.image_size or render them again."
            )
    if arrays.images and arrays.render is None:
        return [
            "its pictures do not say which renderer made them: evaluation draws them with this machine's, in "
            "robosuite's full look"
        ]
    if arrays.images:
        there = arrays.render.get("versions", {}).get("mujoco")
        here = package_version("mujoco")
        if here is not None and there != here:
            return [f"its pictures were drawn with mujoco {there}, and here mujoco {here} would draw others"]
    return []
