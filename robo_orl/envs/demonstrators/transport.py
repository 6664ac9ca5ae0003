"""transport's two arms: the first takes the lid off and holds the hammer out, the second takes it; and bins the trash.

They need no messages: each sees in the scene what the other has done. The parts are numbered as a plan's styles are:
the first arm's lid and hammer, then the second's trash and hammer.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from robo_orl.envs.demonstrators.experts import CLOSE, GENTLE, OPEN, PickAndPlace, Waypoint, carry, turn_to
from robo_orl.envs.scene import Scene

LID, HAMMER, TRASH, START_BIN, TARGET_BIN, TRASH_BIN = range(6)  # the scene's objects
MEETING = np.array([0.0, 0.062, 1.06])  # where the second hand takes the hammer; nearer to the first it has no reach
LID_PLACE = np.array([-0.2, -0.45])  # beside its bin
FROM_MIDDLE = (0.042, 0.06)  # metres along the handle: the first hand takes the end on its side, the second the other
RISE = np.array([0.0, 0.01, 0.05])  # metres: the first hand's way from the hammer, which does not catch on its head
HALF_HANDLE = 0.015
OVER_WALLS = 0.2  # metres above the bottom of a bin at which a hand comes to what lies there
WAITING = (np.array([0.0, -0.3, 1.15]), np.array([0.0, 0.25, 1.2]))  # where a hand with nothing to do is out of the way
OVER_BINS = 1.08  # metres: an object's middle above every wall


@dataclass(frozen=True)
class _Handle:
    """The hammer's handle: unit vector (3,) towards the second arm, and both ends as the hands take them."""

    along: np.ndarray
    first: np.ndarray
    second: np.ndarray
    axes: tuple[float, ...]


def _handle(scene: Scene) -> _Handle:
    along = scene.rotation(HAMMER)[:, 2]
    along = along if along[1] > 0 else -along
    middle, across = scene.position(HAMMER), float(np.arctan2(along[1], along[0])) + np.pi / 2
    return _Handle(along, middle - FROM_MIDDLE[0] * along, middle + FROM_MIDDLE[1] * along, (across,))


def transport_first_target(scene: Scene) -> PickAndPlace | Waypoint:
    """The lid beside its bin; then the hammer to where the second hand takes it."""
    first, second = scene.hands
    if second.held()[HAMMER] and not first.touched()[HAMMER]:
        return Waypoint(WAITING[0] if _is_clear(first) else first.grip_position + RISE, turn_to(scene, 0.0), OPEN)
    lid, touched = scene.position(LID), first.touched()
    off = np.abs(lid[:2] - scene.position(START_BIN)[:2]).max() > scene.env.bin_size[0] / 2
    if not off or touched[LID]:
        handle, lies = scene.geom("transport_start_bin_lid_handle"), lid[2] < scene.position(START_BIN)[2]
        goal = np.array([*LID_PLACE, scene.env.table_offsets[0, 2] + 0.024])
        delivered = bool(off and lies and np.linalg.norm(lid[:2] - LID_PLACE) < 0.1)
        return PickAndPlace(LID, handle, (0.0,), 0.02, goal, OVER_BINS, 0.05, delivered=delivered)
    if _is_low_over(first, LID_PLACE):
        return Waypoint(np.array([*LID_PLACE, OVER_BINS]), turn_to(scene, 0.0), OPEN)
    handle = _handle(scene)
    return PickAndPlace(
        HAMMER, handle.first, handle.axes, 2 * HALF_HANDLE, MEETING, MEETING[2], 0.03,
        delivered=bool(second.held()[HAMMER]), route=_hold_out, retreat=tuple(RISE), led=handle.second,
        hover=OVER_WALLS, near=0.022,
    )  # fmt: skip


def _is_low_over(hand: Scene, place: np.ndarray) -> bool:
    """Whether a hand is yet to rise over a place (2,) that it has put something down at."""
    return hand.grip_position[2] < OVER_BINS - 0.05 and bool(np.abs(hand.grip_position[:2] - place).max() < 0.15)


