"""One training, fully resolved."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from robo_orl.config.policies import PolicyConfig
from robo_orl.config.strict import ADDED, Strict
from robo_orl.config.tasks import TaskConfig

Regime = Literal["ph", "mh", "mg", "stitch", "paired"]


class TaskData(Strict):
    """One more task that a run learns, and its data."""

    task: TaskConfig
    data: str = Field(description="path of the HDF5 file")
    filter: str | None = Field(None, description="the episodes of this mask of the file only")
    weight: float = Field(1.0, gt=0, description="how often a pair is of this task, beside the others' weights")


class RunConfig(Strict):
    """One training run, fully resolved."""

    policy: PolicyConfig
    task: TaskConfig
    data: str = Field(description="path of the HDF5 file")
    filter: str | None = Field(None, description="train on the episodes of this mask of the file only")
    more: list[TaskData] = Field([], description="other tasks learned by the same policy", json_schema_extra=ADDED)
    weight: float = Field(1.0, gt=0, description="of `task` beside those in `more`", json_schema_extra=ADDED)
    seed: int = 0
    checkpoint_every: int = Field(1000, ge=1)
    tracker: Literal["tensorboard", "wandb", "trackio", "none"] = "tensorboard"
    expect: dict[str, Any] = Field({}, description="what accelerate must resolve to, e.g. zero_stage: 2, processes: 2")
