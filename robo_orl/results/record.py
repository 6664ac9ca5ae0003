"""The result of one cell of a benchmark: a record with its counts, hashes and origin, and one row per episode.

A record holds k and n, never k/n alone, and everything that `verify` needs to compute its scores again. The schema is
versioned: a change that alters the meaning of a field raises SCHEMA_VERSION.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from robo_orl.base.machine import Code, Hardware

SCHEMA_VERSION = 1
COST_SCHEMA_VERSION = 2


class Stored(BaseModel):
    """A frozen part of a record; unknown keys are refused, and numbers that are infinite or no number."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


# --------------------------------------------------------------------------------------------------------------- scores


class Count(Stored):
    """k of n."""

    k: int = Field(ge=0)
    n: int = Field(ge=0)

    @model_validator(mode="after")
    def _k_is_part_of_n(self) -> Count:
        if self.k > self.n:
            raise ValueError(f"k ({self.k}) cannot exceed n ({self.n})")
        return self

    @property
    def rate(self) -> float | None:
        """k/n, or None where nothing was counted."""
        return self.k / self.n if self.n else None


class Score(Count):
    """k of n with its 95 % Wilson interval (0 to 1 where n is 0)."""

    low: float = Field(ge=0, le=1)
    high: float = Field(ge=0, le=1)


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


class DataRef(Stored):
    """The data that a policy learned from."""

    sha256: str
    seed: int
    episodes: int = Field(ge=0)
    frames: int = Field(ge=0)
    success: Count
    filter: str | None = Field(None, description="the file's mask that training was limited to")


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


class MemoryBytes(Stored):
    """Predicted bytes of one process at the peak of a training step; the parts add up to the peak."""

    parts: dict[str, int]
    peak_bytes: int
    peak_phase: str
    held_bytes: int = Field(description="between two steps")
    phase_bytes: dict[str, int] = Field(description="at the peak of each phase")
    host_bytes: int = Field(description="in the host's memory, under offload")
    calibration_bytes: int | None = Field(None, description="of them, what the device adds to tensors; None: not known")


class CostRow(Stored):
    """The training step of one policy, relative to the base of its record (plain behaviour cloning).

    Where the step ran out of memory, `oom` is the allocator's message and nothing was measured.
    """

    policy: str
    size: str
    topology: str | None = None
    step_s: float | None = Field(None, gt=0, description="median; forward, backward, update and targets")
    step_s_quartiles: list[float] | None = None
    step_relative: float | None = Field(None, gt=0, description="None: not measured in turns with the base")
    step_relative_quartiles: list[float] | None = None
    phases_s: dict[str, float] | None = None
    act_s: float | None = Field(None, gt=0, description="median of a decision on one observation, as the policy acts")
    act_s_quartiles: list[float] | None = None
    act_relative: float | None = Field(None, gt=0, description="None: not measured in turns with the base")
    act_relative_quartiles: list[float] | None = None
    peak_memory_bytes: int | None = None
    memory_relative: float | None = None
    memory_kind: str | None = None
    memory_parts: dict[str, int] | None = None
    predicted: MemoryBytes | None = None
    flops_per_sample: float | None = Field(None, description="forward, backward and update, per observation")
    flops_relative: float | None = None
    parameters: dict[str, int] | None = None
    parameters_total: int | None = None
    sent_bytes_per_step: list[float] | None = Field(None, description="by each process")
    engine: dict[str, Any] | None = Field(None, description="what accelerate resolved")
    windows: str = "synthetic"
    alone: bool = Field(False, description="the base did not fit beside it: times do not compare")
    oom: str | None = None
    steps: int | None = Field(None, ge=1, description="timed steps of each policy")


class LargestModelRow(Stored):
    """The largest backbone of a policy whose predicted step fits a card; without a depth not even the smallest does."""

    policy: str
    card: str
    usable_bytes: int
    depth: int | None = None
    size: str | None = None
    backbone_parameters: int | None = None
    parameters: int | None = None
    peak_bytes: int | None = None


class CalibrationRow(Stored):
    """A reference step that a device was calibrated by."""

    policy: str
    size: str
    precision: str
    predicted: int
    measured: int
    error: float = Field(description="of the prediction with the calibration added, relative")


class CalibrationRecord(Stored):
    """Bytes that a device's counter shows beside tensors, and the steps that they were measured by."""

    device: str
    extra_bytes: int
    rows: list[CalibrationRow]
    load_before: float | None = None
    created: str


class ValueErrors(Stored):
    """The distance of the critic's values from the Monte-Carlo returns of the data."""

    n: int = Field(ge=1, description="frames compared")
    mean_absolute: float = Field(ge=0)
    bias: float = Field(description="value - return")
    correlation: float | None = Field(ge=-1, le=1, description="Spearman; None where one side is constant")
    gamma: float


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
    tuning: Tuning | None = Field(None, description="the search that chose the settings; None: the suite names none")
    together: list[TaskShare] | None = Field(
        None, description="all tasks that the policy learned, `task` among them; None: this one alone"
    )
    versions: dict[str, str] = Field(description="package -> version")
    hardware: Hardware
    code: Code
    created: str = Field(description="UTC, ISO 8601")


class CostRecord(Stored):
    """One cost cell: rows measured in one run on one machine, or the largest models that were predicted for cards.

    A cell is one engine (one process, or `world` processes under DDP or a ZeRO stage) and one batch.
    """

    schema_version: Literal[2] = COST_SCHEMA_VERSION
    key: str = Field(description="name of the cell, with the content address of what decides its result")
    suite: SuiteRef
    task: TaskRef
    base: str = Field(description="the policy that every ratio is relative to")
    batch_size: int
    precision: str
    launched: bool = Field(False, description="under a launcher, as DDP and ZeRO are")
    world: int = Field(1, ge=1, description="processes")
    zero: int = Field(0, ge=0, le=3, description="ZeRO stage; 0: one process, or plain DDP")
    rows: list[CostRow] = []
    largest: list[LargestModelRow] = []
    calibration: CalibrationRecord | None = Field(
        None, description="that of the device, in the first cell that used it"
    )
    threads: int | None = None
    load_before: float | None = Field(None, description="of the machine, over one minute")
    versions: dict[str, str]
    hardware: Hardware | None = Field(description="None: predicted, which no device takes part in")
    code: Code
    created: str

    @model_validator(mode="after")
    def _holds_something(self) -> CostRecord:
        if not self.rows and not self.largest:
            raise ValueError("a cost record needs rows, or the largest models")
        if self.rows and self.hardware is None:
            raise ValueError("measured rows need the hardware that they were measured on")
        return self


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
