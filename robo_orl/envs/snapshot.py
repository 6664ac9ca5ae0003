"""Everything that a reset decides, as a few small arrays: a start state that any process can put back bit-equal.

robosuite cannot be seeded completely, and its `reset()` followed by setting a state leaves the controller with another
reset's goal and null-space posture (5e-3 rad off after one step). An entry therefore holds, besides the engine's
integration state, what the controllers remember, the grippers' accumulated action, robosuite's counters and the rows
of the model that belong to the objects (Lift draws the cube's size at every reset). What it does not hold must be equal
in the scene that it is put into: a fingerprint of the rest of the model is compared, and an error names the field.
"""

from __future__ import annotations

from operator import attrgetter
from typing import Any

import numpy as np

from robo_orl.base.errors import RunError
from robo_orl.envs import scene_model
from robo_orl.envs.rendering.opengl import import_mujoco
from robo_orl.envs.scene_model import flatten, unflatten

mujoco = import_mujoco()
_STATE = mujoco.mjtState
# the integration state without applied forces, which robosuite never uses: six numbers per body, all zero
STATE = int(_STATE.mjSTATE_INTEGRATION & ~(_STATE.mjSTATE_QFRC_APPLIED | _STATE.mjSTATE_XFRC_APPLIED))


def capture(env: Any, same_scene: bool = False) -> dict[str, np.ndarray]:
    """The present state of a robosuite environment: flat float64 arrays, of equal sizes for all states of a task.

    same_scene: for this environment alone, whose model is not changed meanwhile: the fingerprint is not taken anew.

    state: the engine's integration state. model: the objects' rows of the model. rest: the fingerprint of the others.
    control: per arm, what its controller remembers. gripper: per gripper, its accumulated action.
    counters: robosuite's timestep, time and done, and the sampling timer of the observables.
    observed, only after the first step: the observations, which are one physics substep old and cannot be computed.
    """
    model, data = env.sim.model._model, env.sim.data._data
    if data.qfrc_applied.any() or data.xfrc_applied.any():
        raise RunError("A state with external forces cannot be captured: clear qfrc_applied and xfrc_applied first.")
    state = np.empty(mujoco.mj_stateSize(model, STATE))
    mujoco.mj_getState(model, data, state, STATE)
    entry = {
        "state": state,
        "model": scene_model.objects(env),
        "rest": scene_model.known_rest(env) if same_scene else scene_model.rest(env),
        "control": flatten([value for _, _, value in _memories(env)]),
        "gripper": flatten([np.broadcast_to(g.current_action, c.control_dim) for g, c in _grippers(env)]),
        "counters": np.array([env.timestep, env.cur_time, env.done, *_timer(env)], dtype=np.float64),
    }
    if env.timestep > 0:
        entry["observed"] = flatten([env._obs_cache[name] for name in _cached_names(env)])
    return entry


def restore(env: Any, entry: dict[str, np.ndarray]) -> None:
    """Put `env` into the captured state; it then steps bit-equal to the environment that was captured.

    env: an environment of the same task, in any process, that has been reset at least once.
    Raises RunError where the entry belongs to another scene; the environment is then untouched.
    """
    model, data = env.sim.model._model, env.sim.data._data
    scene_model.check(env, entry["model"], entry["rest"])
    scene_model.restore(env, entry["model"])
    data.qfrc_applied[:] = 0
    data.xfrc_applied[:] = 0
    data.warning.number[:] = 0
    mujoco.mj_setState(model, data, entry["state"], STATE)
    mujoco.mj_forward(model, data)
    mujoco.mj_setState(model, data, entry["state"], STATE)  # mj_forward may move the solver's warm start
    _restore_controllers(env, entry["control"])
    _restore_grippers(env, entry["gripper"])
    timestep, env.cur_time, done, *timer = entry["counters"].tolist()
    env.timestep, env.done = int(timestep), bool(done)
    _restore_observables(env, entry, timer)


def size_of(entry: dict[str, np.ndarray]) -> int:
    """Bytes of an entry."""
    return sum(value.nbytes for value in entry.values())


# ---------------------------------------------------------------------------------------------------------- controllers

