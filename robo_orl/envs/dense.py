"""Shaped rewards of a scene's present state: robosuite's own where it has one, and a hand-made one for chain.

Tasks here are rewarded for success or stages; these numbers are what an engineer would write beside them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from robo_orl.base.errors import UsageError

if TYPE_CHECKING:
    from robo_orl.envs.task_env import TaskEnv

REACH, GRASP, LIFT, CARRY = 0.3, 0.1, 0.2, 0.4  # the parts of one cube's reward, which sum to 1
STEEPNESS = 10.0  # a metre, of tanh: as robosuite's
RAISED = 0.04  # metres


def dense_reward(env: TaskEnv) -> float:
    """The shaped reward of the state that the environment is in, at most 1.

    Raises:
        UsageError: the scene has no shaped reward.
    """
    simulator = env._env
    if env.task.env == "chain":
        return chain_reward(env)
    if not hasattr(simulator, "reward_shaping"):
        raise UsageError(f"The scene {env.task.env} has no shaped reward: take one of success bits or stages.")
    simulator.reward_shaping = True
    return float(type(simulator).reward(simulator))


def chain_reward(env: TaskEnv) -> float:
    """The share of the cubes that lie in the zone, and what is done of the next one: reached, held, raised, carried."""
    scene, placed = env.scene, env._env.placed()
    cubes = len(placed)
    done = int(np.argmin(placed)) if not placed.all() else cubes  # in order: a later cube does not count yet
    if done == cubes:
        return 1.0
    from robo_orl.envs.chain_layout import TABLE_Z, ZONE_CENTRE

    position = scene.position(done)
    reached = 1.0 - np.tanh(STEEPNESS * np.linalg.norm(position - scene.grip_position))
    held = bool(scene.held()[done])
    raised = np.clip((position[2] - TABLE_Z) / RAISED, 0.0, 1.0) if held else 0.0
    carried = 1.0 - np.tanh(STEEPNESS / 2 * np.linalg.norm(position[:2] - ZONE_CENTRE)) if held else 0.0
    part = REACH * reached + GRASP * held + LIFT * raised + CARRY * carried
    return float((done + part) / cubes)
