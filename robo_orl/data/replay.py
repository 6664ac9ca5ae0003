"""Replaying a file: do the stored actions, from the stored start, lead through the stored states to the same end?"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track

from robo_orl.base.text import as_label
from robo_orl.config import Loop, TaskConfig
from robo_orl.data import hdf5_schema as layout
from robo_orl.data.recording import open_recordings, read_recording
from robo_orl.rollout.pool import work_through
from robo_orl.rollout.process import Work


@dataclass(frozen=True, slots=True)
class ReplayedEpisode:
    """One episode. recorded: its stored success, None where the file does not say.

    max_state_difference: the largest between a stored simulator state and the one that the replay met (metres,
    radians, and their rates; 0 = bit-equal).
    """

    demo: str
    recorded: bool | None
    replayed: bool
    max_state_difference: float
    loop: str


@dataclass(frozen=True, slots=True)
class Replay:
    """The replayed episodes of a file, with the software of the recording and of the replay."""

    path: str
    task: str
    rows: list[ReplayedEpisode]
    recorded_with: dict[str, str]
    replayed_with: dict[str, str]
    notes: list[str]

    def to_json(self) -> dict[str, Any]:
        """Counts, then the episodes."""
        return {
            "path": self.path,
            "task": self.task,
            "episodes": len(self.rows),
            "recorded_success_k": sum(bool(row.recorded) for row in self.rows),
            "replayed_success_k": sum(row.replayed for row in self.rows),
            "success_n": len(self.rows),
            "bit_equal_k": sum(row.max_state_difference == 0 for row in self.rows),
            "max_state_difference": max(row.max_state_difference for row in self.rows),
            "recorded_with": self.recorded_with,
            "replayed_with": self.replayed_with,
            "rows": [asdict(row) for row in self.rows],
        } | ({"notes": self.notes} if self.notes else {})


def replay(
    path: Path | str,
    episodes: int | None = None,
    workers: int | None = None,
    loop: Loop = "exact",
    progress: bool = True,
    task: TaskConfig | None = None,
    accept_mismatch: bool = False,
) -> Replay:
    """Restore each episode's start and replay its actions.

    episodes: only the first so many. task: of a file of other software; its episodes begin at their first state.
    Raises UsageError for a file without states or actions, and for one of another environment than the task's.
    """
    path = Path(path)
    source = open_recordings(path, task, accept_mismatch)
    names = source.names[:episodes]
    finished = work_through(names, partial(_replayer, path, source.task, loop), workers, "Replaying {}".format)
    if progress:
        finished = track(finished, as_label(source.task.name), total=len(names), console=Console(stderr=True))
    results = {replayed.item: replayed.result for replayed in finished}
    made = source.made
    return Replay(
        path=str(path),
        task=source.task.name,
        rows=[ReplayedEpisode(name, **results[name]) for name in names],
        recorded_with=made.versions | {"loop": made.loop} if made else {},
        replayed_with=layout.versions() | {"loop": results[names[0]]["loop"]},
        notes=source.notes,
    )


def _replayer(path: Path, task: TaskConfig, loop: Loop) -> Work:
    """The work of one process, in one environment: replay an episode."""
    from robo_orl.envs.task_env import TaskEnv

    env = TaskEnv(task, loop)

    def work(name: str) -> dict[str, Any]:
        recording = read_recording(path, name)
        recording.begin(env)
        difference, replayed = 0.0, False
        for state, action in zip(recording.states, recording.actions, strict=True):
            difference = max(difference, float(np.abs(env.state() - state).max()))
            replayed |= env.step(action).terminated
        return {
            "recorded": recording.success,
            "replayed": bool(replayed),
            "max_state_difference": difference,
            "loop": env.loop,
        }

    return work
