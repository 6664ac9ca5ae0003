"""The physics substeps between two decisions, native: MuJoCo's functions and robosuite's compiled controller maths.

Stock robosuite runs its operational-space controller (Khatib 1987) in Python at every physics substep, which costs four
to eight times the physics itself. `advance` is the same sequence of operations, in the same order and memory layout, so
that its results are bit-equal; with `exact=False` it replaces LAPACK's inverses by Cholesky factorisations, which are
faster and equal up to rounding.

Shape letters: R arms, n joints of an arm, V degrees of freedom of the scene, U actuators, G gripper actuators.

The compiled code is cached on disk (beside this file, or in the user's cache folder where that is read-only), keyed by
this file and numba's version. robosuite's functions are compiled into it: PROVEN therefore stands in this file, so that
moving to another robosuite always compiles anew.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import llvmlite.binding
import mujoco
import numpy as np
from numba import njit, types
from robosuite.utils.control_utils import nullspace_torques, opspace_matrices, orientation_error

PROVEN = {"robosuite": ("1.5.2",), "mujoco": ("3.9.0",)}  # versions for which tests show a difference of zero


def _load_libmujoco() -> None:
    """Make the engine's symbols visible to compiled code, also to code that comes from the cache."""
    folder = Path(mujoco.__file__).parent
    library = next(p for pattern in ("libmujoco.so*", "libmujoco*.dylib", "mujoco.dll") for p in folder.glob(pattern))
    llvmlite.binding.load_library_permanently(str(library))


_load_libmujoco()
_pointer = types.intp
mj_step1 = types.ExternalFunction("mj_step1", types.void(_pointer, _pointer))
mj_step2 = types.ExternalFunction("mj_step2", types.void(_pointer, _pointer))
mj_full_mass = types.ExternalFunction("mj_fullM", types.void(_pointer, _pointer, _pointer))
mj_jac_site = types.ExternalFunction("mj_jacSite", types.void(_pointer, _pointer, _pointer, _pointer, types.int32))


class EngineMemory(NamedTuple):
    """The engine's own memory: addresses of mjModel and mjData, and views of mjData."""

    model: int
    data: int
    qpos: np.ndarray
    qvel: np.ndarray  # (V,)
    mass: np.ndarray  # qM, MuJoCo's sparse mass matrix
    bias: np.ndarray  # (V,) gravity and Coriolis forces
    ctrl: np.ndarray  # (U,)
    site_pos: np.ndarray  # (sites, 3)
    site_mat: np.ndarray  # (sites, 9)
    jac_pos: np.ndarray  # (3, V) scratch
    jac_ori: np.ndarray  # (3, V) scratch
    full_mass: np.ndarray  # (V, V) scratch


class Arms(NamedTuple):
    """The indices of each arm, and the last readings of its controller (the controllers' own arrays are views)."""

    qpos_index: np.ndarray  # (R, n) int64
    qvel_index: np.ndarray  # (R, n) int64
    actuator: np.ndarray  # (R, n) int64
    site: np.ndarray  # (R, 2) int64: the controlled site, the centre of the base
    ref_pos: np.ndarray  # (R, 3)
    ref_mat: np.ndarray  # (R, 3, 3)
    ref_pos_vel: np.ndarray  # (R, 3)
    ref_ori_vel: np.ndarray  # (R, 3)
    jac_pos: np.ndarray  # (R, 3, n)
    jac_ori: np.ndarray  # (R, 3, n)
    jac: np.ndarray  # (R, 6, n)
    mass: np.ndarray  # (R, n, n), read transposed: stock's matrix is column-ordered, which LAPACK's rounding shows
    joint_pos: np.ndarray  # (R, n)
    joint_vel: np.ndarray  # (R, n)


class Command(NamedTuple):
    """The goals, gains and limits of one control step."""

    goal_pos: np.ndarray  # (R, 3) in the frame of the base
    goal_mat: np.ndarray  # (R, 3, 3) in the frame of the base
    kp: np.ndarray  # (R, 6)
    kd: np.ndarray  # (R, 6)
    rest: np.ndarray  # (R, n) joint positions that the null space is pulled to
    low: np.ndarray  # (R, n) torque limits
    high: np.ndarray  # (R, n)
    gripper: np.ndarray  # (G,) int64 actuators
    gripper_goal: np.ndarray  # (G,) in [-1, 1]; the control is gripper_centre + gripper_reach * goal
    gripper_centre: np.ndarray  # (G,)
    gripper_reach: np.ndarray  # (G,)
    gripper_low: np.ndarray  # (G,) control limits
    gripper_high: np.ndarray  # (G,)


