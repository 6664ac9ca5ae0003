"""The episodes that a run collected, as a robomimic HDF5 file.

A replay holds what learning needs, pictures included. What a data file has beyond that (states, scenes, starts) comes
from playing every episode once more from its start, action for action; an observation that differs from the replay's
ends the export.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from robo_orl.base.episode import Episode
from robo_orl.base.errors import RunError, UsageError
from robo_orl.base.files import file_sha256
from robo_orl.config import Loop, TaskConfig
from robo_orl.data import hdf5_schema as layout
from robo_orl.data.hdf5 import write_file
from robo_orl.data.info import WrittenFile, describe
from robo_orl.engine.run_folder import read_run
from robo_orl.online.replay import Replay, stored_replay
from robo_orl.rollout.pool import work_through
from robo_orl.rollout.process import Work


@dataclass(frozen=True)
class Played:
    """One episode to be played once more. folder: of the replay; first: its first row."""

    folder: Path
    number: int
    first: int


def export_replay(run_dir: Path, out: Path, workers: int | None = None) -> WrittenFile:
    """Write the collected episodes of a run to `out`, failures and successes, with their rewards.

    Raises UsageError where the run collected nothing or `out` is there; RunError where the simulator plays another
    episode than the one collected, or the disk is full.
    """
    run, folder = read_run(run_dir), run_dir / "replay"
    if not (folder / "request.json").exists():
        raise UsageError(f"{run_dir} has collected no episodes; `robo-orl online` makes such a run.")
    if out.exists():
        raise UsageError(f"{out} exists; choose another --out.")
    replay = stored_replay(folder)
    lengths = [episode.length for episode in replay.episodes]
    if not lengths:
        raise UsageError(f"{run_dir} has collected no episodes yet.")
    firsts = np.cumsum([0, *lengths[:-1]]).tolist()
    items = [Played(folder, number, first) for number, first in enumerate(firsts)]
    loop: Loop = replay.request.loop
    played = {
        done.item.number: done.result for done in work_through(items, partial(_player, run.task, loop), workers, _name)
    }
    made = layout.Provenance(
        task=run.task,
        regime="online",
        seed=run.seed,
        episodes=len(items),
        loop=loop,
        next_obs=False,
        versions=layout.versions(),
        source={"file": f"{run_dir.name}/replay", "sha256": file_sha256(folder / "episodes.jsonl")},
        view=replay.request.view,
        render=replay.request.render,
    )
    env_args = played[0][1]
    write_file(out, made, env_args, _with_pictures(replay, (played[item.number][0] for item in items)))
    return WrittenFile(describe(out))


def _with_pictures(replay: Replay, episodes: Iterable[Episode]) -> Iterator[Episode]:
    """The episodes, in order, with what the policy saw: read from the disk one after the other."""
    first = 0
    for episode in episodes:
        last = first + len(episode)
        keys = [camera + layout.IMAGE for camera in replay.request.cameras]
        yield replace(episode, images={key: replay.rows(key, first, last) for key in keys})
        first = last


def _name(item: Played) -> str:
    return f"Playing episode {item.number}"


def _player(task: TaskConfig, loop: Loop) -> Work:
    """The work of one process: play an episode as it was collected; the episode, and robomimic's env_args."""
    from robo_orl.envs.task_env import TaskEnv

    env = TaskEnv(task, loop)

    def work(item: Played) -> tuple[Episode, dict[str, Any]]:
        replay = stored_replay(item.folder)
        line = replay.episodes[item.number]
        rows = {
            name: replay.rows(name, item.first, item.first + line.length)
            for name in ("observations", "actions", "rewards")
        }
        start = env.draw_start(line.start_seed)
        seen, states, stages = [env.reset(start)], [], []
        for action in rows["actions"]:
            states.append(env.state())
            step = env.step(action.astype(np.float64))
            stages.append(step.stages)
            seen.append(step.obs)
        keys = replay.request.spec
        played = np.stack([np.concatenate([obs[key] for key in keys]) for obs in seen[:-1]])
        if not np.array_equal(played.astype(np.float32), rows["observations"]):
            raise RunError(
                f"Episode {item.number} plays differently here than it was collected: export it on the machine, and "
                "with the versions of simulator and loop, that collected it."
            )
        dones = np.zeros(line.length, np.uint8)
        dones[-1] = line.terminal
        episode = Episode(
            obs={key: np.stack([obs[key] for obs in seen[:-1]]) for key in keys},
            next_obs={key: np.stack([obs[key] for obs in seen[1:]]) for key in keys},
            actions=np.array(rows["actions"]),
            rewards=np.array(rows["rewards"]),
            dones=dones,
            states=np.array(states),
            stages=np.array(stages, dtype=np.uint8),
            success=line.success,
            operator="policy",
            grade="",
            start=item.number,
            model_xml=env.model_xml(),
            seed=line.start_seed,
            start_entry=start.entry,
        )
        return episode, env.env_args()

    return work
