"""Everything that a reset decides, as a few small arrays: a start state that any process can put back bit-equal.

robosuite cannot be seeded completely, and its `reset()` followed by setting a state leaves the controller with another
reset's goal and null-space posture (5e-3 rad off after one step). An entry therefore holds, besides the engine's
integration state, what the controllers remember, the grippers' accumulated action, robosuite's counters and the rows
of the model that belong to the objects (Lift draws the cube's size at every reset). What it does not hold must be equal
in the scene that it is put into: a fingerprint of the rest of the model says so, with the field that differs.
"""

from __future__ import annotations

import weakref
from typing import Any

import mujoco
import numpy as np

from robo_orl.errors import RunError

_STATE = mujoco.mjtState
# the integration state without applied forces, which robosuite never uses: six numbers per body, all zero
STATE = int(_STATE.mjSTATE_INTEGRATION & ~(_STATE.mjSTATE_QFRC_APPLIED | _STATE.mjSTATE_XFRC_APPLIED))

BODY_FIELDS = ("pos", "quat", "ipos", "iquat", "mass", "inertia", "subtreemass", "invweight0")
GEOM_FIELDS = ("pos", "quat", "size", "rbound", "aabb", "friction")
DOF_FIELDS = ("M0", "invweight0", "length")
STATISTICS = ("meaninertia", "meanmass", "meansize", "extent", "center")
OTHER_FIELDS = (
    *("qpos0", "qpos_spring", "jnt_pos", "jnt_axis", "jnt_range", "jnt_stiffness"),
    *("dof_armature", "dof_damping", "dof_frictionloss", "dof_solref", "dof_solimp"),
    *("geom_solref", "geom_solimp", "geom_margin", "geom_contype", "geom_conaffinity", "site_pos"),
    *("site_quat", "actuator_gainprm", "actuator_biasprm", "actuator_ctrlrange", "actuator_forcerange"),
    *("actuator_gear", "eq_data", "eq_solref", "eq_solimp", "exclude_signature", "mesh_vert"),
)
OPTIONS = ("timestep", "gravity", "impratio", "tolerance", "integrator", "cone", "solver", "iterations", "disableflags")


