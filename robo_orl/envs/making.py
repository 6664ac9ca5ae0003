"""The environment of any task: a scene of robosuite, or a class of another package."""

from __future__ import annotations

from typing import TYPE_CHECKING

from robo_orl.config import Loop, TaskConfig
from robo_orl.envs.registry import is_own

if TYPE_CHECKING:
    from robo_orl.envs.gym_env import GymEnv
    from robo_orl.envs.task_env import TaskEnv


def make_env(task: TaskConfig, loop: Loop = "exact", keys: tuple[str, ...] = ()) -> TaskEnv | GymEnv:
    """A new environment of the task; loop, keys: as TaskEnv has them, and of no meaning elsewhere.

    Raises UsageError where the task cannot be made.
    """
    if is_own(task):
        from robo_orl.envs.gym_env import GymEnv

        return GymEnv(task)
    from robo_orl.envs.task_env import TaskEnv

    return TaskEnv(task, loop, keys)
