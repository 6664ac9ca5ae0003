"""Sizes of the observation and the action of a scene, known without starting its simulator."""

from __future__ import annotations

from robo_orl.config import TaskConfig
from robo_orl.envs.registry import SCENES

ACTION_DIM = 7  # position 3, rotation vector 3, gripper 1: OSC_POSE of one arm
PROPRIOCEPTION = {"robot0_eef_pos": 3, "robot0_eef_quat": 4, "robot0_gripper_qpos": 2}


def observation_sizes(task: TaskConfig) -> dict[str, int] | None:
    """Low-dim key -> size of the scene of `task`; None for a scene that does not declare its size in the registry.

    Dead time adds one number to `object`; chain always has it.
    """
    size = SCENES[task.env].object_size if task.env in SCENES else None
    if size is None:
        return None
    flag = int(task.env != "chain" and task.padding > 0)
    return PROPRIOCEPTION | {"object": size + flag}
