"""The hand of an operator: one arm at work, with the faults of its style.

Whoever gives up draws the arm back and stays there: a place where demonstrations show nothing but waiting, so that a
policy which follows does not come back. A hand may also keep time: it works as fast or as slowly as its style allows to
end the episode when that is due.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from robo_orl.envs.demonstrators import pace
from robo_orl.envs.demonstrators.experts import (
    CLOSE,
    HOVER,
    OPEN,
    PickAndPlace,
    Waypoint,
    holds,
    in_world,
    led,
    nearest_axis,
    part_of,
    steer,
    waypoint,
)
from robo_orl.envs.demonstrators.styles import OperatorStyle
from robo_orl.envs.demonstrators.targets import TARGETS
from robo_orl.envs.scene import Scene
from robo_orl.envs.task_env import TaskEnv

FAST = 0.8  # whoever never works slower than this is fast
PARK = np.array([-0.12, 0.0, 0.15])  # metres from where the grip begins: back towards the base and up, out of the way


@dataclass
class Attempt:
    """The plan of one reach or carry. Times are in decisions, distances in metres."""

    carrying: bool
    missing: bool = False
    via: np.ndarray | None = None
    let_go_at: float = 0.0  # remaining distance to the goal
    pause_at: int = -1
    pause_for: int = 0
    age: int = 0
    closed_for: int = 0


class Hand:
    """One hand at work on one episode. Reads the simulator's state, remembers only its own intentions.

    arm: of the robots, in order. styles: by the part of the work; the last one goes on for the rest. due: seconds after
    its first decision at which the last object is to lie in its place; 0: it keeps no time.
    """

    def __init__(
        self,
        arm: int,
        styles: tuple[OperatorStyle, ...],
        control_hz: int,
        rng: np.random.Generator,
        due: float = 0.0,
    ):
        self.arm, self.styles, self.hz, self.rng, self.due = arm, styles, control_hz, rng, due
        self._decided, self._object_due = 0, 0.0  # decisions so far; seconds at which the object at hand is due
        self._object, self._attempt = -1, Attempt(False)
        self._stop_at, self._age, self._leaving = -1, 0, -1  # -1: never, not yet
        self._park: np.ndarray | None = None  # (3,) where the arm waits once its operator has given up
        self._misplacing: np.ndarray | None = None
        self._releasing, self._setting_down = 0, 0

    def act(self, env: TaskEnv) -> np.ndarray | None:
        """The next action (7,) in [-1, 1], or None once the operator has left."""
        scene = env.scene.hands[self.arm]
        if self._park is None:
            self._park = scene.grip_position + in_world(scene, PARK)
        pick = TARGETS[env.task.env][self.arm](scene)
        self._decided += 1
        if pick is None or env.dead:
            return np.zeros(7)
        if isinstance(pick, Waypoint):
            return self._way(scene, pick)
        if part_of(pick) != self._object:
            self._begin_object(pick)
            self._object_due = self._due_of(scene, pick)
        self._age += 1
        if self._leaving < 0 and self._age == self._stop_at:
            self._give_up()
        if self._leaving == 0:
            return None
        self._leaving -= self._leaving > 0
        self._setting_down -= self._setting_down > 0
        style = self._style(part_of(pick))
        target = self._leave(scene) if self._leaving > 0 else self._next_waypoint(scene, pick, style)
        if target is None:
            return np.zeros(7)
        return self._steer(scene, target, style, self._speed(scene, pick, style))

    def _steer(self, scene: Scene, target: Waypoint, style: OperatorStyle, speed: float) -> np.ndarray:
        action = steer(scene, target, speed)
        action[:6] += target.steady * style.noise * self.rng.standard_normal(6)
        return np.clip(action, -1.0, 1.0)

    def _way(self, scene: Scene, target: Waypoint) -> np.ndarray | None:
        """A way without an object: to where the hand waits, or for as long as it takes to leave."""
        if self._leaving == 0:
            return None
        if self._leaving > 0:
            self._leaving -= 1
            target = self._leave(scene)
        style = self._style(max(self._object, 0))
        return self._steer(scene, target, style, style.speed)

    def _speed(self, scene: Scene, pick: PickAndPlace, style: OperatorStyle) -> float:
        """Of the fastest motion: the style's own, or what is left of the time asks for, within the style's limits."""
        if not self.due:
            return style.speed
        asked = pace.left(scene, pick).speed(self._object_due - self._decided / self.hz)
        return min(max(asked, style.least_speed), style.speed)

    def _due_of(self, scene: Scene, pick: PickAndPlace) -> float:
        """Seconds at which this object is due: whoever can be slow shares the time that the fast objects leave."""
        if not self.due:
            return 0.0
        now, objects = self._decided / self.hz, range(part_of(pick) + 1, len(self.styles))
        fast = [i for i in objects if self._is_fast(i)]
        free = self.due - now - sum(pace.of_cube(scene, i).duration(pace.USUAL) for i in fast)
        slow = len(objects) - len(fast)
        if not self._is_fast(part_of(pick)):
            return now + free / (slow + 1)
        return now + (pace.left(scene, pick).duration(pace.USUAL) if slow else free)

    def _is_fast(self, index: int) -> bool:
        return self._style(index).least_speed >= FAST

    def _give_up(self) -> None:
        """Set the time, in decisions, until the operator is gone."""
        self._leaving = self._decisions(3.0, 5.0)

    def _leave(self, scene: Scene) -> Waypoint:
        """Back to the waiting place; first, what was set down is let go."""
        return Waypoint(scene.grip_position.copy() if self._setting_down else self._park, 0.0, OPEN)

    def _style(self, index: int) -> OperatorStyle:
        return self.styles[min(index, len(self.styles) - 1)]

    def _decisions(self, low: float, high: float) -> int:
        """A number of decisions that last between `low` and `high` seconds."""
        return max(1, round(self.rng.uniform(low, high) * self.hz))

    def _chance(self, probability: float) -> bool:
        return bool(self.rng.random() < probability)

    def _begin_object(self, pick: PickAndPlace) -> None:
        style, self._object, self._age = self._style(part_of(pick)), part_of(pick), 0
        self._stop_at = self._decisions(0.5, 4.0) if self._chance(style.give_up) else -1
        self._misplacing = None
        if self._chance(style.misplace):
            self._misplacing = np.array([self.rng.uniform(-0.05, 0.05), self.rng.uniform(-0.24, -0.18), 0.0])
        self._attempt = self._plan(pick, carrying=False)

    def _plan(self, pick: PickAndPlace, carrying: bool) -> Attempt:
        """The plan of the next reach or carry."""
        style, attempt = self._style(part_of(pick)), Attempt(carrying)
        if self._chance(style.pause):
            attempt.pause_at, attempt.pause_for = self._decisions(0.1, 1.0), self._decisions(0.3, 1.5)
        if self._chance(style.detour):
            angle = self.rng.uniform(0, 2 * np.pi)
            attempt.via = self.rng.uniform(0.06, 0.12) * np.array([np.cos(angle), np.sin(angle), 0.0])
        if carrying and self._chance(style.drop):
            attempt.let_go_at = self.rng.uniform(0.10, 0.30)
        elif carrying and self._chance(style.early_release):
            attempt.let_go_at = self.rng.uniform(0.06, 0.14)
        attempt.missing = not carrying and self._chance(style.miss)
        return attempt

    def _next_waypoint(self, scene: Scene, pick: PickAndPlace, style: OperatorStyle) -> Waypoint | None:
        """The waypoint of this operator; None: stand still."""
        if self._releasing > 0:
            self._releasing -= 1
            return Waypoint(scene.grip_position.copy(), 0.0, OPEN)
        carrying = holds(scene, pick)
        if carrying != self._attempt.carrying:
            self._attempt = self._plan(pick, carrying)
        attempt = self._attempt
        attempt.age += 1
        if attempt.pause_at <= attempt.age < attempt.pause_at + attempt.pause_for:
            return None
        if carrying:
            return self._carry(scene, pick)
        return self._miss(scene, pick, style) if attempt.missing else self._with_detour(scene, waypoint(scene, pick))

    def _carry(self, scene: Scene, pick: PickAndPlace) -> Waypoint:
        attempt, position, short = self._attempt, led(scene, pick), self._style(part_of(pick)).short
        if short:
            return self._set_down(scene, replace(pick, goal=pick.goal - [0.0, short, 0.0], delivered=False))
        if self._misplacing is not None and not pick.delivered:
            pick = replace(pick, goal=pick.goal + self._misplacing)
            if np.linalg.norm((pick.goal - position)[:2]) < 0.03:
                self._give_up()
        target = waypoint(scene, pick)
        lifted = position[2] > pick.height - 0.06
        if lifted and np.linalg.norm(pick.goal - position) < attempt.let_go_at:
            attempt.let_go_at, self._releasing = 0.0, self._decisions(0.5, 0.7)
            return Waypoint(scene.grip_position.copy(), 0.0, OPEN)
        return self._with_detour(scene, target)

    def _set_down(self, scene: Scene, pick: PickAndPlace) -> Waypoint:
        """The way to where this operator leaves the object; once it stands there, give up."""
        target, above = waypoint(scene, pick), scene.position(pick.index)[2] - pick.goal[2]
        if target.gripper == OPEN and above < 0.01:
            self._setting_down = self._decisions(0.5, 0.6)
            self._give_up()
        return target

    def _with_detour(self, scene: Scene, target: Waypoint) -> Waypoint:
        """A detour while there is time for it: a point beside the straight way, at the same height."""
        attempt = self._attempt
        far = np.linalg.norm((target.position - scene.grip_position)[:2]) > 0.03
        if attempt.via is None or not far or attempt.age > 1.2 * self.hz:
            attempt.via = None if attempt.age > 1.2 * self.hz else attempt.via
            return target
        return replace(target, position=target.position + attempt.via)

    def _miss(self, scene: Scene, pick: PickAndPlace, style: OperatorStyle) -> Waypoint:
        """Reach beside the object, where the fingers pass it; close on nothing; rise; then try once more."""
        attempt, axis = self._attempt, nearest_axis(scene, pick.axes)
        side = style.miss_offset * np.array([np.sin(axis), -np.cos(axis), 0.0])
        aimed = replace(pick, grasp=pick.grasp + side, delivered=False, width=0.0)
        target = waypoint(scene, aimed)
        if target.gripper == CLOSE or attempt.closed_for:
            attempt.closed_for += 1
            target = replace(target, position=aimed.grasp, gripper=CLOSE)
        if attempt.closed_for > 0.6 * self.hz:
            target = replace(target, position=aimed.grasp + [0, 0, HOVER])
        if attempt.closed_for > 1.1 * self.hz:
            self._attempt = self._plan(pick, carrying=False)
        return target
