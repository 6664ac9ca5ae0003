"""The goal of robosuite's operational-space controller from a delta action, without the work that it throws away.

The arithmetic is OperationalSpaceController.set_goal's for delta actions from the achieved pose in the frame of the
base, operation by operation and through robosuite's own functions, so that the numbers are bit-equal. Left out are two
quaternions by eigenvalue decomposition and a second look at the simulation, whose results robosuite does not use.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import robosuite.utils.transform_utils as T


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
