"""Stages as expressions over the simulation: `position('cubeA')[2] > 0.85 and not touching('cubeA')`.

    position(NAME)         (3,) metres, of an object, body, site or geom
    distance(A, B)         metres between two of them
    joint(NAME)            position of a hinge (radians) or slide (metres)
    held(OBJECT)           both pads of one gripper touch it
    touching(A, B)         two objects touch; touching(A): a gripper touches it
    success()              the environment's own check

Beside these there are numbers, comparisons, and, or, not, + - * /, abs, min and max. Nothing else is carried out: an
expression is no program.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from robo_orl.base.errors import UsageError, unknown
from robo_orl.envs.scene import Scene

NODES = (
    *(ast.Expression, ast.BoolOp, ast.And, ast.Or, ast.UnaryOp, ast.Not, ast.USub, ast.Compare, ast.Lt, ast.LtE),
    *(ast.Gt, ast.GtE, ast.Eq, ast.NotEq, ast.BinOp, ast.Add, ast.Sub, ast.Mult, ast.Div, ast.Constant, ast.Call),
    *(ast.Name, ast.Load, ast.Subscript),
)
PLAIN = {"abs": abs, "min": min, "max": max}


def condition(text: str, where: str) -> Callable[[Scene], bool]:
    """The predicate of an expression.

    where: whose expression it is, for sentences. Raises UsageError where the text is no such expression; the predicate
    raises it where the scene has no such name.
    """
    try:
        tree = ast.parse(text, mode="eval")
    except SyntaxError as error:
        raise UsageError(f"{where} is no expression: '{text}' ({error.msg}).") from None
    for node in ast.walk(tree):
        if not isinstance(node, NODES) or isinstance(node, ast.Call) and (node.keywords or _called(node) is None):
            raise UsageError(
                f"{where}: '{ast.unparse(node)}' is not allowed in '{text}': take {', '.join(FUNCTIONS)}, numbers, "
                "comparisons, and, or, not."
            )
        if isinstance(node, ast.Name) and node.id not in FUNCTIONS | PLAIN.keys():
            raise unknown(f"function in {where}", node.id, FUNCTIONS)
    code = compile(tree, where, "eval")

    def holds(scene: Scene) -> bool:
        names = {name: _bound(function, scene) for name, function in FUNCTIONS.items()}
        try:
            return bool(eval(code, {"__builtins__": {}}, names | PLAIN))  # noqa: S307 of the nodes above alone
        except UsageError as error:
            raise UsageError(f"{where}: {error}") from None
        except (TypeError, ValueError, IndexError, ZeroDivisionError) as error:
            raise UsageError(f"{where} cannot be computed: '{text}' ({error}).") from None

    return holds


def _called(node: ast.Call) -> str | None:
    return node.func.id if isinstance(node.func, ast.Name) else None


def _bound(function: Callable, scene: Scene) -> Callable:
    return lambda *names: function(scene, *names)


# ------------------------------------------------------------------------------------------------------- the functions


def _position(scene: Scene, name: str) -> np.ndarray:
    data, known = scene.env.sim.data, _places(scene)
    if name not in known:
        raise unknown("object, body, site or geom of the scene", name, known)
    kind, index = known[name]
    return {"body": data.body_xpos, "site": data.site_xpos, "geom": data.geom_xpos}[kind][index]


def _places(scene: Scene) -> dict[str, tuple[str, int]]:
    """Name -> (kind, index) of everything that has a place; computed once per model."""
    model = scene.env.sim.model
    held = scene.__dict__.setdefault("_places", {})
    if not held:
        for kind, names, find in (
            ("geom", model.geom_names, model.geom_name2id),
            ("site", model.site_names, model.site_name2id),
            ("body", model.body_names, model.body_name2id),
        ):
            held.update({name: (kind, find(name)) for name in names if name})
        held.update({o.name: ("body", model.body_name2id(o.root_body)) for o in scene.env.model.mujoco_objects})
    return held


def _distance(scene: Scene, one: str, other: str) -> float:
    return float(np.linalg.norm(_position(scene, one) - _position(scene, other)))


def _joint(scene: Scene, name: str) -> float:
    model = scene.env.sim.model
    if name not in model.joint_names:
        raise unknown("joint of the scene", name, model.joint_names)
    value = np.atleast_1d(scene.env.sim.data.get_joint_qpos(name))
    if value.size != 1:
        raise UsageError(f"the joint '{name}' is no hinge or slide: take position('NAME') of what moves")
    return float(value[0])


def _object(scene: Scene, name: str) -> Any:
    objects = {thing.name: thing for thing in scene.env.model.mujoco_objects}
    if name not in objects:
        raise unknown("object of the scene", name, objects)
    return objects[name]


def _held(scene: Scene, name: str) -> bool:
    thing = _object(scene, name)
    return any(scene.env._check_grasp(gripper, thing) for robot in scene.env.robots for gripper in _grippers(robot))


def _touching(scene: Scene, one: str, *other: str) -> bool:
    thing = _object(scene, one)
    against: Iterable[Any] = [_object(scene, name) for name in other]
    if not other:
        against = [gripper for robot in scene.env.robots for gripper in _grippers(robot)]
    return any(scene.env.check_contact(thing, own) for own in against)


def _grippers(robot: Any) -> list[Any]:
    return [robot.gripper[arm] for arm in robot.arms if robot.has_gripper[arm]]


def _success(scene: Scene) -> bool:
    return bool(scene.env._check_success())


FUNCTIONS: dict[str, Callable] = {
    "position": _position,
    "distance": _distance,
    "joint": _joint,
    "held": _held,
    "touching": _touching,
    "success": _success,
}
