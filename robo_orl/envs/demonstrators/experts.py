"""Waypoint experts: the gripper's next place, as a function of the simulator's state alone.

Nothing is remembered between two calls, so an expert recovers from whatever happened: a missed grasp, a dropped object,
an object that was knocked away. A pick-and-place names the next object, its grasp and its goal, by one function a scene
(TARGETS); `waypoint` leads the gripper there; `steer` turns that into an action.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from robo_orl.envs.chain_layout import HALF, PLACE_SLOTS, TABLE_Z
from robo_orl.envs.scene import Scene

STEP, TURN = 0.05, 0.5  # metres and radians of an action of 1 (robosuite's OSC_POSE)
GAIN, TURN_GAIN = 1.6, 1.0  # of the distance to the waypoint, for one decision
OPEN, CLOSE = -1.0, 1.0
CLOSED_GAP, HOLDING_GAP, WIDE_GAP = 0.62, 1.4, 0.85  # of the object's width; the last: of the widest opening
REST = np.pi / 2  # heading of the fingers, from left to right, with the wrist in the middle of its range
WIDEST, PAD_THICKNESS = 0.08, 0.008  # metres: between the pads of the open gripper, of both pads together
NEAR, LOW = 0.015, 0.012  # metres: over the object, down at the object
HOVER = 0.07  # metres above the grasp from which the gripper comes down


@dataclass(frozen=True)
class PickAndPlace:
    """One object to be moved.

    index: of the object. grasp: (3,) where the grip site takes it. axes: headings of the fingers that fit, radians.
    width: metres between the fingers once it is held. goal: (3,) where the object belongs. height: metres, of the
    object's centre, at which it travels. tolerance: metres aside at which it may come down. headings: of the object,
    that fit at the goal; none where any does. delivered: it lies where it belongs and is only to be let go.
    """

    index: int
    grasp: np.ndarray
    axes: tuple[float, ...]
    width: float
    goal: np.ndarray
    height: float
    tolerance: float
    headings: tuple[float, ...] = ()
    delivered: bool = False


TargetOf = Callable[[Scene], PickAndPlace | None]  # None: nothing is left to be done


@dataclass(frozen=True)
class Waypoint:
    """The gripper's next place: (3,) metres, radians to turn about the vertical, the gripper's command."""

    position: np.ndarray
    turn: float
    gripper: float


def waypoint(scene: Scene, pick: PickAndPlace) -> Waypoint:
    """The next waypoint of a pick-and-place."""
    if pick.delivered:
        return _let_go(scene)
    return _carry(scene, pick) if holds(scene, pick) else _reach(scene, pick)


def holds(scene: Scene, pick: PickAndPlace) -> bool:
    """Whether the object is between the pads: both touch it, no wider apart than it is."""
    return bool(scene.held()[pick.index]) and gap(scene) < HOLDING_GAP * pick.width


def _let_go(scene: Scene) -> Waypoint:
    """Open in place, then rise straight up."""
    grip = scene.grip_position.copy()
    if gap(scene) > WIDE_GAP * WIDEST:
        grip[2] += 0.05
    return Waypoint(grip, 0.0, OPEN)


def _reach(scene: Scene, pick: PickAndPlace) -> Waypoint:
    """Above the object with open fingers, straight down, close."""
    grip, above = scene.grip_position, pick.grasp + [0, 0, HOVER]
    turn = turn_to(scene, nearest_axis(pick.axes))
    offset, height = np.linalg.norm(pick.grasp[:2] - grip[:2]), grip[2] - pick.grasp[2]
    turned = abs(turn) < 0.12 + 2.0 * max(height, 0.0)
    empty = gap(scene) < CLOSED_GAP * pick.width
    if offset > NEAR + 0.25 * max(height, 0.0) or not turned or empty:
        rising = height < HOVER - 0.02
        return Waypoint(np.array([*(grip if rising else above)[:2], above[2]]), turn, OPEN)
    if height > LOW:
        open_enough = gap(scene) > WIDE_GAP * WIDEST or height < HOVER - 0.03
        return Waypoint(pick.grasp if open_enough else above, turn, OPEN)
    return Waypoint(pick.grasp, turn, CLOSE)


def _carry(scene: Scene, pick: PickAndPlace) -> Waypoint:
    """Up, across, down, open; the object, not the gripper, is led to the goal."""
    grip, position = scene.grip_position, scene.position(pick.index)
    shift = pick.goal - position
    turn = _turn_of_held(scene, pick) if pick.headings else 0.0
    far = np.linalg.norm(shift[:2]) > pick.tolerance + 0.1 * max(-shift[2], 0.0)
    if far or abs(turn) > 0.05:
        rising = position[2] < pick.height - 0.03
        across = np.zeros(2) if rising else shift[:2]
        return Waypoint(grip + [*across, pick.height - position[2]], 0.0 if rising else turn, CLOSE)
    return Waypoint(grip + shift, turn, OPEN if -shift[2] < 0.006 else CLOSE)


def gap(scene: Scene) -> float:
    """Metres between the finger pads' inner faces (about 0.08 when open)."""
    return float(np.linalg.norm(scene.finger_vector)) - PAD_THICKNESS


def _heading(vector: np.ndarray) -> float:
    return float(np.arctan2(vector[1], vector[0]))


def _wrap(angle: float, period: float) -> float:
    """The angle in [-period/2, period/2)."""
    return (angle + period / 2) % period - period / 2


def turn_to(scene: Scene, axis: float) -> float:
    """Radians about the vertical that bring the fingers to heading `axis` modulo pi."""
    return _wrap(axis - _heading(scene.finger_vector), np.pi)


def nearest_axis(axes: tuple[float, ...]) -> float:
    """The heading that needs the smallest turn from the hand's rest, where the fingers open along y."""
    return min(axes, key=lambda axis: abs(_wrap(axis - REST, np.pi)))


def _turn_of_held(scene: Scene, pick: PickAndPlace) -> float:
    """Radians to one of the headings of the held object: the one that leaves the wrist least twisted."""
    yaw, fingers = scene.yaw(pick.index), _heading(scene.finger_vector)
    turns = [_wrap(heading - yaw, 2 * np.pi) for heading in pick.headings]
    return min(turns, key=lambda turn: abs(_wrap(fingers + turn - REST, 2 * np.pi)) + 0.1 * abs(turn))


def steer(scene: Scene, target: Waypoint, speed: float = 1.0) -> np.ndarray:
    """The action (7,) in [-1, 1] towards a waypoint: upright hand, at most `speed` of the fastest motion."""
    move = GAIN * (target.position - scene.grip_position) / STEP
    upright = np.cross(scene.tool_axis, [0.0, 0.0, -1.0])
    turn = TURN_GAIN * (upright + [0.0, 0.0, target.turn]) / TURN
    move *= speed / max(speed, np.abs(move).max())
    turn *= speed / max(speed, np.abs(turn).max())
    return np.array([*move, *turn, target.gripper])


# ----------------------------------------------------------------------------------------------------------- the scenes


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


TARGETS: dict[str, TargetOf] = {
    "lift": lift_target,
    "can": can_target,
    "square": square_target,
    "stack": stack_target,
    "chain": chain_target,
}