def compiled(function: Callable) -> Callable:
    """numba's njit without the GIL, cached on disk wherever a folder is writable."""
    try:
        dispatcher = njit(function, nogil=True, cache=True)
    except RuntimeError:  # no writable folder at all: compile once per process
        return njit(function, nogil=True)
    try:
        dispatcher._cache._cache_file._load_index()
    except (
        Exception
    ):  # damaged, or of a version whose types have other names; numba itself would fail at the first call
        try:
            dispatcher._cache.flush()
        except OSError:
            return njit(function, nogil=True)
    return dispatcher


@compiled
def _update_arm(engine: EngineMemory, arms: Arms, r: int) -> None:
    """Controller.update of arm r: pose, velocity, Jacobian, joints and mass matrix after mj_step1."""
    site, n = arms.site[r, 0], arms.qvel_index.shape[1]
    mj_jac_site(engine.model, engine.data, engine.jac_pos.ctypes.data, engine.jac_ori.ctypes.data, np.int32(site))
    mj_full_mass(engine.model, engine.full_mass.ctypes.data, engine.mass.ctypes.data)
    arms.ref_pos[r] = engine.site_pos[site]
    arms.ref_mat[r] = engine.site_mat[site].reshape(3, 3)
    arms.ref_pos_vel[r] = np.dot(engine.jac_pos, engine.qvel)
    arms.ref_ori_vel[r] = np.dot(engine.jac_ori, engine.qvel)
    for j in range(n):
        dof = arms.qvel_index[r, j]
        arms.joint_pos[r, j] = engine.qpos[arms.qpos_index[r, j]]
        arms.joint_vel[r, j] = engine.qvel[dof]
        for i in range(3):
            arms.jac_pos[r, i, j] = arms.jac[r, i, j] = engine.jac_pos[i, dof]
            arms.jac_ori[r, i, j] = arms.jac[r, i + 3, j] = engine.jac_ori[i, dof]
        for i in range(n):
            arms.mass[r, j, i] = engine.full_mass[arms.qvel_index[r, i], dof]


@compiled
def _desired_wrench(engine: EngineMemory, arms: Arms, command: Command, r: int) -> tuple[np.ndarray, np.ndarray]:
    """The desired force (3,) and torque (3,): kp * error + kd * velocity error, relative to the base."""
    base = arms.site[r, 1]
    mj_jac_site(engine.model, engine.data, engine.jac_pos.ctypes.data, engine.jac_ori.ctypes.data, np.int32(base))
    base_pos_vel = np.dot(engine.jac_pos, engine.qvel)
    base_ori_vel = np.dot(engine.jac_ori, engine.qvel)
    base_mat = np.ascontiguousarray(engine.site_mat[base]).reshape(3, 3)
    goal_pos = engine.site_pos[base] + np.dot(base_mat, command.goal_pos[r])
    goal_mat = np.dot(base_mat, command.goal_mat[r])
    ori_error = orientation_error(goal_mat, arms.ref_mat[r])
    kp, kd = command.kp[r], command.kd[r]
    force = (goal_pos - arms.ref_pos[r]) * kp[0:3] + -(arms.ref_pos_vel[r] - base_pos_vel) * kd[0:3]
    torque = ori_error * kp[3:6] + -(arms.ref_ori_vel[r] - base_ori_vel) * kd[3:6]
    return force, torque


@compiled
def _exact_torques(arms: Arms, r: int, force: np.ndarray, torque: np.ndarray, bias: np.ndarray, rest: np.ndarray):
    """(n,) joint torques by robosuite's own functions, in stock's order of operations."""
    mass, jac = arms.mass[r].T, arms.jac[r]
    _, lambda_pos, lambda_ori, nullspace = opspace_matrices(mass, jac, arms.jac_pos[r], arms.jac_ori[r])
    wrench = np.concatenate((np.dot(lambda_pos, force), np.dot(lambda_ori, torque)))
    torques = np.dot(jac.T, wrench) + bias
    return torques + nullspace_torques(mass, nullspace, rest, arms.joint_pos[r], arms.joint_vel[r])


@compiled
def _cholesky(a: np.ndarray) -> bool:
    """Factor a (k, k) in place into its lower triangle; False where it is not positive definite (or not finite)."""
    for j in range(a.shape[0]):
        for i in range(j):
            a[j, j] -= a[j, i] * a[j, i]
        if not 1e-12 < a[j, j] < np.inf:
            return False
        a[j, j] = np.sqrt(a[j, j])
        for i in range(j + 1, a.shape[0]):
            for k in range(j):
                a[i, j] -= a[i, k] * a[j, k]
            a[i, j] /= a[j, j]
    return True