def capture(env: Any) -> dict[str, np.ndarray]:
    """The present state of a robosuite environment: flat float64 arrays, of equal sizes for all states of a task.

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
        "model": _flat([array[rows] for array, rows in _object_rows(env)] + [_statistics(model)]),
        "rest": _fingerprint(env),
        "control": _flat([value for _, _, value in _memories(env)]),
        "gripper": _flat([np.broadcast_to(g.current_action, c.control_dim) for g, c in _grippers(env)]),
        "counters": np.array([env.timestep, env.cur_time, env.done, *_timer(env)], dtype=np.float64),
    }
    if env.timestep > 0:
        entry["observed"] = _flat([env._obs_cache[name] for name in _cached_names(env)])
    return entry


def restore(env: Any, entry: dict[str, np.ndarray]) -> None:
    """Put `env` into the captured state; it then steps bit-equal to the environment that was captured.

    env: an environment of the same task, in any process, that has been reset at least once.
    Raises RunError where the entry belongs to another scene; the environment is then untouched.
    """
    model, data = env.sim.model._model, env.sim.data._data
    _check(env, entry)
    _restore_model(env, entry["model"])
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


def _flat(parts: list[Any]) -> np.ndarray:
    return np.concatenate([np.asarray(part, dtype=np.float64).ravel() for part in parts]) if parts else np.empty(0)


def _unflatten(flat: np.ndarray, shapes: list[tuple[int, ...]]) -> list[np.ndarray]:
    ends = np.cumsum([int(np.prod(shape)) for shape in shapes])
    return [part.reshape(shape).copy() for part, shape in zip(np.split(flat, ends[:-1]), shapes, strict=True)]


# ---------------------------------------------------------------------------------------------------------------- model

_known_models: weakref.WeakKeyDictionary[Any, tuple[list, np.ndarray]] = weakref.WeakKeyDictionary()


def _scene(env: Any) -> tuple[list[tuple[np.ndarray, Any]], np.ndarray]:
    """(views of the model with the objects' rows, fingerprint of the rest), computed once per model."""
    wrapper = env.sim.model
    if wrapper not in _known_models:
        rows = _find_object_rows(env)
        _known_models[wrapper] = rows, _compute_fingerprint(wrapper._model, rows)
    return _known_models[wrapper]


def _object_rows(env: Any) -> list[tuple[np.ndarray, Any]]:
    return _scene(env)[0]


def _fingerprint(env: Any) -> np.ndarray:
    return _scene(env)[1]


def _find_object_rows(env: Any) -> list[tuple[np.ndarray, Any]]:
    """[(array of the model, rows that belong to the task's objects)]."""
    model = env.sim.model._model
    roots = [env.sim.model.body_name2id(thing.root_body) for thing in env.model.mujoco_objects]
    bodies = [b for b in range(model.nbody) if any(_is_below(model, b, root) for root in roots)]
    geoms = np.flatnonzero(np.isin(model.geom_bodyid, bodies))
    dofs = np.flatnonzero(np.isin(model.dof_bodyid, bodies))
    boxes = [i for b in bodies for i in range(model.body_bvhadr[b], model.body_bvhadr[b] + model.body_bvhnum[b])]
    rows = [(getattr(model, f"body_{field}"), bodies) for field in BODY_FIELDS]
    rows += [(getattr(model, f"geom_{field}"), geoms) for field in GEOM_FIELDS]
    rows += [(getattr(model, f"dof_{field}"), dofs) for field in DOF_FIELDS]
    rows += [(getattr(model, f"bvh_{field}"), boxes) for field in ("aabb", "child", "nodeid")]
    return [*rows, (model.body_subtreemass, [0])]


def _is_below(model: Any, body: int, root: int) -> bool:
    while body > 0:
        if body == root:
            return True
        body = model.body_parentid[body]
    return False


def _statistics(model: Any) -> np.ndarray:
    return _flat([getattr(model.stat, name) for name in STATISTICS])


def _compute_fingerprint(model: Any, rows: list[tuple[np.ndarray, Any]]) -> np.ndarray:
    """One weighted sum per field, over the rows that an entry does not hold; equal scenes agree to rounding."""
    names = [f"{kind}_{f}" for kind, fields in _held().items() for f in fields]
    rest = []
    for name, (array, own) in zip(names, rows, strict=False):
        other = np.array(array, dtype=np.float64)
        other[own] = 0
        if name == "body_subtreemass":
            other[0] = 0
        rest.append(other)
    rest += [getattr(model, name) for name in OTHER_FIELDS]
    rest += [np.atleast_1d(getattr(model.opt, name)) for name in OPTIONS]
    sizes = [model.nq, model.nv, model.nu, model.nbody, model.ngeom, model.nsite]
    return np.array([*sizes, *(_weighted_sum(values) for values in rest)], dtype=np.float64)


def _held() -> dict[str, tuple[str, ...]]:
    return {"body": BODY_FIELDS, "geom": GEOM_FIELDS, "dof": DOF_FIELDS}


def _weighted_sum(values: np.ndarray) -> float:
    flat = np.asarray(values, dtype=np.float64).ravel()
    return float(flat @ (1.0 + np.arange(flat.size) % 97 / 97))


def _fingerprint_names() -> list[str]:
    held = [f"{kind}_{field}" for kind, fields in _held().items() for field in fields]
    return ["nq", "nv", "nu", "nbody", "ngeom", "nsite", *held, *OTHER_FIELDS, *OPTIONS]


def _check(env: Any, entry: dict[str, np.ndarray]) -> None:
    here, there = _fingerprint(env), entry["rest"]
    if here.shape != there.shape:
        raise RunError("The start state was made by another version of this software: make it again.")
    differing = ~np.isclose(here, there, rtol=1e-9, atol=1e-12)
    if differing.any():
        name = _fingerprint_names()[int(np.flatnonzero(differing)[0])]
        raise RunError(f"The start state belongs to another scene than this environment: their '{name}' differ.")
    if entry["model"].size != sum(int(np.prod(shape)) for shape in _model_shapes(env)):
        raise RunError("The start state belongs to another scene than this environment: their objects differ.")


def _model_shapes(env: Any) -> list[tuple[int, ...]]:
    return [array[own].shape for array, own in _object_rows(env)] + [(_statistics(env.sim.model._model).size,)]


def _restore_model(env: Any, flat: np.ndarray) -> None:
    model, rows = env.sim.model._model, _object_rows(env)
    *values, statistics = _unflatten(flat, _model_shapes(env))
    for (array, own), value in zip(rows, values, strict=True):
        array[own] = value
    model.stat.meaninertia, model.stat.meanmass, model.stat.meansize, model.stat.extent = statistics[:4]
    model.stat.center[:] = statistics[4:]


# ---------------------------------------------------------------------------------------------------------- controllers

MEMORY = ("ref_pos", "ref_ori_mat", "ref_pos_vel", "ref_ori_vel", "J_pos", "J_ori", "mass_matrix", "joint_pos")
MEMORY += ("joint_vel", "initial_joint", "goal_pos", "goal_ori")


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
    return [(c, name, getattr(c, name)) for c in _arm_controllers(env) for name in (*MEMORY, "new_update")]


def _restore_controllers(env: Any, flat: np.ndarray) -> None:
    memories = _memories(env)
    values = _unflatten(flat, [np.shape(value) for _, _, value in memories])
    for (controller, name, _), value in zip(memories, values, strict=True):
        if name == "new_update":
            controller.new_update = bool(value)
        elif name == "mass_matrix":  # column-ordered as robosuite leaves it: LAPACK's rounding depends on it
            controller.mass_matrix = np.asfortranarray(value)
        elif name in ("joint_pos", "joint_vel", "initial_joint", "goal_pos", "goal_ori"):
            setattr(controller, name, value)
        else:
            getattr(controller, name)[:] = value
    for controller in _arm_controllers(env):
        controller.J_full[:] = np.vstack((controller.J_pos, controller.J_ori))
    for robot in env.robots:
        robot.composite_controller.update_state()


def _restore_grippers(env: Any, flat: np.ndarray) -> None:
    pairs = _grippers(env)
    values = _unflatten(flat, [(controller.control_dim,) for _, controller in pairs])
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
        values = _unflatten(entry["observed"], [np.shape(env._obs_cache[name]) for name in names])
        env._obs_cache.update(zip(names, values, strict=True))
        for name in names:
            if name in env._observables and env._observables[name].is_enabled():
                env._observables[name]._current_observed_value = env._obs_cache[name]
