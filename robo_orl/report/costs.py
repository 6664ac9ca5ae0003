"""Costs of a critic: interleaved measurements first, the cells' own clocks where there is no such measurement."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from statistics import fmean
from typing import get_args

from robo_orl.config import Topology
from robo_orl.results.record import CostRecord, CostRow, Record


@dataclass(frozen=True)
class StepCost:
    """One policy of an interleaved measurement, relative to the first row of its table."""

    policy: str
    size: str
    topology: str | None
    step_relative: float
    memory_relative: float | None
    flops_relative: float | None
    flops_per_sample: float | None
    parameters: dict[str, int]
    steps: int


@dataclass(frozen=True)
class CostTable:
    """One interleaved measurement; reference: the policy of its first row."""

    task: str
    batch_size: int
    reference: str
    sizes: list[str]
    memory_kinds: list[str]
    hardware: str
    rows: list[StepCost]
    topologies_missing: list[str]


@dataclass(frozen=True)
class RelativeCost:
    """Costs of a training relative to the board's control.

    cost_source: "interleaved" (one measurement, all policies in turn), "cells" (each while its cell ran, beside
    whatever else ran on the machine: indicative only) or None. cost_n: timed steps, or training seeds of cells.
    """

    cell_time_relative: float | None
    cell_memory_relative: float | None
    steps_relative: float | None
    time_relative: float | None
    memory_relative: float | None
    flops_relative: float | None
    cost_n: int
    cost_source: str | None


def cost_tables(costs: Sequence[CostRecord]) -> list[CostTable]:
    """One table per interleaved measurement; every ratio is relative to its first row."""
    return [
        CostTable(
            task=record.task.name,
            batch_size=record.batch_size,
            reference=record.rows[0].policy,
            sizes=sorted({row.size for row in record.rows}),
            memory_kinds=sorted({row.memory_kind for row in record.rows}),
            hardware=record.hardware.accelerator or record.hardware.cpu,
            rows=[StepCost(**{f.name: getattr(row, f.name) for f in fields(StepCost)}) for row in record.rows],
            topologies_missing=[t for t in get_args(Topology) if t not in {row.topology for row in record.rows}],
        )
        for record in costs
    ]


def relative_cost(
    costs: Sequence[CostRecord], row: tuple[str, str | None, str], records: Sequence[Record], controls: Sequence[Record]
) -> RelativeCost:
    """Training time and peak memory relative to the control. row: (policy, control, size) of the board.

    records, controls: the cells of the policy and of the control, the latter empty on a board without one.
    """
    time, memory, steps = _in_cells(records, controls)
    pair = _pair(costs, *row)
    if pair and steps:
        own, reference = pair
        return RelativeCost(
            time, memory, steps,
            time_relative=own.step_s / reference.step_s * steps,
            memory_relative=_ratio(own.peak_memory_bytes, reference.peak_memory_bytes),
            flops_relative=_ratio(own.flops_per_sample, reference.flops_per_sample),
            cost_n=own.steps, cost_source="interleaved",
        )  # fmt: skip
    return RelativeCost(time, memory, steps, time, memory, None, len(records), "cells" if time else None)


def _in_cells(records: Sequence[Record], controls: Sequence[Record]) -> tuple[float | None, float | None, float | None]:
    """(time, memory, steps) of training by the cells' own clocks, relative to the control's cells."""
    if not controls:
        return None, None, None
    seconds, memory, reference = _seconds(controls), _memory(records), _memory(controls)
    kinds = {record.train.peak_memory_kind for record in (*records, *controls)}
    return (
        _seconds(records) / seconds if seconds else None,
        memory / reference if memory and reference and len(kinds) == 1 else None,
        records[0].train.steps / controls[0].train.steps,
    )


def _seconds(records: Sequence[Record]) -> float:
    return fmean(record.train.step_s_median * record.train.steps for record in records)


def _memory(records: Sequence[Record]) -> float | None:
    known = [record.train.peak_memory_bytes for record in records if record.train.peak_memory_bytes]
    return fmean(known) if known else None


def _pair(costs: Sequence[CostRecord], policy: str, control: str | None, size: str) -> tuple[CostRow, CostRow] | None:
    """The rows of `policy` and `control` at one size in one measurement."""
    for record in costs:
        rows = {row.policy: row for row in record.rows if row.size == size}
        if policy in rows and control in rows:
            return rows[policy], rows[control]
    return None


def _ratio(value: float | None, reference: float | None) -> float | None:
    return value / reference if value and reference else None
