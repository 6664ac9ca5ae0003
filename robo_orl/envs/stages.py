"""The stages of every scene: named predicates over the simulator's state. A new stage is one function and one line."""

from __future__ import annotations

from collections.abc import Callable

from robo_orl.base.errors import unknown
from robo_orl.config import TaskConfig
from robo_orl.envs.registry import scene_entry
from robo_orl.envs.scene import Scene

Predicate = Callable[[Scene], bool]
LIFTED = 0.04  # metres above where the object lay


def grasped(scene: Scene) -> bool:
    """Both finger pads touch the first object."""
    return bool(scene.held()[0])


def succeeded(scene: Scene) -> bool:
    """robosuite's own success of the scene."""
    return bool(scene.env._check_success())


def can_lifted(scene: Scene) -> bool:
    """The can is held and clear of its bin's wall."""
    return grasped(scene) and scene.position(0)[2] > scene.env.bin1_pos[2] + 0.12


def nut_lifted(scene: Scene) -> bool:
    """The nut is held and clear of the table."""
    return grasped(scene) and scene.position(0)[2] > scene.env.table_offset[2] + LIFTED


def cube_lifted(scene: Scene) -> bool:
    """The upper cube is held and clear of the table."""
    return grasped(scene) and scene.position(0)[2] > scene.env.table_offset[2] + LIFTED


def cubes_placed(count: int) -> Predicate:
    """The first `count` cubes lie in the zone, released: a stage of chain needs all before it to hold still."""

    def placed(scene: Scene) -> bool:
        return bool(scene.env.placed()[:count].all())

    return placed


STAGES: dict[str, dict[str, Predicate]] = {
    "lift": {"grasped": grasped, "lifted": succeeded},
    "can": {"grasped": grasped, "lifted": can_lifted, "placed": succeeded},
    "square": {"grasped": grasped, "lifted": nut_lifted, "on_peg": succeeded},
    "stack": {"grasped": grasped, "lifted": cube_lifted, "stacked": succeeded},
    "chain": {f"cube_{i}_placed": cubes_placed(i) for i in range(1, 9)},
}


def predicates(task: TaskConfig) -> list[Predicate]:
    """The predicates that the task names, in its order.

    Raises:
        UsageError: a scene or a stage that does not exist.
    """
    own = scene_entry(task).stages
    known = STAGES[task.env] if own is None else own
    for name in task.stages:
        if name not in known:
            raise unknown(f"stage of task {task.name}", name, known)
    return [known[name] for name in task.stages]
