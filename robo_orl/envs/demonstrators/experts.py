"""Waypoint experts: the gripper's next place, as a function of the simulator's state alone.

Nothing is remembered between two calls, so an expert recovers from whatever happened: a missed grasp, a dropped object,
an object that was knocked away. A pick-and-place names the next object, its grasp and its goal, by one function a scene
(targets.py); `waypoint` leads the gripper there; `steer` turns that into an action.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from robo_orl.envs.scene import Scene

STEP, TURN = 0.05, 0.5  # metres and radians of an action of 1 (robosuite's OSC_POSE)
GAIN, TURN_GAIN = 1.6, 1.0  # of the distance to the waypoint, for one decision
OPEN, CLOSE = -1.0, 1.0
CLOSED_GAP, HOLDING_GAP, WIDE_GAP = 0.62, 1.4, 0.85  # of the object's width; the last: of the widest opening
REST = np.pi / 2  # heading of the fingers of an arm that looks along x, from left to right, at rest
WIDEST, PAD_THICKNESS = 0.08, 0.008  # metres: between the pads of the open gripper, of both pads together
NEAR, LOW = 0.015, 0.012  # metres: over the object, down at the object
HOVER = 0.07  # metres above the grasp from which the gripper comes down
GENTLE = 0.03  # metres ahead of a hand that keeps to its line


@dataclass(frozen=True)
class PickAndPlace:
    """One object to be moved.

    index: of the object. grasp: (3,) where the grip site takes it. axes: headings of the fingers that fit, radians.
    width: metres between the fingers once it is held. goal: (3,) where the object belongs. height: metres, of the
    object's centre, at which it travels. tolerance: metres aside at which it may come down. headings: of the object,
    that fit at the goal; none where any does. delivered: it lies where it belongs and is only to be let go.
    led: (3,) the point of it that is led to the goal; None: its middle. attitude: (3, 3) rotation of the hand that
    takes it, as Scene.hand_rotation; None: upright. route: its next waypoint while it is held; None: up, across, down,
    let go. retreat: (3,) metres, the way of the open hand from it. part: of the work, by which a plan's styles are
    counted; None: the object's index. hover: metres above the grasp at which the hand comes to it. heading: of the
    fingers, radians, where their other way round will not do. near: metres aside at which the fingers may close.
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
    led: np.ndarray | None = None
    attitude: np.ndarray | None = None
    route: Callable[[Scene, PickAndPlace], Waypoint] | None = None
    retreat: tuple[float, float, float] = (0.0, 0.0, 0.05)
    part: int | None = None
    hover: float = HOVER
    heading: float | None = None
    near: float = NEAR


@dataclass(frozen=True)
class Waypoint:
    """The gripper's next place: (3,) metres, radians to turn about the vertical, the gripper's command.

    rotation: (3,) radians, the whole rotation vector of the hand; None: upright, and the turn. steady: of the motion's
    speed and unrest that is left where work is fine.
    """

    position: np.ndarray
    turn: float
    gripper: float
    rotation: np.ndarray | None = None
    steady: float = 1.0


TargetOf = Callable[[Scene], PickAndPlace | Waypoint | None]  # a waypoint: that alone; None: nothing is left to be done


def part_of(pick: PickAndPlace) -> int:
    """The number of the part of the work that this is."""
    return pick.index if pick.part is None else pick.part


def waypoint(scene: Scene, pick: PickAndPlace) -> Waypoint:
    """The next waypoint of a pick-and-place."""
    if pick.delivered:
        return let_go(scene, pick)
    return (pick.route or carry)(scene, pick) if holds(scene, pick) else _reach(scene, pick)


def holds(scene: Scene, pick: PickAndPlace) -> bool:
    """Whether the object is between the pads: both touch it, no wider apart than it is."""
    return bool(scene.held()[pick.index]) and gap(scene) < HOLDING_GAP * pick.width


def led(scene: Scene, pick: PickAndPlace) -> np.ndarray:
    """(3,) metres: the point of the object that is led to its goal."""
    return scene.position(pick.index) if pick.led is None else pick.led


def let_go(scene: Scene, pick: PickAndPlace) -> Waypoint:
    """Open in place, then leave it, straight up or as it asks for."""
    grip = scene.grip_position.copy()
    if gap(scene) > WIDE_GAP * WIDEST:
        grip += pick.retreat
    return Waypoint(grip, 0.0, OPEN, None if pick.route is None else np.zeros(3))


