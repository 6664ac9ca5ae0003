"""The view of a simulator that stages and experts use: gripper, objects and contacts, from its state alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from robosuite.environments.manipulation.manipulation_env import ManipulationEnv


class Scene:
    """The objects of a task, in the task's order, and one gripper, in the simulation that `env` has now.

    Holds indices and views of the engine's memory; values are read from it at each call. robot: whose gripper it is.
    hands: the scene as each robot's gripper has it, in order.
    """

    def __init__(self, env: ManipulationEnv, object_names: list[str], robot: int = 0):
        self.env, self.names, self.robot = env, object_names, robot
        self.hands = [self]
        for other in range(1, len(env.robots)) if robot == 0 else ():
            self.hands.append(Scene(env, object_names, other))
        for hand in self.hands[1:]:
            hand.hands = self.hands
        model, data, gripper = env.sim.model, env.sim.data._data, env.robots[robot].gripper["right"]
        self._data, self._geom_pos = data, data.geom_xpos
        self._site_pos, self._site_mat = data.site_xpos, data.site_xmat
        self._body_pos, self._body_mat = data.xpos, data.xmat
        objects = {obj.name: obj for obj in env.model.mujoco_objects}
        self._bodies = np.array([model.body_name2id(objects[name].root_body) for name in object_names])
        self._object_of_geom = np.full(model.ngeom, -1)
        for index, name in enumerate(object_names):
            self._object_of_geom[_geom_ids(model, objects[name].contact_geoms)] = index
        self._finger_of_geom = np.zeros(model.ngeom, dtype=np.int64)  # 1 and 2: pads; 3: the rest of the gripper
        self._finger_of_geom[_geom_ids(model, gripper.contact_geoms)] = 3
        pads = (gripper.important_geoms.get(f"{side}_fingerpad", ()) for side in ("left", "right"))  # a sponge has none
        self._pads = [_geom_ids(model, names) for names in pads]
        for number, pad in enumerate(self._pads, start=1):
            self._finger_of_geom[pad] = number
        self._grip_site = model.site_name2id(gripper.important_sites["grip_site"])
        base = data.xmat[model.body_name2id(env.robots[robot].robot_model.root_body)].reshape(3, 3)
        self.base_yaw = float(np.arctan2(base[1, 0], base[0, 0]))

    @property
    def grip_position(self) -> np.ndarray:
        """(3,) metres: the point between the finger tips."""
        return self._site_pos[self._grip_site]

    @property
    def tool_axis(self) -> np.ndarray:
        """(3,) unit vector along which the hand points."""
        return self._site_mat[self._grip_site].reshape(3, 3)[:, 2]

    @property
    def hand_rotation(self) -> np.ndarray:
        """(3, 3): the axis along which the fingers move, the hand's front, and the axis along which it points."""
        return self._site_mat[self._grip_site].reshape(3, 3)

    @property
    def finger_vector(self) -> np.ndarray:
        """(3,) metres: from one finger pad to the other."""
        left, right = (self._geom_pos[pad[0]] for pad in self._pads)
        return right - left

    def position(self, index: int) -> np.ndarray:
        """(3,) metres: the position of object `index`."""
        return self._body_pos[self._bodies[index]]

    def positions(self) -> np.ndarray:
        """(n, 3) metres."""
        return self._body_pos[self._bodies]

    def rotation(self, index: int) -> np.ndarray:
        """(3, 3): the axes of object `index` as columns."""
        return self._body_mat[self._bodies[index]].reshape(3, 3)

    def site(self, name: str) -> np.ndarray:
        """(3,) metres: the position of a site of the model."""
        return self._site_pos[self.env.sim.model.site_name2id(name)]

    def geom(self, name: str) -> np.ndarray:
        """(3,) metres: the position of a geom of the model."""
        return self._geom_pos[self.env.sim.model.geom_name2id(name)]

    def yaw(self, index: int) -> float:
        """Radians: the heading of the object's x axis, seen from above."""
        rotation = self.rotation(index)
        return float(np.arctan2(rotation[1, 0], rotation[0, 0]))

    def _contacts(self) -> tuple[np.ndarray, np.ndarray]:
        """Per contact between the gripper and an object: (object, part of the gripper)."""
        pairs = self._data.contact.geom[: self._data.ncon]
        objects, parts = self._object_of_geom[pairs], self._finger_of_geom[pairs]
        first = (objects[:, 0] >= 0) & (parts[:, 1] > 0)
        second = (objects[:, 1] >= 0) & (parts[:, 0] > 0)
        return (
            np.concatenate((objects[first, 0], objects[second, 1])),
            np.concatenate((parts[first, 1], parts[second, 0])),
        )

    def touched(self) -> np.ndarray:
        """(n,) bool: the objects that the gripper touches."""
        touched = np.zeros(len(self.names), dtype=bool)
        touched[self._contacts()[0]] = True
        return touched

    def held(self) -> np.ndarray:
        """(n,) bool: the objects that both finger pads touch."""
        pads = np.zeros((len(self.names), 4), dtype=bool)
        pads[self._contacts()] = True
        return pads[:, 1] & pads[:, 2]


def _geom_ids(model: object, names: list[str]) -> list[int]:
    return [model.geom_name2id(name) for name in names]