MEMORY = ("ref_pos", "ref_ori_mat", "ref_pos_vel", "ref_ori_vel", "J_pos", "J_ori", "mass_matrix", "joint_pos")
MEMORY += ("joint_vel", "initial_joint")
IN_PLACE = MEMORY[:6]  # arrays that others are views of
PID = ("last_err", "summed_err", "saturated", "derr_buf.buf", "derr_buf.ptr", "derr_buf._size")
OF_KIND = {  # name of a controller -> what it remembers beside MEMORY
    "OSC_POSE": ("goal_pos", "goal_ori"),
    "OSC_POSITION": ("goal_pos", "goal_ori"),
    "JOINT_POSITION": ("goal_qpos",),
    "IK_POSE": ("goal_qpos", "reference_target_orn"),  # its target position is a view of ref_pos
    "JOINT_VELOCITY": ("goal_vel", "current_vel", *PID),
    "JOINT_TORQUE": ("goal_torque", "current_torque"),
}


def _arm_controllers(env: Any) -> list[Any]:
    return [robot.part_controllers[arm] for robot in env.robots for arm in robot.arms]


def _grippers(env: Any) -> list[tuple[Any, Any]]:
    """[(gripper model, its controller)]."""
    return [
        (robot.gripper[arm], robot.part_controllers[robot.get_gripper_name(arm)])
        for robot in env.robots
        for arm in robot.arms
        if robot.has_gripper[arm]
    ]


def _memories(env: Any) -> list[tuple[Any, str, Any]]:
    """[(controller, attribute, value)] of all arms."""
    return [
        (controller, name, _memory(controller, name))
        for controller in _arm_controllers(env)
        for name in (*MEMORY, *OF_KIND[controller.name], "new_update")
    ]


def _memory(controller: Any, name: str) -> Any:
    """What a controller remembers; a goal in joints that is not set yet is NaN, of the size that it will have."""
    value = attrgetter(name)(controller)
    return np.full(controller.joint_dim, np.nan) if value is None and name == "goal_qpos" else value


def _restore_controllers(env: Any, flat: np.ndarray) -> None:
    memories = _memories(env)
    values = unflatten(flat, [np.shape(value) for _, _, value in memories])
    for (controller, name, _), value in zip(memories, values, strict=True):
        *inner, last = name.split(".")
        owner = attrgetter(*inner)(controller) if inner else controller
        if name in ("new_update", "saturated"):
            setattr(controller, name, bool(value))
        elif name in ("derr_buf.ptr", "derr_buf._size"):
            setattr(owner, last, int(value))
        elif name == "mass_matrix":  # column-ordered as robosuite leaves it: LAPACK's rounding depends on it
            controller.mass_matrix = np.asfortranarray(value)
        elif name == "goal_qpos" and np.isnan(value).all():
            controller.goal_qpos = None
        elif name in IN_PLACE:
            getattr(controller, name)[:] = value
        else:
            setattr(owner, last, value)
    for controller in _arm_controllers(env):
        controller.J_full[:] = np.vstack((controller.J_pos, controller.J_ori))
    for robot in env.robots:
        robot.composite_controller.update_state()


def _restore_grippers(env: Any, flat: np.ndarray) -> None:
    pairs = _grippers(env)
    values = unflatten(flat, [(controller.control_dim,) for _, controller in pairs])
    for (gripper, controller), action in zip(pairs, values, strict=True):
        gripper.current_action = action
        controller.new_update = True


# ---------------------------------------------------------------------------------------------------------- observables


def _timer(env: Any) -> tuple[float, float]:
    """(seconds since the last sample, whether sampled in this period), which all observables share."""
    timers = {(o._time_since_last_sample, o._sampled) for o in env._observables.values() if o.is_enabled()}
    if len(timers) > 1:
        raise RunError("Observables with different sampling timers cannot be captured.")
    return timers.pop() if timers else (0.0, False)


def _cached_names(env: Any) -> list[str]:
    return sorted(env._obs_cache)


def _restore_observables(env: Any, entry: dict[str, np.ndarray], timer: list[float]) -> None:
    env._obs_cache = {}
    for observable in env._observables.values():
        observable.reset()
    env._update_observables(force=True)
    for observable in env._observables.values():
        if observable.is_enabled():
            observable._time_since_last_sample, observable._sampled = timer[0], bool(timer[1])
    if "observed" in entry:
        names = _cached_names(env)
        values = unflatten(entry["observed"], [np.shape(env._obs_cache[name]) for name in names])
        env._obs_cache.update(zip(names, values, strict=True))
        for name in names:
            if name in env._observables and env._observables[name].is_enabled():
                env._observables[name]._current_observed_value = env._obs_cache[name]
