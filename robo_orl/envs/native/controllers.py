"""robosuite's controllers as arrays for the physics loop: their goals, and the engine's memory that they read.

Goals are those of robosuite's operational-space controller from a delta action, without the work that it throws away.
The arithmetic is OperationalSpaceController.set_goal's for delta actions from the achieved pose in the frame of the
base, operation by operation and through robosuite's own functions, so that the numbers are bit-equal. Left out are two
quaternions by eigenvalue decomposition and a second look at the simulation, whose results robosuite does not use.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import robosuite.utils.transform_utils as T

from robo_orl.envs.native.physics_loop import Arms, Command, EngineMemory

Arm = tuple[Any, str, Any]  # robot, name of the arm, its controller


def set_goal(controller: Any, action: np.ndarray, base_pos: np.ndarray, base_mat: np.ndarray) -> None:
    """Set the controller's goal and origin. action: (6,), base_pos: (3,), base_mat: (3, 3), world frame."""
    controller.update_origin(base_pos, base_mat)
    delta = controller.scale_action(action)
    base_inverse = _inverse(base_pos.tobytes(), base_mat.tobytes())
    position = np.eye(4)
    position[:3, 3] = controller.ref_pos
    controller.goal_pos = base_inverse.dot(position)[:3, 3] + delta[0:3]
    pose = base_inverse.dot(T.make_pose(controller.ref_pos, controller.ref_ori_mat))
    controller.goal_ori = np.dot(T.quat2mat(T.axisangle2quat(delta[3:6])), pose[:3, :3])


@lru_cache(maxsize=64)  # bases stand still
def _inverse(pos: bytes, mat: bytes) -> np.ndarray:
    """(4, 4): the inverse of a base's pose."""
    return T.pose_inv(T.make_pose(np.frombuffer(pos), np.frombuffer(mat).reshape(3, 3)))


def engine_memory(sim: Any) -> EngineMemory:
    """The engine's memory of a simulation."""
    data, dofs = sim.data._data, sim.model.nv
    return EngineMemory(
        sim.model._model._address, data._address, data.qpos, data.qvel, data.qM, data.qfrc_bias, data.ctrl,
        data.site_xpos, data.site_xmat, np.zeros((3, dofs)), np.zeros((3, dofs)), np.zeros((dofs, dofs)),
    )  # fmt: skip


def arm_state(sim: Any, arms: list[Arm]) -> Arms:
    """The indices of the arms, and room for what their controllers read."""
    controllers = [controller for _, _, controller in arms]
    count, joints = len(controllers), controllers[0].joint_dim
    names = [(c.ref_name, f"{c.naming_prefix}{c.part_name}_center") for c in controllers]
    sites = [[sim.model.site_name2id(name) for name in pair] for pair in names]
    actuators = [robot._ref_actuators_indexes_dict[arm] for robot, arm, _ in arms]
    return Arms(
        *(np.array(i, dtype=np.int64) for i in (
            [c.qpos_index for c in controllers], [c.qvel_index for c in controllers], actuators, sites)),
        *(np.zeros((count, *shape)) for shape in (
            (3,), (3, 3), (3,), (3,), (3, joints), (3, joints), (6, joints), (joints, joints), (joints,), (joints,))),
    )  # fmt: skip


def command_of(sim: Any, arms: list[Arm]) -> Command:
    """The limits of the arms and grippers, and room for the goals and gains of a control step."""
    count, joints = len(arms), arms[0][2].joint_dim
    limits = sim.model.actuator_ctrlrange[[robot._ref_actuators_indexes_dict[arm] for robot, arm, _ in arms]]
    goals = (np.zeros((count, *shape)) for shape in ((3,), (3, 3), (6,), (6,), (joints,)))
    return Command(*goals, limits[..., 0].copy(), limits[..., 1].copy(), *_gripper_command(sim, arms))


def _gripper_command(sim: Any, arms: list[Arm]) -> tuple[np.ndarray, ...]:
    """(actuators, goal, centre, reach, low, high) of all grippers, as SimpleGripController scales its goal."""
    parts = [(robot.part_controllers[n], robot._ref_actuators_indexes_dict[n]) for robot, _, n in grippers(arms)]
    actuators = np.array([i for _, own in parts for i in own], dtype=np.int64)
    low, high = (np.concatenate([[], *(getattr(c, f"actuator_{end}") for c, _ in parts)]) for end in ("min", "max"))
    scaled = np.concatenate([[], *(np.full(len(own), c.use_action_scaling) for c, own in parts)]).astype(bool)
    centre, reach = np.where(scaled, 0.5 * (high + low), 0.0), np.where(scaled, 0.5 * (high - low), 1.0)
    return actuators, np.zeros(len(actuators)), centre, reach, *sim.model.actuator_ctrlrange[actuators].T.copy()


def grippers(arms: list[Arm]) -> list[tuple[Any, str, str]]:
    """[(robot, arm, name of the gripper's part)]."""
    return [(robot, arm, robot.get_gripper_name(arm)) for robot, arm, _ in arms if robot.has_gripper[arm]]


def action_slices(env: Any) -> dict[tuple[Any, str], tuple[int, int]]:
    """(robot, part) -> the first and the last index (exclusive) of the part's numbers in the whole action."""
    slices, start = {}, 0
    for robot in env.robots:
        for part, (first, last) in robot.composite_controller._action_split_indexes.items():
            slices[robot, part] = (start + first, start + last)
        start += robot.action_dim
    return slices
