"""Recording a demonstrator of one's own, in this process: any task, any function of what it sees."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from robo_orl.base.episode import Episode
from robo_orl.base.errors import RunError, UsageError
from robo_orl.base.seeds import derive_seed
from robo_orl.config import TaskConfig, View
from robo_orl.data import hdf5_schema as layout
from robo_orl.data.hdf5 import write_file
from robo_orl.data.info import FileSummary, describe
from robo_orl.envs.making import make_env
from robo_orl.envs.start_states import training_seed

REGIME = "own"
Demonstrator = Callable[[dict[str, np.ndarray], Any], np.ndarray | None]


def record_own(
    task: TaskConfig, demonstrator: Demonstrator, episodes: int, out: Path, seed: int = 0, view: View | None = None
) -> FileSummary:
    """Let a demonstrator work from `episodes` training start states of the task, and write what it did.

    demonstrator: (observation, environment) -> action (A,) within [-1, 1], or None where it has left. observation: key
    -> (D,); environment: the object behind the task, gymnasium's or robosuite's, for those that see more. Its episode
    also ends with success, where the environment ends it, and at the time limit. view: default that of the task.

    Raises UsageError where `out` exists, and RunError for an action of another size or that is not finite.
    """
    out, view = Path(out), view or task.view
    if out.exists():
        raise UsageError(f"{out} exists; choose another file or delete it.")
    env = make_env(task)
    try:
        made = layout.Provenance(
            task=task, regime=REGIME, seed=seed, episodes=episodes, loop=env.loop, next_obs=False,
            versions=layout.versions(), view=view, render=_fingerprint(env, view),
        )  # fmt: skip
        write_file(out, made, env.env_args(), _episodes(env, task, demonstrator, episodes, seed, view))
    finally:
        env.close()
    return describe(out)


def _fingerprint(env: Any, view: View | None) -> dict[str, Any] | None:
    return None if view is None else env.fingerprint(view)


def _episodes(
    env: Any, task: TaskConfig, demonstrator: Demonstrator, episodes: int, seed: int, view: View | None
) -> Iterator[Episode]:
    for index in range(episodes):
        start = env.draw_start(training_seed(task, seed, index))
        episode = _recorded(env, start, demonstrator, view)
        episode.start, episode.seed, episode.start_entry = index, derive_seed("own", seed, index), start.entry
        yield episode


def _recorded(env: Any, start: Any, demonstrator: Demonstrator, view: View | None) -> Episode:
    has_states = hasattr(env, "state")
    observations, states, actions, steps = [env.reset(start)], [], [], []
    seen = [env.see(view)] if view else []
    model = env.model_xml() if has_states else ""
    while not steps or not (steps[-1].terminated or steps[-1].truncated):
        action = demonstrator(observations[-1], env.environment)
        if action is None:
            break
        actions.append(_checked(action, env.action_dim))
        states.append(env.state() if has_states else np.empty(0))
        steps.append(env.step(actions[-1]))
        observations.append(steps[-1].obs)
        seen += [env.see(view)] if view else []
    if not steps:
        raise RunError("The demonstrator left before its first action: an episode needs one.")
    stacked = {key: np.stack([obs[key] for obs in observations]) for key in env.spec}  # (T + 1, D)
    success = bool(steps[-1].stages[-1])
    return Episode(
        obs={key: values[:-1] for key, values in stacked.items()},
        next_obs={key: values[1:] for key, values in stacked.items()},
        actions=np.array(actions),
        rewards=np.array([step.reward for step in steps], np.float32),
        dones=np.array([step.terminated for step in steps], np.uint8),
        states=np.array(states),
        stages=np.array([step.stages for step in steps], np.uint8),
        success=success,
        operator=REGIME,
        grade="",
        start=-1,
        model_xml=model,
        images={key: np.stack([pictures[key] for pictures in seen[:-1]]) for key in (seen[0] if view else ())},
        last_images={key: seen[-1][key] for key in (seen[0] if view else ())},
        ended=bool(steps[-1].terminated) and not success,
    )


def _checked(action: Any, size: int) -> np.ndarray:
    """(A,) float32: the action that is stored is the one that is carried out."""
    values = np.asarray(action, np.float32)
    if values.shape != (size,) or not np.isfinite(values).all():
        raise RunError(f"The demonstrator gave an action of shape {values.shape}: give {size} finite numbers.")
    return np.clip(values, -1.0, 1.0)
