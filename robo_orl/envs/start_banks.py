"""Banks of start states: drawn from a scene, shipped as files, or made once in the cache folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from robo_orl.base.errors import unknown
from robo_orl.base.files import cache_folder
from robo_orl.base.locks import file_lock
from robo_orl.config import StartBankName, TaskConfig
from robo_orl.config.presets import preset_folders
from robo_orl.envs.making import make_env
from robo_orl.envs.registry import start_name
from robo_orl.envs.start_states import StartBank, evaluation_seed, further_seed, training_seed, tuning_seed

if TYPE_CHECKING:
    from robo_orl.envs.gym_env import GymEnv
    from robo_orl.envs.task_env import TaskEnv

EVAL_STATES = 200  # per shipped bank
TUNING_STATES = 100
FURTHER_STATES = 50  # of each of the banks further-0, further-1, ...
FURTHER_BANKS = 40


def draw_bank(env: TaskEnv | GymEnv, seeds: list[int]) -> StartBank:
    """One start state per seed."""
    entries = [env.draw_start(seed).entry for seed in seeds]
    return StartBank({key: np.stack([entry[key] for entry in entries]) for key in entries[0]})


def make_bank(task: TaskConfig, n: int, seed: int) -> StartBank:
    """n training start states of `task`: state i is the start `training_seed(task, seed, i)`."""
    return _drawn(task, [training_seed(task, seed, index) for index in range(n)])


def eval_bank(task: TaskConfig) -> StartBank:
    """The evaluation start states of the task's scene: the shipped file, or one made once in the cache folder."""
    return _made_once(task, bank_file(task, "test"), make_eval_bank)


def tuning_bank(task: TaskConfig) -> StartBank:
    """The start states that hyper-parameters are chosen on, which no result is reported from; made once."""
    return _made_once(task, bank_file(task, "tuning"), _make_tuning_bank)


def further_bank(task: TaskConfig, number: int) -> StartBank:
    """Start states for `robo-orl compare --until-decided`, which decides on no state of another bank; made once.

    They come in banks of a few, so that a comparison that is decided soon draws few.
    """
    first = number * FURTHER_STATES
    seeds = [further_seed(task, first + index) for index in range(FURTHER_STATES)]
    return _made_once(task, bank_file(task, FURTHER[number]), lambda task: _drawn(task, seeds))


def bank_file(task: TaskConfig, name: str) -> Path:
    """Where a bank lies, or will lie once it is drawn: shipped with the task, or in the cache folder."""
    own = f"{start_name(task)}.npz" if name == "test" else f"{start_name(task)}-{name}.npz"
    shipped = [folder / own for folder in preset_folders("tasks/starts")] if name == "test" else []
    return next((path for path in shipped if path.is_file()), cache_folder() / "starts" / own)


BANKS: dict[StartBankName, Callable[[TaskConfig], StartBank]] = {"test": eval_bank, "tuning": tuning_bank}
FURTHER = tuple(f"further-{number}" for number in range(FURTHER_BANKS))


def stored_bank(task: TaskConfig, name: str) -> StartBank:
    """A bank by its name: `test` is what results are reported from, `tuning` what hyper-parameters are chosen on, and
    `further-0` to `further-39` what comparisons go on with.

    Raises:
        UsageError: there is no bank of this name.
    """
    if name in FURTHER:
        return further_bank(task, FURTHER.index(name))
    if name not in BANKS:
        raise unknown("bank of start states", name, BANKS)
    return BANKS[name](task)


def _made_once(task: TaskConfig, path: Path, make: Callable[[TaskConfig], StartBank]) -> StartBank:
    if not path.is_file():
        with file_lock(path):  # simulators begin side by side: one draws, the others wait
            if not path.is_file():
                make(task).save(path)
    return StartBank.load(path)


def make_eval_bank(task: TaskConfig, n: int = EVAL_STATES) -> StartBank:
    """The evaluation start states of the task's scene, drawn now."""
    return _drawn(task, [evaluation_seed(task, index) for index in range(n)])


def _make_tuning_bank(task: TaskConfig) -> StartBank:
    return _drawn(task, [tuning_seed(task, index) for index in range(TUNING_STATES)])


def _drawn(task: TaskConfig, seeds: list[int]) -> StartBank:
    env = make_env(task)
    try:
        return draw_bank(env, seeds)
    finally:
        env.close()
