"""The result of one cell of a benchmark: a record with its counts, hashes and origin, and one row per episode.

A record holds k and n, never k/n alone, and everything that `verify` needs to compute its scores again. The schema is
versioned: a change that alters the meaning of a field raises SCHEMA_VERSION.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from robo_orl.base.machine import Code, Hardware
from robo_orl.config import OfficialFile, RewardConfig
from robo_orl.results.online_record import OnlineRecord
from robo_orl.results.stored import Count, Score, Stored

SCHEMA_VERSION = 1


# --------------------------------------------------------------------------------------------------------------- scores


class StageScore(Stored):
    """One stage of a task: its count over all episodes, and over the episodes that reached the stage before."""

    name: str
    reached: Score
    conditional: Score = Field(description="n = the episodes that reached the stage before; for the first one, all")


class EpisodeRow(Stored):
    """One evaluation episode, one line of episodes.jsonl."""

    episode: int = Field(ge=0, description="place in the evaluation, from 0")
    start: int = Field(ge=0, description="index of the start state in the bank")
    seed: int = Field(description="seed of the policy's draws in this episode")
    success_once: bool
    success_at_end: bool
    stages: list[bool] = Field(description="true for each stage that was reached, in the task's order")
    length: int = Field(ge=0, description="decisions until success or time-out")
    discounted_return: float = Field(description="sum of gamma^t r_t with the gamma of the evaluation")
    wall_s: float = Field(ge=0, description="seconds from reset to the end, shared pool included")
    restarts: int = Field(0, ge=0, description="times the episode was run again because its worker died")
    stage_steps: list[int | None] | None = Field(None, description="decisions until each stage was first reached")
    starts_sha256: str = Field("", description="the start bank that `start` counts in")
    loop: str = Field("", description="the physics loop")
    request: str = Field("", description="hash of all that decides an episode of this evaluation, for resuming")
    fingerprint: str = Field("", description="hash of every observation and action: equal ones are the same episode")
    horizon: int | None = Field(None, ge=1, description="decisions until the time-out; None: that of the record's task")
    look_ahead_decisions: int | None = Field(
        None, ge=0, description="decisions simulated beside the episode, where its samples were tried; None: no search"
    )


class Evaluation(Stored):
    """The scores of one policy over n episodes, all recomputable from the episode rows."""

    episodes: int = Field(ge=0)
    success_once: Score
    success_at_end: Score
    stages: list[StageScore]
    stages_reached: float = Field(ge=0, le=1, description="mean share of the stages reached")
    success_length_median: float | None = Field(description="decisions, over the successes; None without any")
    success_length_mean: float | None
    discounted_return: float = Field(description="mean over the episodes")
    gamma: float = Field(gt=0, le=1, description="discount per decision of discounted_return, equal for all policies")
    episodes_file: str = Field(description="relative to the record")
    episodes_sha256: str
    starts_sha256: str = Field(description="the start bank; equal hashes and rows can be paired across policies")
    loop: str = Field(description="the physics loop that stepped the simulator: exact, fast or stock")
    seed: int
    restarts: int = Field(0, ge=0, description="episodes run again after a worker died")
    wall_s: float = Field(ge=0)
    sentences: list[str] = Field([], description="the instructions that the policy read, in turns")
    render: dict[str, Any] | None = Field(None, description="the renderer of the pictures that the policy saw")
    render_difference: str | None = Field(None, description="its differences from the renderer of the training data")
    checkpoint_sha256: str | None = Field(None, description="the weights that played; None: an older record")
    look_ahead_decisions: int | None = Field(
        None, ge=0, description="decisions simulated beside the episodes; None: without a search"
    )


# --------------------------------------------------------------------------------------------------------------- origin


class SuiteRef(Stored):
    """The suite that a cell belongs to."""

    name: str
    version: int


class TaskRef(Stored):
    """The task a cell was run on."""

    name: str
    digest: str = Field(description="TaskConfig.digest()")
    version: int
    horizon: int = Field(description="decisions until the time-out")
    control_hz: int
    padding: float
    stages: list[str]


class PolicyRef(Stored):
    """The policy of a cell, with everything that was resolved for it."""

    name: str
    digest: str = Field(description="PolicyConfig.digest(), of a reference ReferenceConfig.digest()")
    config: dict[str, Any] = Field(description="the resolved PolicyConfig or ReferenceConfig")


class Tuning(Stored):
    """The search that a suite's settings are from, and its share of this policy."""

    trials: int = Field(ge=0, description="trials of this policy; 0: none was made for it")
    episodes: int = Field(ge=1, description="that each trial was judged by, on start states for tuning")
    task: str
    regime: str


class TaskShare(Stored):
    """One of several tasks that a policy learned at once."""

    task: TaskRef
    weight: float = Field(gt=0, description="its share of the pairs, relative to the weights of the other tasks")


