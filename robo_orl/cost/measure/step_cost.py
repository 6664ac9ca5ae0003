"""The cost of a training step as it was measured: one row a policy, and its ratios to the first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from statistics import median, quantiles
from typing import Any

from robo_orl.cost.predict.memory import MemoryPrediction
from robo_orl.engine.training_step import PHASES

WARM_UP = 3  # steps that are not timed: moments are allocated, kernels chosen
OPTIONAL = ("topology", "step_relative", "oom")  # keys of the JSON that stand there without a value


@dataclass(frozen=True)
class MeasuredMemory:
    """Bytes at the peak of a step: torch's allocator on a GPU, every tensor on the CPU.

    parts: what lives between two steps by role, and what a step adds; they sum to the peak.
    """

    kind: str
    peak_bytes: int
    parts: dict[str, int]
    allocated_by_phase: dict[str, int]
    reserved_by_phase: dict[str, int] | None = None
    allocation_retries: int | None = None

    def to_json(self) -> dict[str, Any]:
        """Without the parts, which a row names `memory_parts`."""
        return {key: value for key, value in asdict(self).items() if value is not None and key != "parts"}


@dataclass(frozen=True)
class StepTimes:
    """Seconds of the timed steps of one policy."""

    steps: int
    step_s: float
    step_s_quartiles: list[float]
    phases_s: dict[str, float]
    phases_s_quartiles: dict[str, list[float]]
    data_s: float  # the copy of the window to the device, which is no part of the step
    joules_per_step: float | None = None


@dataclass(frozen=True)
class ActingTimes:
    """Seconds of one decision on one observation, as the policy acts: its samples, and its critic where that chooses.

    The ratio is the median over rounds of the ratio to the base within a round; None where they took no turns.
    """

    act_s: float
    act_s_quartiles: list[float]
    act_relative: float | None = None
    act_relative_quartiles: list[float] | None = None


@dataclass(frozen=True)
class Rates:
    """Throughput, and the share of what the device reaches in a matrix product (mfu: of the model's FLOPs)."""

    pairs_per_s: float
    observations_per_s: float
    action_chunks_per_s: float
    flops_per_step: dict[str, int]
    ceiling_flops_per_s: float
    mfu: float
    hfu: float


@dataclass(frozen=True)
class ProcessCosts:
    """A step on several processes: a value of each for bytes held, at the peak and sent."""

    engine: dict[str, Any]
    times_s: list[float]
    held_bytes: list[int]
    peak_bytes: list[int]
    sent_bytes_per_step: list[float]


@dataclass(frozen=True)
class StepCost:
    """One policy's step. A step that did not fit has `oom`, the allocator's message, and nothing measured."""

    policy: str
    size: str
    batch: int
    precision: str
    checkpointing: bool
    device: str
    threads: int
    parameters_total: int
    topology: str | None = None
    windows: str = "synthetic"
    predicted: MemoryPrediction | None = None
    parameters: dict[str, int] | None = None
    flops_per_sample: float | None = None
    memory: MeasuredMemory | None = None
    times: StepTimes | None = None
    acting: ActingTimes | None = None
    rates: Rates | None = None
    launched: ProcessCosts | None = None
    step_relative: float | None = None
    step_relative_quartiles: list[float] | None = None
    memory_relative: float | None = None
    flops_relative: float | None = None
    alone: bool = False
    oom: str | None = None

    @property
    def peak_memory_bytes(self) -> int | None:
        """Of the largest process."""
        if self.launched:
            return max(self.launched.peak_bytes)
        return self.memory.peak_bytes if self.memory else None

    @property
    def step_s(self) -> float | None:
        """The median step."""
        if self.launched:
            return median(self.launched.times_s)
        return self.times.step_s if self.times else None

    def to_json(self) -> dict[str, Any]:
        """One flat object; what was not measured has no key."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        memory, predicted = values.pop("memory"), values.pop("predicted")
        for part in ("times", "acting", "rates", "launched"):
            values |= asdict(inner) if (inner := values.pop(part)) else {}
        values |= {"step_s": self.step_s, "peak_memory_bytes": self.peak_memory_bytes}
        values["steps"] = self.times.steps if self.times else len(self.launched.times_s) if self.launched else None
        if memory:
            values |= {"memory": memory.to_json(), "memory_kind": memory.kind, "memory_parts": memory.parts}
        values["predicted"] = predicted.to_json() if predicted else None
        return {key: value for key, value in values.items() if value is not None or key in OPTIONAL}


def beside(row: StepCost, base: StepCost) -> StepCost:
    """The row with its ratios to the base's that do not depend on the clock."""
    flops = row.flops_per_sample / base.flops_per_sample if row.flops_per_sample and base.flops_per_sample else None
    return replace(row, memory_relative=row.peak_memory_bytes / base.peak_memory_bytes, flops_relative=flops)


def times_of(rounds: Sequence[dict[str, float]]) -> StepTimes:
    """Medians and quartiles of rounds of phase -> seconds."""
    totals = [step_seconds(phases) for phases in rounds]
    return StepTimes(
        steps=len(rounds),
        step_s=median(totals),
        step_s_quartiles=quartiles(totals),
        phases_s={phase: median(phases[phase] for phases in rounds) for phase in PHASES},
        phases_s_quartiles={phase: quartiles([phases[phase] for phases in rounds]) for phase in PHASES},
        data_s=median(phases.get("data", 0.0) for phases in rounds),
    )


def in_turns(row: StepCost, own: Sequence[dict[str, float]], base: Sequence[dict[str, float]]) -> StepCost:
    """The row with the median over rounds of the ratio within a round, which a machine that slows down leaves alone."""
    ratios = [step_seconds(mine) / step_seconds(other) for mine, other in zip(own, base, strict=True)]
    return replace(row, step_relative=median(ratios), step_relative_quartiles=quartiles(ratios))


def acting_in_turns(own: Sequence[float], base: Sequence[float]) -> ActingTimes:
    """The times of one policy's decisions beside those of the base in the same rounds."""
    ratios = [mine / other for mine, other in zip(own, base, strict=True)]
    return ActingTimes(median(own), quartiles(list(own)), median(ratios), quartiles(ratios))


def step_seconds(phases: dict[str, float]) -> float:
    """Seconds of a step from those of its phases."""
    return sum(phases[phase] for phase in PHASES)


def quartiles(values: list[float]) -> list[float]:
    """[25 %, 75 %] of at least two values; one value is its own quartile."""
    if len(values) < 2:
        return [values[0], values[0]]
    low, _, high = quantiles(values, n=4, method="inclusive")
    return [low, high]
