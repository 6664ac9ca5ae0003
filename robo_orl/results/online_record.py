"""The record of a run that went on to learn in its task: points from paired start states, and the account.

Points are of the evaluation's start states in their order. `solved` has a character for each: 1 where it was solved.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from robo_orl.results.stored import Score, Stored


class Errors(Stored):
    """Values of a critic against returns, over n decisions; without any, n alone."""

    n: int = Field(ge=0)
    mean_absolute: float | None = Field(None, ge=0)
    bias: float | None = Field(None, description="mean of value - return")
    rmse: float | None = Field(None, ge=0)
    correlation: float | None = Field(None, ge=-1, le=1, description="Spearman; None where one side is constant")
    kendall_tau: float | None = Field(None, ge=-1, le=1)


class Calibration(Stored):
    """A critic on what its policy does in the episodes of a point."""

    gamma: float = Field(gt=0, le=1)
    decisions: Errors = Field(description="over all decisions")
    starts: Errors = Field(description="over the first decision of each episode")
    mean_value: float = Field(description="of the first decisions")
    outcome_auc: float | None = Field(
        ge=0, le=1, description="chance that a success began with a higher value than a failure; None without both"
    )


class OtherTask(Stored):
    """A policy in another task that its start learned, from that task's start states of results."""

    success: Score
    solved: str = Field(pattern="^[01]+$", description="by start state: 1 where it was solved")


class Judged(Stored):
    """A policy from the start states of results."""

    success: Score
    solved: str = Field(pattern="^[01]+$", description="by start state: 1 where it was solved")
    stages: dict[str, Score] = Field(description="episodes that reached each stage")
    discounted_return: float
    calibration: Calibration | None = Field(None, description="None without a trained critic")
    seconds: float = Field(ge=0)
    others: dict[str, OtherTask] = Field({}, description="by name the other tasks of a start that learned several")


class OnlinePoint(Judged):
    """The weights that have learned from `env_steps` environment steps: the first ones to reach `at`."""

    at: int = Field(ge=0)
    env_steps: int = Field(ge=0)
    updates: int = Field(ge=0)


class WarmUpErrors(Stored):
    """A critic on the episodes of its warm-up, before and after its updates without the policy."""

    env_steps: int = Field(ge=0)
    updates: int = Field(ge=0)
    before: Errors
    after: Errors


class OnlineAccount(Stored):
    """Everything that was consumed after the switch. Pilots are runs that settings were chosen by."""

    env_steps: int = Field(ge=0)
    warm_up_steps: int = Field(ge=0)
    pilot_steps: int = Field(0, ge=0)
    episodes: int = Field(ge=0)
    discarded_groups: int = Field(0, ge=0, description="of one start state, collected and not learned from")
    discarded_steps: int = Field(0, ge=0, description="of these groups; they are among env_steps")
    skipped: int = Field(0, ge=0, description="updates that were due and not made; they are among updates")
    updates: int = Field(ge=0)
    critic_only_updates: int = Field(ge=0)
    simulation_s: float = Field(ge=0, description="of all simulators together")
    acting_s: float = Field(ge=0)
    learning_s: float = Field(ge=0)
    wall_s: float = Field(ge=0, description="collecting and learning")
    evaluation_s: float = Field(ge=0)
    peak_memory_bytes: int = Field(ge=0, description="simulators excluded")


class OnlineStart(Stored):
    """The run that learning began with. digest, config: of its policy."""

    run: str
    policy: str
    digest: str
    config: dict
    judged: Judged


class OnlineRecord(Stored):
    """Learning after the data end."""

    kind: Literal["online"] = "online"
    method: str
    env_steps: int = Field(ge=1, description="asked for; the last round may go over it")
    start: OnlineStart
    points: list[OnlinePoint]
    warm_up: WarmUpErrors | None = None
    account: OnlineAccount