class Annotation(Stored):
    """The labels that a source of rewards took."""

    kind: str = Field(description="success, stages, pairs, demonstrations or nothing")
    labels: int = Field(ge=0, description="labels asked for, of all annotators")
    seconds: float | None = Field(None, ge=0, description="that they took; None: nobody measured")
    seconds_assumed: float = Field(ge=0, description="at the rate that the package assumes for a label of this kind")


class RewardQuality(Stored):
    """The rewards of a source on held-out episodes, against the truth; None: not defined for this source or these."""

    episodes: int = Field(ge=1)
    success_k: int = Field(ge=0, description="held-out episodes that succeeded")
    auc: float | None = Field(None, ge=0, le=1, description="a success has the higher score, ties one half")
    auc_of_returns: float | None = Field(None, ge=0, le=1, description="a success has the higher return")
    false_successes: Count | None = Field(None, description="failures that the source calls a success")
    missed_successes: Count | None = None
    brier: float | None = Field(None, ge=0)
    calibration_error: float | None = Field(None, ge=0)
    tau_stage: float | None = Field(None, ge=-1, le=1, description="Kendall's tau of progress and stages completed")
    tau_distance: float | None = Field(None, ge=-1, le=1, description="of progress and frames left, within successes")
    hacked: Count | None = Field(None, description="failures of a return as high as the successes' median, or higher")


class DataRef(Stored):
    """The data that a policy learned from."""

    sha256: str
    seed: int
    episodes: int = Field(ge=0)
    frames: int = Field(ge=0)
    success: Count
    filter: str | None = Field(None, description="the file's mask that training was limited to")
    requested: int | None = Field(
        None,
        ge=1,
        description="episodes asked for, of which a source may leave some out; an official file has its own number",
    )
    reward: RewardConfig | None = Field(None, description="the source of its rewards; None: as they were recorded")
    annotation: Annotation | None = Field(None, description="what the source took; None: no source, or an older record")
    quality: RewardQuality | None = Field(None, description="of these rewards; None: no episode was held out")
    official: OfficialFile | None = Field(
        None, description="the official file that it is; None: recorded by scripted operators"
    )


class TrainingCost(Stored):
    """The cost of a training, measured while the cell ran, beside whatever else ran on the machine."""

    run: str = Field(description="key of the trained run; variants that differ in selection only share it")
    steps: int = Field(ge=1)
    batch_size: int = Field(ge=1, description="observations per step, all ranks")
    wall_s: float = Field(ge=0)
    steps_per_s: float = Field(ge=0)
    samples_per_s: float = Field(ge=0)
    step_s_median: float = Field(ge=0)
    peak_memory_bytes: int | None
    peak_memory_kind: str = Field(description="the quantity in peak_memory_bytes: cuda_allocated, process_rss ...")
    parameters: dict[str, int] = Field(
        description="backbone, action_head, critic, target (of a reference: its own networks); they sum to 'total'"
    )

    @model_validator(mode="after")
    def _parameters_sum(self) -> TrainingCost:
        parts = sum(count for name, count in self.parameters.items() if name != "total")
        if parts != self.parameters.get("total"):
            raise ValueError(f"parameters: the components sum to {parts}, total says {self.parameters.get('total')}")
        return self


class ValueErrorPart(Stored):
    """The same distance over the frames of some episodes; without frames n alone."""

    n: int = Field(ge=0, description="frames compared")
    mean_absolute: float | None = Field(None, ge=0)
    bias: float | None = None
    rmse: float | None = Field(None, ge=0)
    correlation: float | None = Field(None, ge=-1, le=1)
    kendall_tau: float | None = Field(None, ge=-1, le=1)


class OwnPolicyValues(Stored):
    """The critic's values in stored states against what its own policy gets from there, and against the data's returns.

    Some actions of the data come first, as many as a value is of (`actions`, 0: values of states).
    """

    states: int = Field(ge=1)
    rollouts: int = Field(ge=1, description="of each state")
    actions: int = Field(ge=0)
    successes: int = Field(ge=0, description="of states x rollouts")
    gamma: float
    gain: tuple[float, float, float] = Field(description="mean of own return - that of the data, with a 95 % interval")
    own: ValueErrorPart = Field(description="of the values against the own policy's returns")
    data: ValueErrorPart = Field(description="of the same values against the data's returns")


class ValueErrors(Stored):
    """The distance of the critic's values from the Monte-Carlo returns of the data."""

    n: int = Field(ge=1, description="frames compared")
    mean_absolute: float = Field(ge=0)
    bias: float = Field(description="value - return")
    correlation: float | None = Field(ge=-1, le=1, description="Spearman; None where one side is constant")
    gamma: float
    by_end: dict[Literal["success", "time_limit", "walked_off"], ValueErrorPart] | None = Field(
        None, description="by how the episodes of the frames ended; None: an older record"
    )


