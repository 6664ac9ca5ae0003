"""The part of a model that resets change: the rows of MuJoCo's model that belong to the task's objects.

Lift draws the size of its cube at every reset, Door the place of its door, transport the hammer's handle. These rows
can be taken out and put into another model of the same scene; a fingerprint of all other physical fields shows
whether it is the same scene.
"""

from __future__ import annotations

import weakref
from math import prod
from typing import Any

import numpy as np

from robo_orl.base.errors import RunError

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

Rows = list[tuple[np.ndarray, np.ndarray]]  # (an array of the model, the rows that belong to the task's objects)
_known_rows: weakref.WeakKeyDictionary[Any, Rows] = weakref.WeakKeyDictionary()
_known_fingerprints: weakref.WeakKeyDictionary[Any, np.ndarray] = weakref.WeakKeyDictionary()


def flatten(parts: list[Any]) -> np.ndarray:
    """All numbers of the parts, in one float64 vector."""
    return np.concatenate([np.asarray(part, dtype=np.float64).ravel() for part in parts]) if parts else np.empty(0)


def unflatten(flat: np.ndarray, shapes: list[tuple[int, ...]]) -> list[np.ndarray]:
    """The parts of `flat`, as arrays of the given shapes."""
    parts, start = [], 0
    for shape in shapes:
        stop = start + prod(shape)
        parts.append(flat[start:stop].reshape(shape).copy())
        start = stop
    if start != flat.size:
        raise ValueError(f"{flat.size} numbers for parts of {start}")
    return parts


def _object_rows(env: Any) -> Rows:
    """Computed once per model."""
    if env.sim.model not in _known_rows:
        _known_rows[env.sim.model] = _find_object_rows(env)
    return _known_rows[env.sim.model]


def _fingerprint(env: Any) -> np.ndarray:
    """Computed once per model."""
    if env.sim.model not in _known_fingerprints:
        _known_fingerprints[env.sim.model] = _compute_fingerprint(env.sim.model._model, _object_rows(env))
    return _known_fingerprints[env.sim.model]


def _find_object_rows(env: Any) -> Rows:
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
    rows.append((model.body_subtreemass, [0]))
    return [(array, np.asarray(own, dtype=np.int64)) for array, own in rows]


def _is_below(model: Any, body: int, root: int) -> bool:
    while body > 0:
        if body == root:
            return True
        body = model.body_parentid[body]
    return False


def _statistics(model: Any) -> np.ndarray:
    return flatten([getattr(model.stat, name) for name in STATISTICS])


def _compute_fingerprint(model: Any, rows: Rows) -> np.ndarray:
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


def objects(env: Any) -> np.ndarray:
    """The objects' rows of the model and its statistics, flat."""
    rows = [array[own] for array, own in _object_rows(env)]
    return flatten([*rows, _statistics(env.sim.model._model)])


def rest(env: Any) -> np.ndarray:
    """The fingerprint of everything else, computed now: an environment may have changed its model."""
    return _compute_fingerprint(env.sim.model._model, _object_rows(env))


def known_rest(env: Any) -> np.ndarray:
    """The fingerprint of everything else as it was first computed for this model."""
    return _fingerprint(env)


def check(env: Any, objects: np.ndarray, rest: np.ndarray) -> None:
    """Raise RunError, with the field that differs, where the numbers belong to another scene than this one."""
    here, there = _fingerprint(env), rest
    if here.shape != there.shape:
        raise RunError("The start state was made by another version of this software: draw a new one.")
    differing = here != there
    if differing.any() and (differing := ~np.isclose(here, there, rtol=1e-9, atol=1e-12)).any():
        name = _fingerprint_names()[int(np.flatnonzero(differing)[0])]
        raise RunError(f"The start state belongs to another scene than this environment: their '{name}' differ.")
    if objects.size != sum(map(prod, _model_shapes(env))):
        raise RunError("The start state belongs to another scene than this environment: their objects differ.")


def _model_shapes(env: Any) -> list[tuple[int, ...]]:
    shapes = [(len(own), *array.shape[1:]) for array, own in _object_rows(env)]
    return [*shapes, (_statistics(env.sim.model._model).size,)]


def restore(env: Any, flat: np.ndarray) -> None:
    """Write the rows and statistics that `objects` returned into the model of `env`."""
    model, rows = env.sim.model._model, _object_rows(env)
    *values, statistics = unflatten(flat, _model_shapes(env))
    for (array, own), value in zip(rows, values, strict=True):
        array[own] = value
    model.stat.meaninertia, model.stat.meanmass, model.stat.meansize, model.stat.extent = statistics[:4]
    model.stat.center[:] = statistics[4:]