@compiled
def _solve(factor: np.ndarray, b: np.ndarray) -> None:
    """b (k,) becomes the solution of (factor factor^T) x = b."""
    n = b.shape[0]
    for i in range(n):
        for j in range(i):
            b[i] -= factor[i, j] * b[j]
        b[i] /= factor[i, i]
    for i in range(n - 1, -1, -1):
        for j in range(i + 1, n):
            b[i] -= factor[j, i] * b[j]
        b[i] /= factor[i, i]


@compiled
def _fast_torques(arms: Arms, r: int, force: np.ndarray, torque: np.ndarray, bias: np.ndarray, rest: np.ndarray):
    """(n,) the same torques by Cholesky; near a singular pose, where stock's pseudo-inverse decides, by stock's maths.

    With A = J M^-1 J^T and null-space acceleration a: N^T M a = M a - J^T A^-1 J a.
    """
    jac, n = arms.jac[r], arms.jac.shape[2]
    mass = arms.mass[r].copy()
    if not _cholesky(mass):
        return _exact_torques(arms, r, force, torque, bias, rest)
    inertia = np.empty((6, 6))
    column = np.empty(n)
    for i in range(6):
        column[:] = jac[i]
        _solve(mass, column)
        for j in range(6):
            total = 0.0
            for k in range(n):
                total += jac[j, k] * column[k]
            inertia[j, i] = total
    linear, angular = inertia[:3, :3].copy(), inertia[3:, 3:].copy()
    if not (_cholesky(inertia) and _cholesky(linear) and _cholesky(angular)):
        return _exact_torques(arms, r, force, torque, bias, rest)
    wrench = np.empty(6)
    _solve(linear, force)
    _solve(angular, torque)
    wrench[:3], wrench[3:] = force, torque
    pull = 10.0 * (rest - arms.joint_pos[r]) - 2.0 * np.sqrt(10.0) * arms.joint_vel[r]
    share = np.empty(6)
    for i in range(6):
        total = 0.0
        for k in range(n):
            total += jac[i, k] * pull[k]
        share[i] = total
    _solve(inertia, share)
    torques = np.empty(n)
    for j in range(n):
        total = bias[j]
        for i in range(6):
            total += jac[i, j] * (wrench[i] - share[i])
        for k in range(n):
            total += arms.mass[r, j, k] * pull[k]
        torques[j] = total
    return torques


@compiled
def _clip(value: float, low: float, high: float) -> float:
    """numpy.clip of one number: NaN stays NaN."""
    if value < low:
        return low
    if value > high:
        return high
    return value


@compiled
def begin(engine: EngineMemory, arms: Arms, fresh: np.ndarray) -> None:
    """The first half of a control step's first substep: mj_step1, then the update of every arm r with fresh[r]."""
    mj_step1(engine.model, engine.data)
    for r in range(arms.site.shape[0]):
        if fresh[r]:
            _update_arm(engine, arms, r)


@compiled
def advance(engine: EngineMemory, arms: Arms, command: Command, substeps: int, begun: bool, exact: bool) -> None:
    """Run `substeps` whole substeps; `begun` says that `begin` did the first half of the first one.

    Raises numpy.linalg.LinAlgError where stock does: non-finite or singular matrices.
    """
    for substep in range(substeps):
        if substep > 0 or not begun:
            mj_step1(engine.model, engine.data)
            for r in range(arms.site.shape[0]):
                _update_arm(engine, arms, r)
        for r in range(arms.site.shape[0]):
            force, torque = _desired_wrench(engine, arms, command, r)
            bias = engine.bias[arms.qvel_index[r]]
            if exact:
                torques = _exact_torques(arms, r, force, torque, bias, command.rest[r])
            else:
                torques = _fast_torques(arms, r, force, torque, bias, command.rest[r])
            for j in range(torques.shape[0]):
                engine.ctrl[arms.actuator[r, j]] = _clip(torques[j], command.low[r, j], command.high[r, j])
        for g in range(command.gripper.shape[0]):
            grip = command.gripper_centre[g] + command.gripper_reach[g] * command.gripper_goal[g]
            engine.ctrl[command.gripper[g]] = _clip(grip, command.gripper_low[g], command.gripper_high[g])
        mj_step2(engine.model, engine.data)
