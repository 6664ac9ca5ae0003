"""tool_hang's expert: the frame upright into its stand, then the tool's ring over the frame's hook.

The frame lies flat and is taken aslant, so that the hand is aslant the other way once the rod hangs down from it. The
ring does not fit over the hook straight on: it is lowered flat around the hook's tip, tilted, and let go; the handle's
weight turns it around the arm.
"""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from robo_orl.envs.demonstrators.experts import CLOSE, OPEN, PickAndPlace, Waypoint, rotation_vector
from robo_orl.envs.scene import Scene

FRAME, TOOL = 0, 1  # the scene's objects
SLANT = np.pi / 4  # of the hand that takes the frame, from upright
MOUNT = np.array([0.0, 0.045])  # of the stand's hole, from the middle of its base
UPRIGHT = np.diag([-1.0, -1.0, 1.0])  # the frame's axes in the stand: its arm points away from the robot
TURNING = np.array([-0.1, -0.12, 1.17])  # where the hand turns the frame upright
LOW_TIP = 0.012  # metres of the tip above the stand's bottom at which the frame is let go
CLEAR = 0.07  # metres from its grip at which the hand has left the frame


def tool_hang_target(scene: Scene) -> PickAndPlace:
    """The frame until it stands and is let go, then the tool."""
    grip, tip = scene.geom("frame_grip_frame"), scene.site("frame_tip_site")
    stands = scene.env._check_frame_assembled() and tip[2] < _bottom(scene)[2] + LOW_TIP
    if not stands or np.linalg.norm(scene.grip_position - grip) < CLEAR and not scene.held()[TOOL]:
        return _frame(scene, grip, tip, bool(stands))
    return _tool(scene)


def _bottom(scene: Scene) -> np.ndarray:
    """(3,) metres: the bottom of the stand's hole."""
    base = scene.geom("stand_base")
    return base + [*MOUNT, 0.005]


def _frame(scene: Scene, grip: np.ndarray, tip: np.ndarray, stands: bool) -> PickAndPlace:
    along, up, rod = scene.rotation(FRAME).T
    hand, rim = np.cos(SLANT) * up - np.sin(SLANT) * rod, float(scene.site("stand_mount_site")[2])
    attitude = np.column_stack((along, np.cross(hand, along), hand))
    return PickAndPlace(
        FRAME, grip.copy(), (float(np.arctan2(along[1], along[0])),), 0.0254, _bottom(scene), rim + 0.02, 0.004,
        delivered=stands, led=tip.copy(), attitude=attitude, route=_insert, retreat=(0.0, 0.05, 0.02),
    )  # fmt: skip


def _insert(scene: Scene, pick: PickAndPlace) -> Waypoint:
    """Up, upright, over the hole, down."""
    grip, tip, hand = scene.geom("frame_grip_frame"), pick.led, scene.grip_position
    rotation = rotation_vector(UPRIGHT @ scene.rotation(FRAME).T)
    angle, rim = np.linalg.norm(rotation), scene.site("stand_mount_site")[2]
    aside = pick.goal[:2] - tip[:2]
    if tip[2] < rim - 0.003 and np.linalg.norm(aside) < 0.012:
        rod = pick.goal[:2] - grip[:2]
        low = tip[2] - pick.goal[2] < LOW_TIP
        return Waypoint(hand + [*rod, -0.05], 0.0, OPEN if low else CLOSE, rotation, 0.5)
    if angle > 0.15:
        low = hand[2] < TURNING[2] - 0.05
        return Waypoint(np.array([*(hand if low else TURNING)[:2], TURNING[2]]), 0.0, CLOSE,
                        np.zeros(3) if hand[2] < 1.0 else rotation)  # fmt: skip
    over = np.linalg.norm(aside) < pick.tolerance and angle < 0.06
    return Waypoint(hand + [*aside, -0.03 if over else pick.height - tip[2]], 0.0, CLOSE, rotation, 0.5)


LEAN = 0.45  # radians: the hand leans over the ring, so that it is less far over once the tool is tilted
PEG = 0.019  # metres above the arm's middle below which the ring is around the hook's tip
OVER = 0.07  # metres of the ring above the arm's middle, on its way
TILT, TILTING = 0.75, 0.2  # radians at which the ring passes the arm's corner; by which a tilt leads the present one
FALL = ((0.0, 0.52, 0.78), (0.0085, 0.001, -0.006))  # radians of tilt, metres of the ring's middle above the arm's
INSIDE, PUSH = 0.009, 0.02  # metres along the arm from the hook at which the tool is let go; that it is pushed
PASSED = 0.003  # metres above the arm's middle below which the ring's near side is under the arm


