"""Replaying a file: do the stored actions, from the stored start, lead through the stored states to the same end?"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track

from robo_orl.base.errors import UsageError
from robo_orl.config import Loop, TaskConfig
from robo_orl.data import hdf5_schema as layout
from robo_orl.data.hdf5 import read_episode
from robo_orl.data.validate import faults
from robo_orl.rollout.pool import work_through
from robo_orl.rollout.process import Work


def replay(
    path: Path | str,
    episodes: int | None = None,
    workers: int | None = None,
    loop: Loop = "exact",
    progress: bool = True,
) -> dict[str, Any]:
    """Restore each episode's start and replay its actions; recorded and replayed success as k and n.

    episodes: only the first so many. Per episode: recorded and replayed success, and the largest difference between a
    stored simulator state and the one that the replay met (metres, radians, and their rates; 0 = bit-equal).
    Raises UsageError for a broken file and for one that does not say how its episodes started.
    """
    path = Path(path)
    made, names = replayable(path)
    names = names[:episodes]
    finished = work_through(names, partial(_replayer, path, made.task, loop), workers, "Replaying {}".format)
    if progress:
        finished = track(finished, made.task.name, total=len(names), console=Console(stderr=True))
    results = {replayed.item: replayed.result for replayed in finished}
    rows = [{"demo": name} | results[name] for name in names]
    return {
        "path": str(path),
        "task": made.task.name,
        "episodes": len(rows),
        "recorded_success_k": sum(row["recorded"] for row in rows),
        "replayed_success_k": sum(row["replayed"] for row in rows),
        "success_n": len(rows),
        "bit_equal_k": sum(row["max_state_difference"] == 0 for row in rows),
        "max_state_difference": max(row["max_state_difference"] for row in rows),
        "recorded_with": made.versions | {"loop": made.loop},
        "replayed_with": layout.versions() | {"loop": rows[0]["loop"]},
        "rows": rows,
    }


def replayable(path: Path) -> tuple[layout.Provenance, list[str]]:
    """Who made the file and the names of its demos."""
    found = faults(path)
    if found:
        raise UsageError(f"{path} is broken: {found[0].rstrip('.')}; `robo-orl data validate` names every fault.")
    with layout.open_hdf5(path) as file:
        made, names = layout.provenance(file), layout.demo_names(file)
        if made is None or any("start" not in file["data"][name] for name in names):
            raise UsageError(f"{path} does not say how its episodes started; only files made here replay.")
    return made, names


def _replayer(path: Path, task: TaskConfig, loop: Loop) -> Work:
    """The work of one process, in one environment: replay an episode."""
    from robo_orl.envs.start_states import StartState
    from robo_orl.envs.task_env import TaskEnv

    env = TaskEnv(task, loop)

    def work(name: str) -> dict[str, Any]:
        with layout.open_hdf5(path) as file:
            episode = read_episode(file["data"][name])
        env.reset(StartState(episode.start_entry, episode.start))
        difference, replayed = 0.0, False
        for state, action in zip(episode.states, episode.actions, strict=True):
            difference = max(difference, float(np.abs(env.state() - state).max()))
            replayed |= env.step(action).terminated
        return {
            "recorded": bool(episode.success),
            "replayed": bool(replayed),
            "max_state_difference": difference,
            "loop": env.loop,
        }

    return work
