"""One training, fully resolved."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from robo_orl.config.policies import PolicyConfig
from robo_orl.config.strict import Strict
from robo_orl.config.tasks import TaskConfig

Regime = Literal["ph", "mh", "mg", "stitch", "paired"]


class DataReading(Strict):
    """Choices in reading a data file, most of them for files that other software wrote."""

    clip_actions: bool = Field(False, description="clip actions to [-1, 1], as the controllers do; counted")
    after_success: Literal["cut", "keep"] = Field("cut", description="cut: an episode ends at its first success")
    rewards: Literal["auto", "as_is", "success"] = Field(
        "auto",
        description="auto: rewards of another scale are scaled to 1 at success; as_is: the stored numbers; "
        "success: 1 at the first success and else 0",
    )
    accept_mismatch: bool = Field(
        False, description="train although the file names another environment, robot or control rate than the task"
    )


class TaskData(Strict):
    """One more task that a run learns, and its data."""

    task: TaskConfig
    data: str = Field(description="path of the HDF5 file")
    reading: DataReading = Field(DataReading(), description="choices in reading it")
    filter: str | None = Field(None, description="the episodes of this mask of the file only")
    weight: float = Field(1.0, gt=0, description="how often a pair is of this task, beside the others' weights")


class RunConfig(Strict):
    """One training run, fully resolved."""

    policy: PolicyConfig
    task: TaskConfig
    data: str = Field(description="path of the HDF5 file")
    reading: DataReading = Field(DataReading(), description="choices in reading it")
    filter: str | None = Field(None, description="train on the episodes of this mask of the file only")
    more: list[TaskData] = Field([], description="other tasks learned by the same policy")
    weight: float = Field(1.0, gt=0, description="of `task` beside those in `more`")
    seed: int = 0
    checkpoint_every: int = Field(1000, ge=1)
    tracker: Literal["tensorboard", "wandb", "trackio", "none"] = "tensorboard"
    expect: dict[str, Any] = Field({}, description="what accelerate must resolve to, e.g. zero_stage: 2, processes: 2")
