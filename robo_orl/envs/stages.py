"""The stages of every scene: named predicates over the simulator's state. A new stage is one function and one line."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from robo_orl.base.errors import RunError, UsageError, unknown
from robo_orl.base.plugins import with_plugins
from robo_orl.config import TaskConfig
from robo_orl.envs.conditions import condition
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


LID, HAMMER, START_BIN = 0, 1, 3  # of transport's objects


def lid_removed(scene: Scene) -> bool:
    """The lid's middle is beyond the walls of the bin that it lay on."""
    aside = np.abs(scene.position(LID)[:2] - scene.position(START_BIN)[:2]).max()
    return bool(aside > scene.env.bin_size[0] / 2)


def hammer_grasped(scene: Scene) -> bool:
    """Both finger pads of one hand touch the hammer."""
    return any(hand.held()[HAMMER] for hand in scene.hands)


def handed_over(scene: Scene) -> bool:
    """The second robot alone holds the hammer."""
    first, second = scene.hands
    return bool(second.held()[HAMMER] and not first.touched()[HAMMER])


def payload_placed(scene: Scene) -> bool:
    """The hammer lies on the bottom of its bin."""
    return bool(scene.env.transport.payload_in_target_bin)


def frame_inserted(scene: Scene) -> bool:
    """The frame stands in the upright stand: the first half of robosuite's own success."""
    return bool(scene.env._check_frame_assembled())


def tool_grasped(scene: Scene) -> bool:
    """Both finger pads touch the tool."""
    return bool(scene.held()[1])


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
    "transport": {
        "lid_removed": lid_removed,
        "hammer_grasped": hammer_grasped,
        "handed_over": handed_over,
        "payload_placed": payload_placed,
        "trash_binned": succeeded,
    },
    "tool_hang": {
        "frame_grasped": grasped,
        "frame_inserted": frame_inserted,
        "tool_grasped": tool_grasped,
        "tool_hung": succeeded,
    },
    "chain": {f"cube_{i}_placed": cubes_placed(i) for i in range(1, 9)},
}


FUNCTIONS: dict[str, Predicate] = with_plugins({}, "stages", Callable)  # of other packages, each for any scene


def _guarded(name: str, function: Predicate) -> Predicate:
    """A stage of another package, whose errors name it."""

    def holds(scene: Scene) -> bool:
        try:
            return bool(function(scene))
        except (UsageError, RunError):
            raise
        except Exception as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            where = f"{function.__module__}:{getattr(function, '__name__', name)}"
            raise RunError(f"The stage '{name}' ({where}) cannot be computed: {reason}; mend that function.") from error

    return holds


def predicates(task: TaskConfig) -> list[Predicate]:
    """The predicates that the task names, in its order.

    Raises:
        UsageError: a scene or a stage that does not exist.
    """
    own = scene_entry(task).stages
    known = STAGES.get(task.env, {"success": succeeded}) if own is None else own
    for name, text in task.conditions.items():
        if name in known:
            raise UsageError(f"Task {task.name}: conditions has the stage '{name}', which its scene has: rename it.")
        known = known | {name: condition(text, f"conditions.{name} of task {task.name}")}
    for name in (name for name in task.stages if name in FUNCTIONS):
        if name in known:
            raise UsageError(
                f"Task {task.name}: its scene or its conditions have the stage '{name}', and so has an installed "
                "package: rename one of them."
            )
        known = known | {name: _guarded(name, FUNCTIONS[name])}
    for name in task.stages:
        if name not in known:
            raise unknown(f"stage of task {task.name}", name, [*known, *FUNCTIONS])
    return [known[name] for name in task.stages]
