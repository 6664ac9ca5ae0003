"""Whether the native loop and robosuite's own agree on this machine: bit-equality rests on its BLAS and CPU, too."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np

from robo_orl.envs.snapshot import capture, restore

STEPS = 3  # control steps, from the first, stale one on
TOLERANCE = {"exact": 0.0, "fast": 1e-6}  # largest difference of positions, velocities and controls


def difference(env: Any, native_step: Callable[[np.ndarray], None]) -> float:
    """The largest difference of qpos, qvel and ctrl over a few control steps both ways; `env` is left as it was."""
    entry = capture(env)
    buffers = [{k: copy.deepcopy(v) for k, v in vars(r).items() if k.startswith("recent_")} for r in env.robots]
    actions = np.random.default_rng(0).uniform(-1, 1, (STEPS, env.action_dim))
    runs = [_trajectory(env, entry, actions, step) for step in (lambda action: _stock_step(env, action), native_step)]
    restore(env, entry)
    for robot, saved in zip(env.robots, buffers, strict=True):
        vars(robot).update(saved)
    worst = float(np.abs(runs[0] - runs[1]).max())
    return worst if np.isfinite(worst) else np.inf


def _trajectory(env: Any, entry: dict, actions: np.ndarray, step: Callable[[np.ndarray], None]) -> np.ndarray:
    restore(env, entry)
    data, seen = env.sim.data, []
    for action in actions:
        step(action)
        seen.append(np.concatenate((data.qpos, data.qvel, data.ctrl)))
    return np.array(seen)


def _stock_step(env: Any, action: np.ndarray) -> None:
    """The physics of robosuite's env.step, without observations and reward."""
    for substep in range(int(env.control_timestep / env.model_timestep)):
        env.sim.step1()
        env._pre_action(action, substep == 0)
        env.sim.step2()
