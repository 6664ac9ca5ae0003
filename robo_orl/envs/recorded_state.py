"""Simulator states that other software stored, put into a scene: first what a reset drew, from the model's text.

A stored state [time, qpos, qvel] holds neither what the controllers remember nor the sizes and fixed places that a
reset drew. The controllers are begun anew at the state; the sizes of boxes, and the places of objects that stand fixed
with a part that moves (a door in its frame), are read from the XML that robosuite and robomimic keep.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from xml.etree import ElementTree

import mujoco
import numpy as np

from robo_orl.base.errors import UsageError


def box_sizes(model_xml: str) -> dict[str, np.ndarray]:
    """Geom name -> half edges (3,) metres of every box in a MuJoCo XML; empty where the text is none."""
    boxes = (geom for geom in _elements(model_xml, "geom", "name", "size") if geom.get("type") == "box")
    return {geom.get("name"): _numbers(geom.get("size")) for geom in boxes}


def body_places(model_xml: str) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Body name -> position (3,) metres and quaternion (4,) in its parent; empty where the text is none."""
    bodies = _elements(model_xml, "body", "name", "pos")
    return {body.get("name"): (_numbers(body.get("pos")), _numbers(body.get("quat", "1 0 0 0"))) for body in bodies}


def _elements(model_xml: str, tag: str, *attributes: str) -> Iterator[ElementTree.Element]:
    """The elements of a MuJoCo XML that have these attributes."""
    try:
        tree = ElementTree.fromstring(model_xml)
    except ElementTree.ParseError:
        return
    yield from (element for element in tree.iter(tag) if all(element.get(name) for name in attributes))


def _numbers(text: str) -> np.ndarray:
    return np.array(text.split(), dtype=np.float64)


def set_fixed_places(env: Any, places: dict[str, tuple[np.ndarray, np.ndarray]]) -> None:
    """Put objects that stand fixed and have joints inside, as a door in its frame, where a recording has them.

    places: by the name of the object or of its root body, which differ between versions of robosuite.
    """
    model = env.sim.model._model
    for thing in env.model.mujoco_objects:
        body = env.sim.model.body_name2id(thing.root_body)
        place = places.get(thing.root_body, places.get(thing.name))
        if thing.joints and model.body_jntnum[body] == 0 and place is not None:
            model.body_pos[body], model.body_quat[body] = place


def set_box_sizes(env: Any, sizes: dict[str, np.ndarray]) -> None:
    """Give the task's boxes the sizes of a recording, with the mass and inertia of the same material."""
    model, data = env.sim.model._model, env.sim.data._data
    changed = False
    for thing in env.model.mujoco_objects:
        for name in (n for n in (*thing.contact_geoms, *thing.visual_geoms) if n in sizes):
            geom = env.sim.model.geom_name2id(name)
            if model.geom_type[geom] == mujoco.mjtGeom.mjGEOM_BOX and not np.array_equal(
                model.geom_size[geom], sizes[name]
            ):
                _resize(model, geom, sizes[name], heavy=name in thing.contact_geoms)
                changed = True
    if changed:
        mujoco.mj_setConst(model, data)


def _resize(model: Any, geom: int, size: np.ndarray, heavy: bool) -> None:
    if heavy:
        body, volume = model.geom_bodyid[geom], float(np.prod(model.geom_size[geom]))
        mass = model.body_mass[body] * float(np.prod(size)) / volume
        squares = size**2
        model.body_mass[body] = mass
        model.body_inertia[body] = mass / 3 * (squares.sum() - squares)
    model.geom_size[geom] = size
    model.geom_rbound[geom] = np.linalg.norm(size)
    model.geom_aabb[geom, 3:] = size
    body = model.geom_bodyid[geom]
    first = model.body_bvhadr[body]
    for row in range(first, first + model.body_bvhnum[body]):
        model.bvh_aabb[row, 3:] = size


def begin_at(env: Any, state: np.ndarray, model_xml: str) -> None:
    """Begin an episode of a robosuite environment at `state` (Z,), the controllers at rest there.

    model_xml: the scene of the recording. Raises UsageError where the state belongs to a scene of another size.
    """
    check_size(env, state)
    set_box_sizes(env, box_sizes(model_xml))
    set_fixed_places(env, body_places(model_xml))
    mujoco.mj_resetData(env.sim.model._model, env.sim.data._data)
    env.sim.set_state_from_flattened(state)
    env.sim.forward()
    for robot in env.robots:
        for arm in robot.arms:
            controller = robot.part_controllers[arm]
            controller.update_initial_joints(env.sim.data.qpos[robot._ref_joint_pos_indexes[: controller.joint_dim]])
            controller.reset_goal()
            if controller.name == "JOINT_VELOCITY":  # robosuite makes new controllers at a reset, with no past error
                controller.last_err = np.zeros(controller.joint_dim)
                controller.summed_err = np.zeros(controller.joint_dim)
                controller.saturated = False
                controller.derr_buf.clear()
            if robot.has_gripper[arm]:
                hand = robot.gripper[arm]
                hand.current_action = np.zeros(hand.dof)
                robot.part_controllers[robot.get_gripper_name(arm)].new_update = True
        robot.composite_controller.update_state()
    env.timestep, env.cur_time, env.done = 0, 0.0, False
    for observable in env._observables.values():
        observable.reset()
    sense(env)


def sense(env: Any, first: bool = True) -> None:
    """Sample every observable at the present state.

    first: of an episode. After it a sensor that reads another one's last sample has that of the state before, as while
    an environment steps: robosuite samples where an object is from the hand before where the hand is.
    """
    if first:
        env._obs_cache = {}
    env._update_observables(force=True)


def check_size(env: Any, state: np.ndarray) -> None:
    """UsageError where a flattened state (Z,) is not one of this scene."""
    expected = 1 + env.sim.model.nq + env.sim.model.nv
    if state.shape != (expected,):
        raise UsageError(
            f"The stored states hold {state.size} numbers, and the scene {type(env).__name__} has {expected}: they "
            "were recorded in another scene or with another robot."
        )