def _hold_out(scene: Scene, pick: PickAndPlace) -> Waypoint:
    """Up, across, and there it is held, its handle from one arm to the other."""
    position = scene.position(HAMMER)
    if position[2] < pick.height - 0.03:
        return _lift(scene, pick, START_BIN)
    return Waypoint(scene.grip_position + pick.goal - pick.led, _turn_of_handle(scene), CLOSE)


def _lift(scene: Scene, pick: PickAndPlace, bin_: int) -> Waypoint:
    """Straight up out of a bin, along its middle."""
    position = scene.position(pick.index)
    aside = scene.position(bin_)[:2] - position[:2]
    if np.linalg.norm(aside) > 0.2:  # it is in no bin
        aside = np.zeros(2)
    return Waypoint(scene.grip_position + [*aside, min(pick.height - position[2], GENTLE)], 0.0, CLOSE)


def _bin_trash(scene: Scene, pick: PickAndPlace) -> Waypoint:
    """Out of the target bin, then up, across, down, open."""
    position = scene.position(TRASH)
    low = position[2] < pick.height - 0.03
    over = np.abs(position[:2] - scene.position(TARGET_BIN)[:2]).max() < 0.15
    return _lift(scene, pick, TARGET_BIN) if low and over else carry(scene, pick)


def _is_clear(hand: Scene) -> bool:
    """Whether a hand is so far from the hammer that neither's way goes through the other: its head is wide."""
    apart = hand.grip_position - hand.position(HAMMER)
    return not hand.touched()[HAMMER] and bool(apart[2] > 0.06 or np.linalg.norm(apart[:2]) > 0.25)


def _turn_of_handle(scene: Scene) -> float:
    """Radians about the vertical that lay the handle from one arm to the other."""
    along = _handle(scene).along
    return float(np.arctan2(along[0], along[1]))


def transport_second_target(scene: Scene) -> PickAndPlace | Waypoint | None:
    """The trash into its bin; then the hammer, once it is held out, into the other."""
    first, second = scene.hands
    transport, touched = scene.env.transport, second.touched()
    if not transport.trash_in_trash_bin or touched[TRASH]:
        yaw, position = scene.yaw(TRASH), scene.position(TRASH).copy()
        goal = scene.position(TRASH_BIN) - [0.0, 0.0, 0.03]
        axes, delivered = (yaw, yaw + np.pi / 2), bool(transport.trash_in_trash_bin)
        return PickAndPlace(
            TRASH, position, axes, 0.04, goal, OVER_BINS, 0.06, delivered=delivered, hover=OVER_WALLS, route=_bin_trash
        )
    placed = bool(transport.payload_in_target_bin)
    if placed and not touched[HAMMER]:
        return None
    handle = _handle(scene)
    offered = first.held()[HAMMER] and np.linalg.norm(handle.second - MEETING) < 0.03
    if _is_low_over(second, scene.position(TRASH_BIN)[:2]):
        return Waypoint(np.array([*scene.position(TRASH_BIN)[:2], OVER_BINS]), turn_to(scene, 0.0), OPEN)
    if not (touched[HAMMER] or offered and abs(_turn_of_handle(scene)) < 0.15):
        return Waypoint(WAITING[1], turn_to(scene, 0.0), OPEN)
    goal = scene.position(TARGET_BIN) - [0.0, 0.0, 0.02]
    return PickAndPlace(
        HAMMER, handle.second, handle.axes, 2 * HALF_HANDLE, goal, OVER_BINS, 0.03, delivered=placed, route=_take,
        part=3,
    )  # fmt: skip


def _take(scene: Scene, pick: PickAndPlace) -> Waypoint:
    """Wait until the first hand has let go, then carry it."""
    if not _is_clear(scene.hands[0]):
        return Waypoint(scene.grip_position.copy(), 0.0, CLOSE)
    return carry(scene, pick)