def _reach(scene: Scene, pick: PickAndPlace) -> Waypoint:
    """Above the object with open fingers, straight down, close."""
    grip, above = scene.grip_position, pick.grasp + [0, 0, pick.hover]
    turn, rotation = _turn_of_hand(scene, pick)
    offset, height = np.linalg.norm(pick.grasp[:2] - grip[:2]), grip[2] - pick.grasp[2]
    turned = abs(turn) < 0.12 + 2.0 * max(height, 0.0)
    empty = gap(scene) < CLOSED_GAP * pick.width
    if offset > pick.near + 0.25 * HOVER / pick.hover * max(height, 0.0) or not turned or empty:
        rising = height < pick.hover - 0.02
        aside = grip if rising and (pick.hover == HOVER or offset > 0.1) else above
        return Waypoint(np.array([*aside[:2], above[2]]), turn, OPEN, rotation)
    if height > LOW:
        open_enough = gap(scene) > WIDE_GAP * WIDEST or height < pick.hover - 0.03
        place = pick.grasp if open_enough else above
        if pick.hover > HOVER:  # no faster than the hand can stay over the object on the way
            place = np.array([*place[:2], max(place[2], grip[2] - GENTLE)])
        return Waypoint(place, turn, OPEN, rotation)
    return Waypoint(pick.grasp, turn, CLOSE, rotation)


def _turn_of_hand(scene: Scene, pick: PickAndPlace) -> tuple[float, np.ndarray | None]:
    """Radians to the grasp, and the rotation vector (3,) where they are not about the vertical."""
    if pick.heading is not None:  # by way of the rest, since the wrist does not go all around
        now, wanted = (_wrap(a - rest(scene), 2 * np.pi) for a in (_heading(scene.finger_vector), pick.heading))
        if pick.attitude is None or abs(wanted - now) > 0.5:
            return wanted - now, None
    if pick.attitude is not None:
        rotation = rotation_vector(pick.attitude @ scene.hand_rotation.T)
        return float(np.linalg.norm(rotation)), rotation
    return turn_to(scene, nearest_axis(scene, pick.axes)), None


def carry(scene: Scene, pick: PickAndPlace) -> Waypoint:
    """Up, across, down, open; the object, not the gripper, is led to the goal."""
    grip, position = scene.grip_position, led(scene, pick)
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


def nearest_axis(scene: Scene, axes: tuple[float, ...]) -> float:
    """The heading that needs the smallest turn from the hand's rest, where the fingers open to the arm's sides."""
    return min(axes, key=lambda axis: abs(_wrap(axis - rest(scene), np.pi)))


def rest(scene: Scene) -> float:
    """The heading of the fingers with the wrist in the middle of its range."""
    return REST + scene.base_yaw


def in_frame_of_base(scene: Scene, vector: np.ndarray) -> np.ndarray:
    """(3,) of the world as the arm's base has it."""
    return _turned(vector, -scene.base_yaw)


def in_world(scene: Scene, vector: np.ndarray) -> np.ndarray:
    """(3,) of the arm's base as the world has it."""
    return _turned(vector, scene.base_yaw)


def _turned(vector: np.ndarray, yaw: float) -> np.ndarray:
    """(3,) turned about the vertical; the same numbers, to the last bit, where there is nothing to turn."""
    if yaw == 0.0:
        return vector
    cos, sin = np.cos(yaw), np.sin(yaw)
    return np.array([cos * vector[0] - sin * vector[1], sin * vector[0] + cos * vector[1], vector[2]])


def rotation_vector(rotation: np.ndarray) -> np.ndarray:
    """(3,) radians: axis times angle of a rotation (3, 3), as scipy's Rotation has it."""
    return Rotation.from_matrix(rotation).as_rotvec()


def _turn_of_held(scene: Scene, pick: PickAndPlace) -> float:
    """Radians to one of the headings of the held object: the one that leaves the wrist least twisted."""
    yaw, fingers = scene.yaw(pick.index), _heading(scene.finger_vector)
    turns = [_wrap(heading - yaw, 2 * np.pi) for heading in pick.headings]
    return min(turns, key=lambda turn: abs(_wrap(fingers + turn - rest(scene), 2 * np.pi)) + 0.1 * abs(turn))


def steer(scene: Scene, target: Waypoint, speed: float = 1.0) -> np.ndarray:
    """The action (7,) in [-1, 1] towards a waypoint: upright hand, at most `speed` of the fastest motion."""
    move = in_frame_of_base(scene, GAIN * (target.position - scene.grip_position) / STEP)
    rotation = target.rotation
    if rotation is None:
        rotation = np.cross(scene.tool_axis, [0.0, 0.0, -1.0]) + [0.0, 0.0, target.turn]
    turn = in_frame_of_base(scene, TURN_GAIN * rotation / TURN)
    speed *= target.steady
    move *= speed / max(speed, np.abs(move).max())
    turn *= speed / max(speed, np.abs(turn).max())
    return np.array([*move, *turn, target.gripper])
