"""What is to be moved next in every scene: the object, its grasp and its goal, as a function of the simulator's state.

A new scene is one function (one for each arm) and one line of TARGETS.
"""

from __future__ import annotations

import numpy as np

from robo_orl.envs.chain_layout import HALF, PLACE_SLOTS, TABLE_Z
from robo_orl.envs.demonstrators.experts import PickAndPlace, TargetOf
from robo_orl.envs.demonstrators.tool_hang import tool_hang_target
from robo_orl.envs.demonstrators.transport import transport_first_target, transport_second_target
from robo_orl.envs.scene import Scene

AWAY_FROM_REACH = (np.pi / 2, np.pi, -np.pi / 2)  # of the nut's handle: straight ahead is too far for the arm
FREE = 0.055  # metres between a place and the nearest cube that keeps it free


def lift_target(scene: Scene) -> PickAndPlace:
    """The cube, 10 cm up."""
    position, yaw = scene.position(0).copy(), scene.yaw(0)
    return PickAndPlace(0, position, (yaw, yaw + np.pi / 2), 0.04, position + [0, 0, 0.1], position[2] + 0.1, 0.05)


def stack_target(scene: Scene) -> PickAndPlace:
    """The small cube on top of the large one; the fingers come down beside the large one, not on it."""
    position, base = scene.position(0).copy(), scene.position(1)
    yaw = scene.yaw(0)
    goal = base + [0, 0, 0.025 + 0.02 + 0.002]
    delivered = np.linalg.norm(goal[:2] - position[:2]) < 0.02 and abs(goal[2] - position[2]) < 0.006
    axes = _clear_axes((yaw, yaw + np.pi / 2), position, base, reach=0.06)
    return PickAndPlace(0, position, axes, 0.04, goal, base[2] + 0.12, 0.01, delivered=bool(delivered))


def _clear_axes(axes: tuple[float, ...], position: np.ndarray, other: np.ndarray, reach: float) -> tuple[float, ...]:
    """The headings at which no finger comes down near `other`; the best one where none is clear."""

    def clearance(axis: float) -> float:
        tips = [position[:2] + sign * reach * np.array([np.cos(axis), np.sin(axis)]) for sign in (1, -1)]
        return min(float(np.linalg.norm(tip - other[:2])) for tip in tips)

    clear = tuple(axis for axis in axes if clearance(axis) > 0.05)
    return clear or (max(axes, key=clearance),)


def can_target(scene: Scene) -> PickAndPlace:
    """The can into its compartment of the second bin."""
    env, position = scene.env, scene.position(0).copy()
    near_half = [-0.04, -0.05, 0.09]  # the far corner is out of reach
    goal = env.target_bin_placements[env.object_id] + near_half
    delivered = not env.not_in_bin(position, env.object_id)
    return PickAndPlace(
        0, position + [0, 0, 0.01], (np.pi / 2,), 0.05, goal, env.bin1_pos[2] + 0.2, 0.03, delivered=delivered
    )


def square_target(scene: Scene) -> PickAndPlace:
    """The square nut, by its handle, over the square peg."""
    env, position, yaw = scene.env, scene.position(0).copy(), scene.yaw(0)
    handle = position + 0.062 * np.array([np.cos(yaw), np.sin(yaw), 0.0])
    peg = env.sim.data.body_xpos[env.peg1_body_id]
    goal = np.array([*peg[:2], env.table_offset[2] + 0.03])
    around = np.abs(position[:2] - peg[:2]).max() < 0.016 and position[2] < peg[2] + 0.1
    tolerance, down = (0.023, position[2] < peg[2] + 0.045) if around else (0.005, False)
    height = peg[2] + 0.13
    return PickAndPlace(0, handle, (yaw + np.pi / 2,), 0.032, goal, height, tolerance, AWAY_FROM_REACH, bool(down))


def chain_target(scene: Scene) -> PickAndPlace | None:
    """The first cube in order that does not lie in the zone, to its own place there or the first free one."""
    env = scene.env
    waiting = np.flatnonzero(~env.placed())
    if not len(waiting):
        return None
    index = int(waiting[0])
    position = scene.position(index).copy()
    goal = np.array([*_place(scene, index), TABLE_Z + HALF])
    delivered = bool(env.in_zone()[index])
    return PickAndPlace(index, position, (np.pi / 2,), 0.04, goal, TABLE_Z + 0.13, 0.02, delivered=delivered)


def _place(scene: Scene, index: int) -> np.ndarray:
    """(2,) metres: where cube `index` goes."""
    others = np.delete(scene.positions()[:, :2], index, axis=0)
    order = [index, *(i for i in range(len(PLACE_SLOTS)) if i != index)]
    for place in PLACE_SLOTS[order]:
        if not len(others) or np.linalg.norm(others - place, axis=1).min() > FREE:
            return place
    return PLACE_SLOTS[index]


TARGETS: dict[str, tuple[TargetOf, ...]] = {  # one function an arm
    "lift": (lift_target,),
    "can": (can_target,),
    "square": (square_target,),
    "stack": (stack_target,),
    "chain": (chain_target,),
    "transport": (transport_first_target, transport_second_target),
    "tool_hang": (tool_hang_target,),
}
