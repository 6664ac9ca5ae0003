"""Learning after the data end as values: the schema of the section `online` of a policy, and of policies/online/."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from robo_orl.config.selection import SelectionConfig
from robo_orl.config.strict import Strict


class CollectionConfig(Strict):
    """How episodes are collected, from training start states."""

    episodes: int = Field(
        4, ge=1, description="of a round: the next round acts with what was learned until this one began"
    )
    group: int = Field(1, ge=1, description="episodes in a row that begin at one start state")
    selection: SelectionConfig | None = Field(None, description="how chunks are chosen; default: as in evaluation")
    noise: float = Field(0.0, ge=0, le=1, description="standard deviation of normal noise on the actions carried out")
    ends: Literal["success", "time"] = Field(
        "success",
        description="time: an episode goes on after a success until its time is over; where rewards are imitation's",
    )

    @model_validator(mode="after")
    def _has_whole_groups(self) -> CollectionConfig:
        if self.group > self.episodes:
            raise ValueError(f"group ({self.group}) cannot exceed the {self.episodes} episodes of a round")
        if self.episodes % self.group:
            raise ValueError(f"the {self.episodes} episodes of a round are no multiple of group ({self.group})")
        return self


class ReplayConfig(Strict):
    """What an update draws."""

    mix: Literal["append", "half", "online", "data"] = Field(
        "append",
        description="append: data and episodes in one; half: as many pairs of each; online: episodes alone; data: the "
        "data alone, which is the control: the same updates without what is collected",
    )
    outcomes: Literal["all", "success"] = Field("all", description="success: of collected episodes the successes alone")


class WarmUpConfig(Strict):
    """What comes before the policy learns."""

    steps: int = Field(0, ge=0, description="environment steps of the policy as it is")
    critic_updates: int = Field(0, ge=0, description="updates of the critic alone, once these steps are collected")
    selection: SelectionConfig | None = Field(
        None, description="how chunks are chosen in these steps, e.g. {acting: base}; default: as in collection"
    )

    @model_validator(mode="after")
    def _selects_within_it(self) -> WarmUpConfig:
        if self.selection is not None and not self.steps:
            raise ValueError("warm_up.selection is of the warm-up's steps, of which there are none: set warm_up.steps")
        return self


class PointsConfig(Strict):
    """When success is measured, from the start states of results."""

    points: list[int] = Field(
        [0, 1_000, 2_000, 5_000, 10_000, 20_000], min_length=1, description="environment steps, beginning with 0"
    )
    every: int = Field(10_000, ge=1, description="environment steps between later points")
    episodes: int = Field(200, ge=1, description="start states of a point, the same ones at all points")

    @model_validator(mode="after")
    def _begins_at_the_switch(self) -> PointsConfig:
        if self.points != sorted(set(self.points)) or self.points[0] != 0:
            raise ValueError("points rise and begin with 0, the switch")
        return self

    def until(self, steps: int) -> list[int]:
        """The points of a budget of `steps`, whose end is the last one."""
        last = self.points[-1] // self.every * self.every + self.every
        return sorted({point for point in (*self.points, *range(last, steps, self.every)) if point < steps} | {steps})


class ImitationConfig(Strict):
    """Rewards of pairs by their likeness to demonstrations, in the place of the task's."""

    source: str = Field(description="a name of the registry in robo_orl/online/imitation")
    params: dict[str, Any] = Field({}, description="the source's own parameters")
    demonstrations: int | None = Field(
        None, ge=1, description="successful episodes of the data that are shown, drawn by the seed; default: all"
    )
    shown: Literal["demonstrations", "collected"] = Field(
        "demonstrations",
        description="collected: the control without demonstrations, which is shown collected episodes in their place",
    )
    learns: bool = Field(True, description="false: the control whose networks stay as they began, at random")


class OnlineConfig(Strict):
    """How a policy goes on to learn in its task."""

    collection: CollectionConfig = CollectionConfig()
    replay: ReplayConfig = ReplayConfig()
    warm_up: WarmUpConfig = WarmUpConfig()
    updates: float = Field(1.0, gt=0, description="updates for each chunk of actions that was carried out")
    epochs: int = Field(1, ge=1, description="passes over a round, of methods that learn from their own rounds alone")
    trains: Literal["all", "head", "cached"] = Field(
        "all",
        description="head: the backbone stays as it is; cached: and what it says of a frame is computed once",
    )
    reset: Literal["none", "critic", "all"] = Field(
        "none", description="of the run's weights: critic: the critic begins anew; all: everything does"
    )
    imitation: ImitationConfig | None = Field(None, description="default: the rewards are the task's")
    evaluation: PointsConfig = PointsConfig()

    @model_validator(mode="after")
    def _has_something_to_learn_from(self) -> OnlineConfig:
        if self.warm_up.critic_updates and self.replay.mix == "online" and not self.warm_up.steps:
            raise ValueError("warm_up.critic_updates with replay.mix online need warm_up.steps to learn from")
        return self

    @model_validator(mode="after")
    def _needs_no_success(self) -> OnlineConfig:
        if self.collection.ends == "time" and self.imitation is None:
            raise ValueError("collection.ends time is for rewards by imitation: the task's own end with a success")
        return self
