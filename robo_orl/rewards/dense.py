"""The shaped reward of the simulator at every stored state: robosuite's own, and a hand-made one for chain."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track

from robo_orl.base.errors import UsageError
from robo_orl.base.text import as_label
from robo_orl.config import TaskConfig
from robo_orl.data.arrays import EpisodeArrays
from robo_orl.data.recording import open_recordings, read_recording
from robo_orl.rewards.source import Judgement, Material, Source, episode_means
from robo_orl.rollout.pool import work_through
from robo_orl.rollout.process import Work


class Dense(Source):
    """The scene's shaped reward after every action, with the simulator's own success."""

    def check(self, arrays: EpisodeArrays) -> None:
        """Refuse a file that does not say its task, and one that does not replay."""
        if arrays.task is None:
            raise UsageError(
                f"Reward {self.config.name} is the simulator's, and {arrays.path} does not name its task: `robo-orl "
                "data convert` writes a file that does."
            )
        open_recordings(Path(arrays.path))

    def judge(self, material: Material) -> Judgement:
        """The states of each episode are put into the scene one after the other; finished episodes are kept."""
        arrays, parts = material.arrays, material.parts
        missing = [name for name in arrays.names if parts.get(name) is None]
        if missing:
            finished = work_through(missing, partial(_shaper, material.path, arrays.task), material.workers)
            if material.progress:
                label = as_label(f"shaped rewards of {arrays.task.name}")
                finished = track(finished, label, total=len(missing), console=Console(stderr=True))
            for done in finished:
                parts.put(done.item, done.result)
        lengths = arrays.lengths.tolist()
        reward = np.concatenate([parts.get(name)[:n] for name, n in zip(arrays.names, lengths, strict=True)])
        return Judgement(reward, arrays.success, episode_means(arrays, reward), progress=reward, lasting=True)


def _shaper(path: Path, task: TaskConfig) -> Work:
    """The work of one process, in one environment: the shaped rewards (T,) of an episode."""
    from robo_orl.envs.dense import dense_reward
    from robo_orl.envs.task_env import TaskEnv

    env = TaskEnv(task, "stock")

    def work(name: str) -> np.ndarray:
        recording = read_recording(path, name)
        recording.begin(env)
        rewards = []
        for state in recording.states[1:]:
            env.follow(state)
            rewards.append(dense_reward(env))
        env.begin_at(recording.states[-1], recording.model_xml, keep_stages=True)
        env.step(recording.actions[-1])  # the state after the last action is not stored
        rewards.append(dense_reward(env))
        return np.array(rewards)

    return work
