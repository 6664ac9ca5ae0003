"""The data of a reference: robomimic's own loader reads the file, so that more of it must be whole than for us."""

from __future__ import annotations

from pathlib import Path

from robo_orl.base.errors import UsageError
from robo_orl.base.text import notice
from robo_orl.config import DataReading, ReferenceConfig, TaskConfig
from robo_orl.data import hdf5_schema as layout
from robo_orl.data.arm_frames import TURNED, arm_yaws
from robo_orl.data.arrays import EpisodeArrays, Reading
from robo_orl.data.cache import open_cache
from robo_orl.data.task_check import check_task
from robo_orl.data.training_checks import claimed_frames
from robo_orl.envs.registry import observation_sizes


def open_reference_data(
    reference: ReferenceConfig, task: TaskConfig, data: Path, accept_mismatch: bool
) -> EpisodeArrays:
    """The episodes as robomimic reads them: whole, with the rewards as stored.

    Raises UsageError for data that do not train, of another task, without what robomimic's loader needs.
    """
    sizes = observation_sizes(task)
    reading = Reading(
        keys=tuple(reference.low_dim) if reference.low_dim else None,
        offered=tuple(sizes) if sizes is not None else None,
        rewards=reference.settings["train"]["hdf5_load_next_obs"],
        choice=DataReading(after_success="keep", rewards="as_is", accept_mismatch=accept_mismatch),
    )
    arrays = open_cache(data, reading=reading)
    notes = [*check_task(arrays, task, accept_mismatch), *arrays.notes]
    _check_loadable(data, arrays)
    if arrays.task is None and arrays.rewards.max(initial=0) not in (0, 1):
        notes.append(f"robomimic learns from rewards of up to {arrays.rewards.max():g} as they are")
    for note in dict.fromkeys(notes):
        notice(f"data: {note}.")
    return arrays


def _check_loadable(data: Path, arrays: EpisodeArrays) -> None:
    """UsageError where robomimic's loader would read other frames than there are, or miss the environment."""
    with layout.open_hdf5(data) as file:
        demos = {name: file["data"][name] for name in arrays.names}
        wrong = next((n for n, demo in demos.items() if claimed_frames(demo) != len(demo["actions"])), None)
        if wrong is not None:
            raise UsageError(
                f"{data}: num_samples of {wrong} is not its number of frames, by which robomimic reads; "
                f"`robo-orl data edit {data} --out NEW.hdf5` writes a copy with the right counts."
            )
        if arm_yaws(arrays.env):
            raise UsageError(
                f"{data}: {TURNED} by our reading, and not by robomimic's loader; `robo-orl data convert {data} --task "
                "TASK --next-obs --out NEW.hdf5` writes a copy that has them so."
            )
        if "env_args" not in file["data"].attrs:
            raise UsageError(
                f"{data} has no env_args, which robomimic stores with its models; "
                f"`robo-orl data convert {data} --task {arrays.task.name if arrays.task else 'TASK'} --out NEW.hdf5` "
                "writes them."
            )