def _tool(scene: Scene) -> PickAndPlace:
    hole, to_ring = scene.site("tool_hole1_center"), -scene.rotation(TOOL)[:, 0]
    to_ring = np.array([*to_ring[:2], 0.0]) / np.linalg.norm(to_ring[:2])
    fingers, hand = np.array([to_ring[1], -to_ring[0], 0.0]), -np.sin(LEAN) * to_ring - [0.0, 0.0, np.cos(LEAN)]
    attitude = np.column_stack((fingers, np.cross(hand, fingers), hand))
    heading = float(np.arctan2(fingers[1], fingers[0]))
    goal = np.array([*scene.geom("frame_hook_frame")[:2], scene.site("frame_hang_site")[2]])
    along = float((goal - hole) @ _arm(scene))
    delivered = _tilt(scene) > 0.8 * TILT and _is_around(scene, goal - hole) and along > INSIDE
    return PickAndPlace(
        TOOL, scene.position(TOOL).copy(), (heading,), 0.03, goal, goal[2] + OVER, 0.004, delivered=delivered,
        led=hole.copy(), route=_hang, hover=0.42, attitude=attitude, heading=heading,
        retreat=tuple(-0.05 * scene.tool_axis),
    )  # fmt: skip


def _arm(scene: Scene) -> np.ndarray:
    """(3,) unit vector along the frame's arm, from the rod to the hook, level."""
    arm = scene.site("frame_hang_site") - scene.site("frame_intersection_site")
    return np.array([*arm[:2], 0.0]) / np.linalg.norm(arm[:2])


def _tilt(scene: Scene) -> float:
    """Radians by which the tool's handle hangs down from its ring."""
    return float(np.arcsin(np.clip(-scene.rotation(TOOL)[2, 0], -1.0, 1.0)))


def _is_around(scene: Scene, shift: np.ndarray) -> bool:
    """Whether the ring, `shift` (3,) metres from the hook's foot, is around the hook's tip or the arm behind it."""
    along = float(shift @ _arm(scene))
    aside = np.linalg.norm(shift[:2] - along * _arm(scene)[:2])
    return bool(aside < 0.012 and -0.015 < along < 0.04 and -shift[2] < PEG)


def _hang(scene: Scene, pick: PickAndPlace) -> Waypoint:
    """Up, flat with its ring towards the frame, over the hook, down, tilt, on along the arm."""
    arm, axes, hand = _arm(scene), scene.rotation(TOOL), scene.grip_position
    flat = np.column_stack((arm, np.cross([0.0, 0.0, 1.0], arm), [0.0, 0.0, 1.0]))
    rotation, shift = rotation_vector(flat @ axes.T), pick.goal - pick.led
    aside, angle = np.linalg.norm(shift[:2]), np.linalg.norm(rotation)
    if _is_around(scene, shift):
        return _thread(scene, shift, flat)
    lift = pick.height - pick.led[2]
    if angle > 0.3:
        beside = np.array([*(pick.goal + 0.25 * arm - 0.15 * flat[:, 1])[:2], hand[2] + lift + 0.03])
        return Waypoint(beside if lift < 0.05 else np.array([*hand[:2], beside[2]]), 0.0, CLOSE, rotation)
    over = aside < pick.tolerance + 0.1 * max(-shift[2] - FALL[1][0], 0.0) and angle < 0.1
    down = shift[2] + FALL[1][0] if over else lift
    return Waypoint(hand + [*shift[:2], down], 0.0, CLOSE, rotation, 0.5)


def _thread(scene: Scene, shift: np.ndarray, flat: np.ndarray) -> Waypoint:
    """The ring around the arm's corner: down as it tilts, then along the arm."""
    tilt, arm, hand = _tilt(scene), flat[:, 0], scene.grip_position
    passed = tilt > 0.9 * TILT and -shift[2] < PASSED
    shift = shift + [0.0, 0.0, np.interp(tilt, *FALL)] - (PUSH if passed else 0.0) * arm
    ahead = Rotation.from_rotvec(min(tilt + TILTING, TILT + 0.1) * flat[:, 1]).as_matrix()
    rotation = rotation_vector(ahead @ flat @ scene.rotation(TOOL).T)
    lever = hand - scene.site("tool_hole1_center")
    return Waypoint(hand + shift + Rotation.from_rotvec(rotation).apply(lever) - lever, 0.0, CLOSE, rotation, 0.5)
