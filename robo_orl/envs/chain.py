"""Chain: k cubes, each to be picked and placed in a marked zone in a fixed order. k changes the horizon, not the skill.

Cube i starts at the same distribution of poses for every k: all eight slots are drawn, k of them are used. The object
observation has the same size for every k: eight slots of [position, position relative to the gripper, present, placed].
"""

from __future__ import annotations

from typing import Any

import numpy as np
from robosuite.environments.manipulation.manipulation_env import ManipulationEnv
from robosuite.models.arenas import TableArena
from robosuite.models.objects import BoxObject
from robosuite.models.tasks import ManipulationTask
from robosuite.utils.mjcf_utils import array_to_string, new_element
from robosuite.utils.observables import Observable, sensor

from robo_orl.envs.chain_layout import (
    COLOURS,
    HALF,
    JITTER,
    MAX_CUBES,
    SLOT_SIZE,
    START_X,
    START_Y,
    TABLE_Z,
    YAW_JITTER,
    ZONE_CENTRE,
    ZONE_HALF,
)
from robo_orl.envs.scene import Scene


class Chain(ManipulationEnv):
    """A table, a flat zone that is marked and cannot be touched, and `cubes` coloured cubes of 4 cm."""

    def __init__(self, robots: str, cubes: int = 1, use_object_obs: bool = True, **kwargs: Any):
        self.cubes, self.use_object_obs = cubes, use_object_obs
        super().__init__(robots=robots, **_defaults() | kwargs)

    def reward(self, action: np.ndarray | None = None) -> float:
        """1 when every cube lies in the zone, else 0."""
        return float(self._check_success())

    def _load_model(self) -> None:
        super()._load_model()
        robot = self.robots[0].robot_model
        robot.set_base_xpos(robot.base_xpos_offset["table"](0.8))
        arena = TableArena(table_full_size=(0.8, 0.8, 0.05), table_offset=(0, 0, TABLE_Z))
        arena.set_origin([0, 0, 0])
        arena.worldbody.append(_zone_mark())
        self.cube_models = [_cube(i) for i in range(self.cubes)]
        self.model = ManipulationTask(arena, [robot], self.cube_models)

    def _setup_references(self) -> None:
        super()._setup_references()
        self.scene = Scene(self, [cube.name for cube in self.cube_models])

    def _reset_internal(self) -> None:
        super()._reset_internal()
        if self.deterministic_reset:
            return
        order = self.rng.permutation(MAX_CUBES)  # the same numbers are drawn for every k
        jitter = self.rng.uniform(-JITTER, JITTER, (MAX_CUBES, 2))
        yaw = self.rng.uniform(-YAW_JITTER, YAW_JITTER, MAX_CUBES)
        slots = np.array([(x, y) for x in START_X for y in START_Y])
        for i, cube in enumerate(self.cube_models):
            xy = slots[order[i]] + jitter[i]
            pose = [*xy, TABLE_Z + HALF, np.cos(yaw[i] / 2), 0, 0, np.sin(yaw[i] / 2)]
            self.sim.data.set_joint_qpos(cube.joints[0], np.array(pose))

    def in_zone(self) -> np.ndarray:
        """(k,) bool: the cubes that lie in the zone, on the table, whether or not the gripper touches them."""
        positions = self.scene.positions()
        inside = (np.abs(positions[:, :2] - ZONE_CENTRE) < ZONE_HALF).all(axis=1)
        return inside & (np.abs(positions[:, 2] - (TABLE_Z + HALF)) < 0.008)

    def placed(self) -> np.ndarray:
        """(k,) bool: the cubes that lie in the zone, on the table, released."""
        inside = self.in_zone()
        return inside & ~self.scene.touched() if inside.any() else inside  # contacts cost more

    def _check_success(self) -> bool:
        return bool(self.placed().all())

    def object_state(self) -> np.ndarray:
        """(64,): eight slots of [position, position relative to the gripper, present, placed]; absent cubes are 0."""
        state = np.zeros((MAX_CUBES, SLOT_SIZE))
        positions = self.scene.positions()
        state[: self.cubes, :3] = positions
        state[: self.cubes, 3:6] = positions - self.scene.grip_position
        state[: self.cubes, 6] = 1.0
        state[: self.cubes, 7] = self.placed()
        return state.ravel()

    def _setup_observables(self) -> dict[str, Observable]:
        observables = super()._setup_observables()
        if not self.use_object_obs:
            return observables

        @sensor(modality="object")
        def cubes(obs_cache: dict) -> np.ndarray:
            return self.object_state()

        observables["cubes"] = Observable(name="cubes", sensor=cubes, sampling_rate=self.control_freq)
        return observables


def _defaults() -> dict[str, Any]:
    """The arguments of a bare robosuite.make("Chain", robots="Panda"): states only, as in our tasks."""
    return {"has_offscreen_renderer": False, "use_camera_obs": False, "initialization_noise": "default"}


def _cube(index: int) -> BoxObject:
    return BoxObject(name=f"cube_{index + 1}", size=[HALF] * 3, rgba=[*COLOURS[index], 1.0], density=500)


def _zone_mark() -> Any:
    size = array_to_string(np.array([*ZONE_HALF, 0.0005]))
    pos = array_to_string(np.array([*ZONE_CENTRE, TABLE_Z + 0.0005]))
    look = {"rgba": "0.2 0.6 0.3 1", "group": "1", "contype": "0", "conaffinity": "0"}
    return new_element("geom", name="target_zone", type="box", size=size, pos=pos, mass="0", **look)
