"""The record of a cost cell: what a training step takes, measured on one machine or predicted for cards."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from robo_orl.base.machine import Code, Hardware
from robo_orl.results.record import Stored, SuiteRef, TaskRef

COST_SCHEMA_VERSION = 2


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