class CurvePoint(Stored):
    """A policy on the way: the weights after `step` steps, judged on start states for tuning and on held-out data."""

    step: int = Field(ge=1)
    wall_s: float = Field(ge=0, description="seconds of training until then, evaluations left out")
    success: Score | None = Field(None, description="over the episodes; None where none were played")
    discounted_return: float | None = None
    stages_reached: float | None = Field(None, ge=0, le=1)
    losses: dict[str, float] | None = Field(None, description="on held-out data: each term, and their sum as `loss`")
    action_error: float | None = Field(None, ge=0, description="mean absolute, of executed actions on held-out data")
    value_errors: ValueErrors | None = Field(None, description="of a critic, on held-out data, else on its own")


class LearningCurve(Stored):
    """The points of a training. The result of a cell is that of its last checkpoint, whatever the points say."""

    every: int = Field(ge=1, description="steps between two points")
    episodes: int = Field(ge=0, description="of each point")
    loop: str
    starts_sha256: str | None = Field(description="the start states for tuning; None without episodes")
    held_out_sha256: str | None = Field(None, description="the data file that `losses` are of")
    points: list[CurvePoint]


class RankCorrelation(Stored):
    """The order in which a critic puts the samples of one state, against what each of them gains in the simulator.

    kendall: the mean of Kendall's tau-b over the states at which some samples gain more than others, each episode
    alike, with its 95 % bootstrap interval over episodes, then states; spearman: the mean of Spearman's likewise.
    """

    states: int = Field(ge=0, description="decisions at which all samples were tried")
    tied: int = Field(ge=0, description="of them, those at which all samples gain the same: there is no order to find")
    kendall: float | None = Field(None, ge=-1, le=1, description="None where every state is tied")
    low: float | None = Field(None, ge=-1, le=1, description="None with fewer than two episodes")
    high: float | None = Field(None, ge=-1, le=1)
    spearman: float | None = Field(None, ge=-1, le=1)


class StageRanking(RankCorrelation):
    """The same at the states of one stage: those from which `name` is the next to be reached."""

    name: str


class CriticRanking(Stored):
    """A critic against the simulator, at states of its own policy's episodes.

    A sample gains the discounted reward of its branch: its chunk is carried out, then the policy goes on as it is.
    """

    episodes: int = Field(ge=1)
    starts: Literal["test", "tuning"]
    seed: int
    every: int = Field(ge=1, description="chunks from one measured state to the next")
    samples: int = Field(ge=2, description="N")
    look_ahead: int = Field(ge=1, description="decisions of a branch at most")
    gamma: float = Field(gt=0, le=1)
    overall: RankCorrelation
    stages: list[StageRanking]
    simulated: int = Field(ge=0, description="decisions of all branches together")


# -------------------------------------------------------------------------------------------------------------- records


class Record(Stored):
    """One cell: a policy of one size, trained with one seed on one data set of one task, and evaluated."""

    schema_version: Literal[1] = SCHEMA_VERSION
    cell: str = Field(description="content address: sha256 of everything that decides the result")
    kind: Literal["policy", "reference"] = Field(
        "policy", description="reference: an algorithm of another library under the same protocol"
    )
    suite: SuiteRef
    task: TaskRef
    regime: str
    policy: PolicyRef
    size: str
    seed: int
    data: DataRef
    train: TrainingCost
    evaluation: Evaluation
    value_errors: ValueErrors | None = None
    own_policy: OwnPolicyValues | None = Field(None, description="None: the suite asks for none, or no critic")
    curve: LearningCurve | None = Field(None, description="points on the way; None: none were asked for")
    ranking: CriticRanking | None = Field(None, description="of the critic's order of samples; None: not measured")
    online: OnlineRecord | None = Field(None, description="learning after the data end; None: there was none")
    tuning: Tuning | None = Field(None, description="the search that chose the settings; None: the suite names none")
    together: list[TaskShare] | None = Field(
        None, description="all tasks that the policy learned, `task` among them; None: this one alone"
    )
    versions: dict[str, str] = Field(description="package -> version")
    hardware: Hardware
    code: Code
    created: str = Field(description="UTC, ISO 8601")


class PlannedCell(Stored):
    """A cell of a suite, and its state."""

    cell: str
    task: str
    regime: str
    policy: str
    size: str
    seed: int
    state: Literal["missing", "done", "failed"] = "missing"
    reason: str = Field("", description="one sentence about a failure")


class Manifest(Stored):
    """suite.json of a results folder: every cell of the suite, so that a report can name those without a record."""

    schema_version: Literal[1] = SCHEMA_VERSION
    suite: SuiteRef
    description: str
    config: dict[str, Any] = Field(description="the resolved SuiteConfig")
    cells: list[PlannedCell]
    costs: list[str] | None = Field(None, description="keys of its cost cells; None: not stored")
    wall_s: float = Field(0.0, ge=0, description="seconds of all the calls that worked on it")
