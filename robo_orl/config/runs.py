"""One training, fully resolved."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from robo_orl.config.policies import PolicyConfig
from robo_orl.config.strict import Strict
from robo_orl.config.tasks import Loop, TaskConfig


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
    """A task that a run learns, and its data."""

    task: TaskConfig
    data: str = Field(description="path of the HDF5 file")
    reading: DataReading = Field(DataReading(), description="choices in reading it")
    filter: str | None = Field(None, description="the episodes of this mask of the file only")
    weight: float = Field(1.0, gt=0, description="how often a pair is of this task, beside the others' weights")


class OnTheWay(Strict):
    """Points of a learning curve: what the policy of that step does, while the training goes on.

    A process of its own judges a copy of the weights, from the start states for tuning, never from those of results.
    Nothing here changes what is learned, so that a run may be resumed with other values.
    """

    every: int | None = Field(None, ge=1, description="steps between two points, the last step being one; none: off")
    episodes: int = Field(20, ge=0, le=100, description="episodes of a point; 0: held-out losses alone, no simulator")
    workers: int = Field(1, ge=1, description="simulator processes of a point")
    loop: Loop = "exact"
    held_out: str | None = Field(None, description="a data file that the run does not train on, for its losses there")
    held_out_filter: str | None = Field(
        None, description="the episodes of this mask, of held_out or, without it, of the run's own file"
    )

    @property
    def measures_losses(self) -> bool:
        """True where some data are held out."""
        return self.held_out is not None or self.held_out_filter is not None

    @model_validator(mode="after")
    def _measures_something(self) -> OnTheWay:
        if self.every and not self.episodes and not self.measures_losses:
            raise ValueError("a point without episodes needs held_out or held_out_filter")
        return self


class RunConfig(Strict):
    """One training run, fully resolved.

    The first task may be given by its own keys (task, data, reading, filter, weight) and the others in a list `more`;
    the configurations of earlier versions are written so.
    """

    policy: PolicyConfig
    tasks: list[TaskData] = Field(min_length=1, description="what it learns from; several tasks are drawn by weight")
    seed: int = 0
    checkpoint_every: int = Field(1000, ge=1)
    tracker: Literal["tensorboard", "wandb", "trackio", "none"] = "tensorboard"
    init: str | None = Field(None, description="a run or weights that it starts from; default: random weights")
    extended_at: list[int] = Field([], description="steps at which a finished run was extended, with a new schedule")
    evaluation: OnTheWay = Field(OnTheWay(), description="points of a learning curve; off by default")
    expect: dict[str, Any] = Field({}, description="what accelerate must resolve to, e.g. zero_stage: 2, processes: 2")

    @model_validator(mode="before")
    @classmethod
    def _first_task_by_its_keys(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        first = {key: values[key] for key in TaskData.model_fields if key in values}
        others = {key: value for key, value in values.items() if key not in (*first, "more")}
        if not first and "more" not in values:
            return values
        if "tasks" in values:
            raise ValueError(f"{next(iter(first), 'more')} is given beside tasks: put it into the list")
        return others | {"tasks": [first, *values.get("more", [])]}

    @property
    def task(self) -> TaskConfig:
        """The first task."""
        return self.tasks[0].task
