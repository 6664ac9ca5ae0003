"""Sizes of what a shipped scene shows and takes, known without starting its simulator."""

from __future__ import annotations

from robo_orl.config import TaskConfig

ACTION_DIM = 7  # position 3, rotation vector 3, gripper 1: OSC_POSE of one arm
PROPRIOCEPTION = {"robot0_eef_pos": 3, "robot0_eef_quat": 4, "robot0_gripper_qpos": 2}
OBJECT_SIZES = {"chain": 74, "lift": 10, "can": 14, "square": 14, "stack": 23}  # of a scene's `object` observation


def observation_sizes(task: TaskConfig) -> dict[str, int] | None:
    """Low-dim key -> size of the scene of `task`; None for a scene from outside, whose sizes only its simulator knows.

    Dead time adds one number to `object`; chain always has it.
    """
    if task.env not in OBJECT_SIZES:
        return None
    flag = int(task.env != "chain" and task.padding > 0)
    return PROPRIOCEPTION | {"object": OBJECT_SIZES[task.env] + flag}
