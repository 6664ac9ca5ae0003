"""Start states as values and as files: what every method starts from, never a seed alone.

Training starts are drawn from the seed stream "train-start", evaluation starts from "eval-start" and those that
hyper-parameters are chosen on from "tuning-start": they never meet.
Seeds depend on the kind of scene, not on its parameters: state i of chain1 and of chain8 share the robot and cube 1.
"""

from __future__ import annotations

import hashlib
import os
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from robo_orl.config import TaskConfig
from robo_orl.envs.scenes import start_name
from robo_orl.errors import RunError, unknown
from robo_orl.files import cache_folder
from robo_orl.presets import preset_folders
from robo_orl.seeds import derive_seed

if TYPE_CHECKING:
    from robo_orl.envs.task_env import TaskEnv

EVAL_STATES = 200  # per shipped bank
TUNING_STATES = 100


@dataclass(frozen=True)
class StartState:
    """Everything that a reset decides, by name (see snapshot.py), and where it stands in its bank (-1: in none)."""

    entry: dict[str, np.ndarray]
    index: int = -1


@dataclass(frozen=True)
class StartBank:
    """Start states of one scene, stacked: every array is (n, ...)."""

    arrays: dict[str, np.ndarray]

    def __len__(self) -> int:
        return len(next(iter(self.arrays.values())))

    def __getitem__(self, index: int) -> StartState:
        if not -len(self) <= index < len(self):
            raise IndexError(f"start state {index} of {len(self)}")
        return StartState({key: values[index] for key, values in self.arrays.items()}, index % len(self))

    @property
    def sha256(self) -> str:
        """A hash of the content: equal states have equal hashes, however they are stored."""
        digest = hashlib.sha256()
        for key in sorted(self.arrays):
            values = np.ascontiguousarray(self.arrays[key])
            digest.update(f"{key}:{values.dtype.str}:{values.shape}".encode())
            digest.update(values.tobytes())
        return digest.hexdigest()

    def save(self, path: Path) -> None:
        """Write a compressed .npz, whole or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.{os.getpid()}.npz")
        try:
            np.savez_compressed(partial, **self.arrays)
            os.replace(partial, path)
        except OSError as error:
            raise RunError(f"Cannot write start states to {path}: {error.strerror}.") from None
        finally:
            partial.unlink(missing_ok=True)

    @staticmethod
    def load(path: Path) -> StartBank:
        """Read a bank. Nothing is unpickled.

        Raises:
            RunError: the file cannot be read.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                return StartBank({key: file[key] for key in file.files})
        except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise RunError(f"Cannot read start states from {path}: {error}. Remove the file to make it anew.") from None


def training_seed(task: TaskConfig, seed: int, index: int) -> int:
    """The seed of training start `index` of a data set made with `seed`."""
    return derive_seed("train-start", task.env, seed, index)


def evaluation_seed(task: TaskConfig, index: int) -> int:
    """The seed that the evaluation bank's state `index` was drawn with."""
    return derive_seed("eval-start", task.env, index)


def tuning_seed(task: TaskConfig, index: int) -> int:
    """The seed that the tuning bank's state `index` was drawn with."""
    return derive_seed("tuning-start", task.env, index)


def draw_bank(env: TaskEnv, seeds: list[int]) -> StartBank:
    """One start state per seed."""
    entries = [env.draw_start(seed).entry for seed in seeds]
    return StartBank({key: np.stack([entry[key] for entry in entries]) for key in entries[0]})


def make_bank(task: TaskConfig, n: int, seed: int) -> StartBank:
    """n training start states of `task`: state i is the start `training_seed(task, seed, i)`."""
    return _drawn(task, [training_seed(task, seed, index) for index in range(n)])


def eval_bank(task: TaskConfig) -> StartBank:
    """The evaluation start states of the task's scene: the shipped file, or one made once in the cache folder."""
    name = f"{start_name(task)}.npz"
    for folder in preset_folders("tasks/starts"):
        if (folder / name).is_file():
            return StartBank.load(folder / name)
    return _made_once(task, cache_folder() / "starts" / name, make_eval_bank)


def tuning_bank(task: TaskConfig) -> StartBank:
    """The start states that hyper-parameters are chosen on, which no result is reported from; made once."""
    return _made_once(task, cache_folder() / "starts" / f"{start_name(task)}-tuning.npz", _make_tuning_bank)


BANKS = {"test": eval_bank, "tuning": tuning_bank}


def stored_bank(task: TaskConfig, name: str) -> StartBank:
    """A bank by its name: `test` is what results are reported from, `tuning` what hyper-parameters are chosen on.

    Raises:
        UsageError: there is no bank of this name.
    """
    if name not in BANKS:
        raise unknown("bank of start states", name, BANKS)
    return BANKS[name](task)


def _made_once(task: TaskConfig, path: Path, make: Callable[[TaskConfig], StartBank]) -> StartBank:
    if not path.is_file():
        make(task).save(path)
    return StartBank.load(path)


def make_eval_bank(task: TaskConfig, n: int = EVAL_STATES) -> StartBank:
    """The evaluation start states of the task's scene, drawn now."""
    return _drawn(task, [evaluation_seed(task, index) for index in range(n)])


def _make_tuning_bank(task: TaskConfig) -> StartBank:
    return _drawn(task, [tuning_seed(task, index) for index in range(TUNING_STATES)])


def _drawn(task: TaskConfig, seeds: list[int]) -> StartBank:
    from robo_orl.envs.task_env import TaskEnv

    env = TaskEnv(task)
    try:
        return draw_bank(env, seeds)
    finally:
        env.close()
