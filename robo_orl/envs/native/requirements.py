"""The assumptions of the native substep loop about a robosuite environment, each with the sentence to log."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import numpy as np

from robo_orl.base.machine import package_version
from robo_orl.envs.snapshot import capture, restore


def unmet_requirement(env: Any) -> str | None:
    """The first assumption that does not hold, as a clause, or None where the native loop may step `env`."""
    clauses = (_versions(), *_environment(env), *_robots(env), *_observables(env))
    return next((clause for clause in clauses if clause), None)


@cache
def _versions() -> str | None:
    from robo_orl.envs.native.physics_loop import PROVEN

    for package, proven in PROVEN.items():
        installed = package_version(package)
        if installed not in proven:
            return f"{package} {installed} is installed, equality is proven for {', '.join(proven)}"
    return None


def _environment(env: Any) -> Iterator[str | None]:
    import mujoco
    import robosuite.macros
    from robosuite.environments.base import MujocoEnv
    from robosuite.environments.robot_env import RobotEnv

    own = {"step": MujocoEnv, "_pre_action": RobotEnv, "_update_observables": MujocoEnv}
    for name, base in own.items():
        if getattr(type(env), name) is not getattr(base, name):
            yield f"{type(env).__name__} has its own {name}"
    model = env.sim.model._model
    yield None if env.lite_physics else "lite_physics is off"
    yield None if env.viewer is None and not env.has_renderer else "an on-screen viewer is open"
    yield None if robosuite.macros.ENABLE_NUMBA else "robosuite's ENABLE_NUMBA is off"
    yield None if model.opt.integrator != mujoco.mjtIntegrator.mjINT_RK4 else "the integrator is Runge-Kutta"
    yield "Wipe reads the robots' recent_* buffers" if type(env).__name__ == "Wipe" else None
    yield None if mujoco.get_mjcb_control() is None else "a control callback is installed"


def _robots(env: Any) -> Iterator[str | None]:
    from robosuite.controllers.composite.composite_controller import CompositeController
    from robosuite.robots.fixed_base_robot import FixedBaseRobot

    joints = set()
    for robot in env.robots:
        yield None if type(robot) is FixedBaseRobot else f"{robot.name} is no fixed-base robot"
        composite = robot.composite_controller
        yield None if type(composite) is CompositeController else f"the controller {composite.name} is not BASIC"
        yield None if robot._enabled_parts.keys() >= {*composite.part_controllers} else "unknown robot parts"
        known = {*robot.arms, *(robot.get_gripper_name(arm) for arm in robot.arms if robot.has_gripper[arm])}
        yield None if {*composite.part_controllers} == known else f"{robot.name} has parts besides arms and grippers"
        for arm in robot.arms:
            yield from _arm(robot.part_controllers[arm])
            joints.add(robot.part_controllers[arm].joint_dim)
            if robot.has_gripper[arm]:
                yield from _gripper(robot.part_controllers[robot.get_gripper_name(arm)])
    yield None if len(joints) == 1 else "the arms have different numbers of joints"


def _arm(controller: Any) -> Iterator[str | None]:
    from robosuite.controllers.parts.arm.osc import OperationalSpaceController

    if type(controller) is not OperationalSpaceController or controller.name != "OSC_POSE":
        yield f"the arm's controller is {controller.name}, not OSC_POSE"
        return
    yield None if controller.impedance_mode == "fixed" else "the controller's impedance is variable"
    yield None if controller.interpolator_pos is None else "the controller interpolates positions"
    yield None if controller.interpolator_ori is None else "the controller interpolates orientations"
    yield None if controller.input_ref_frame == "base" else "the controller's frame is not the base"
    yield None if controller.input_type == "delta" else "the controller takes absolute poses"
    yield None if controller._goal_update_mode == "achieved" else "the controller's goals follow the desired pose"
    yield None if controller.position_limits is None else "the controller limits positions"
    yield None if controller.orientation_limits is None else "the controller limits orientations"
    yield None if controller.uncoupling else "the controller couples position and orientation"
    yield None if controller.num_ref_sites == 1 else "the controller has more than one reference site"
    yield None if controller.lite_physics else "the controller's lite_physics is off"


def _gripper(controller: Any) -> Iterator[str | None]:
    from robosuite.controllers.parts.gripper.simple_grip import SimpleGripController

    yield None if type(controller) is SimpleGripController else f"the gripper's controller is {controller.name}"
    yield None if getattr(controller, "interpolator", None) is None else "the gripper's controller interpolates"


def _observables(env: Any) -> Iterator[str | None]:
    from robosuite.utils.observables import NO_DELAY, Observable

    for name, observable in env._observables.items():
        yield None if type(observable).update is Observable.update else f"the observable {name} has its own update"
        yield None if observable._delayer is NO_DELAY else f"the observable {name} is delayed"


STEPS = 3  # control steps, from the first, stale one on
TOLERANCE = {"exact": 0.0, "fast": 1e-6}  # largest difference of positions, velocities and controls


def largest_difference(env: Any, native_step: Callable[[np.ndarray], None]) -> float:
    """The largest difference of qpos, qvel and ctrl over a few control steps both ways; `env` is left as it was."""
    entry = capture(env)
    buffers = [{k: copy.deepcopy(v) for k, v in vars(r).items() if k.startswith("recent_")} for r in env.robots]
    actions = np.random.default_rng(0).uniform(-1, 1, (STEPS, env.action_dim))
    runs = [_trajectory(env, entry, actions, step) for step in (lambda action: _stock_step(env, action), native_step)]
    restore(env, entry)
    for robot, saved in zip(env.robots, buffers, strict=True):
        vars(robot).update(saved)
    worst = float(np.abs(runs[0] - runs[1]).max())
    return worst if np.isfinite(worst) else np.inf


def _trajectory(env: Any, entry: dict, actions: np.ndarray, step: Callable[[np.ndarray], None]) -> np.ndarray:
    restore(env, entry)
    data, visited = env.sim.data, []
    for action in actions:
        step(action)
        visited.append(np.concatenate((data.qpos, data.qvel, data.ctrl)))
    return np.array(visited)


def _stock_step(env: Any, action: np.ndarray) -> None:
    """The physics of robosuite's env.step, without observations and reward."""
    for substep in range(int(env.control_timestep / env.model_timestep)):
        env.sim.step1()
        env._pre_action(action, substep == 0)
        env.sim.step2()
