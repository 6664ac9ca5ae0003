"""From stored states to a file of this project: observations, stages, rewards and starts of every episode.

For raw robosuite recordings, which hold states and actions only, and for robomimic files, which lack stages. The states
are put into the task's scene one after the other; an episode ends at its first success.
"""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console
from rich.progress import track

from robo_orl.base.episode import Episode
from robo_orl.base.errors import UsageError
from robo_orl.base.files import file_sha256
from robo_orl.base.text import as_label
from robo_orl.config import TaskConfig
from robo_orl.data import hdf5_schema as layout
from robo_orl.data.generate import Shards
from robo_orl.data.hdf5 import write_file
from robo_orl.data.info import WrittenFile, describe
from robo_orl.data.recording import Recording, open_recordings, read_recording
from robo_orl.envs.any_scene import NOT_IN_STATES
from robo_orl.envs.registry import scene_entry
from robo_orl.rollout.pool import work_through
from robo_orl.rollout.process import Work

if TYPE_CHECKING:
    from robo_orl.envs.task_env import TaskEnv


def convert(
    path: Path,
    task: TaskConfig,
    out: Path,
    workers: int | None = None,
    next_obs: bool = False,
    accept_mismatch: bool = False,
    progress: bool = True,
) -> WrittenFile:
    """Write `out` from the states and actions of `path` in the scene of `task`, and describe it.

    Actions outside [-1, 1] are clipped, as the controllers do, and counted. A killed call continues. Raises UsageError
    for a file without states, of another environment, for a task with dead time, and where `out` holds something else.
    """
    source = open_recordings(path, task, accept_mismatch)
    if task.padding:
        raise UsageError(f"Task {task.name} has dead time, in which no recording waits: convert for the task without.")
    made = layout.Provenance(
        task=task,
        regime="converted",
        seed=0,
        episodes=len(source.names),
        loop="stock",
        next_obs=next_obs,
        versions=layout.versions(),
        source={"file": path.name, "sha256": file_sha256(path)},
    )
    if out.exists():
        return _existing(out, made)
    shards = Shards(out, made)
    with shards.held():
        missing = [i for i in range(len(source.names)) if not shards.finished(i)]
        prepare = partial(_converter, path, source.names, shards)
        finished = work_through(missing, prepare, workers, "Converting episode {}".format)
        if progress:
            finished = track(
                finished, as_label(f"converting {path.name}"), total=len(missing), console=Console(stderr=True)
            )
        for _ in finished:
            pass
        env_args, _ = shards.environment()
        write_file(out, made, json.loads(env_args), (shards.read(i) for i in range(len(source.names))))
        clipped = sum(_clipped_frames(path, name, len(shards.read(i))) for i, name in enumerate(source.names))
        shards.remove()
    notes = [f"{clipped} frames had actions outside [-1, 1], which are clipped"] if clipped else []
    return WrittenFile(
        describe(out), counts={"clipped_frames": clipped}, notes=[*source.notes, *notes, *not_restored(task)]
    )


def not_restored(task: TaskConfig) -> list[str]:
    """A sentence about what the states of a scene do not hold."""
    name = scene_entry(task).robosuite_name
    lost = NOT_IN_STATES.get(name)
    return [f"{name} keeps outside its states {lost}: that is as at the start in every frame"] if lost else []


def _existing(out: Path, made: layout.Provenance) -> WrittenFile:
    with layout.open_hdf5(out) as file:
        there = layout.provenance(file)
    if there != made:
        raise UsageError(f"{out} exists and holds other data; choose another --out or delete it.")
    return WrittenFile(describe(out), already_complete=True)


def _clipped_frames(path: Path, name: str, frames: int) -> int:
    """The frames of an episode, of the first so many, whose action leaves [-1, 1]."""
    return int((np.abs(read_recording(path, name).actions[:frames]) > 1 + 1e-6).any(axis=1).sum())


def _converter(path: Path, names: list[str], shards: Shards) -> Work:
    """The work of one process, in one environment: restore the states of an episode and keep what they show."""
    from robo_orl.envs.task_env import TaskEnv

    env = TaskEnv(shards.made.task, "stock")
    with layout.open_hdf5(path) as file:
        masks = layout.masks(file)

    def work(index: int) -> bool:
        name = names[index]
        own = [mask for mask, members in masks.items() if name in members and mask != "success"]
        episode = restored(env, read_recording(path, name), own)
        shards.write(index, episode, env.env_args(), "stock")
        return bool(episode.success)

    return work


def restored(env: TaskEnv, recording: Recording, masks: list[str]) -> Episode:
    """The episode that a recording's states show, up to its first success.

    The state after the last action is not stored: that action is carried out, unless the task has succeeded before.
    """
    seen = [recording.begin(env)]  # t = 0 .. T
    start = env.start()
    stages = []  # after each action
    for state in recording.states[1:]:
        seen.append(env.follow(state))
        stages.append(env.completed())
        if stages[-1].all():
            break
    else:
        env.begin_at(recording.states[-1], recording.model_xml, keep_stages=True)
        after = env.step(recording.actions[-1])
        seen.append(after.obs)
        stages.append(after.stages)
    frames = len(stages)
    success = bool(stages[-1].all())
    done = np.zeros(frames, np.uint8)
    done[-1] = success
    counts = np.concatenate(([0], np.sum(stages, axis=1)))
    by_stage = env.task.reward == "stages"
    rewards = np.diff(counts) / len(env.stages) if by_stage else done
    stacked = {key: np.stack([obs[key] for obs in seen]) for key in seen[0]}  # (T + 1, D)
    return Episode(
        obs={key: values[:-1] for key, values in stacked.items()},
        next_obs={key: values[1:] for key, values in stacked.items()},
        actions=np.clip(recording.actions[:frames], -1.0, 1.0).astype(np.float32),
        rewards=np.asarray(rewards, np.float32),
        dones=done,
        states=recording.states[:frames],
        stages=np.asarray(stages, np.uint8),
        success=success,
        operator="",
        grade="",
        start=-1,
        model_xml=env.model_xml(),
        masks=masks,
        start_entry=start.entry,
    )
