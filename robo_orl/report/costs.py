"""Costs of a critic: interleaved measurements first, the cells' own clocks where there is no such measurement."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from statistics import fmean
from typing import Any, get_args

from robo_orl.config import Topology
from robo_orl.results.cost_record import CostRecord, CostRow
from robo_orl.results.record import Record, TaskRef


@dataclass(frozen=True)
class CostTableRow:
    """One policy of a table, relative to the table's reference."""

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
    """The policies of one size that were measured in turns; reference: the policy that ratios are relative to."""

    task: str
    batch_size: int
    reference: str
    sizes: list[str]
    memory_kinds: list[str]
    hardware: str
    rows: list[CostTableRow]
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


@dataclass(frozen=True)
class CostGroup:
    """The cost records of one base: one task, batch, precision, machine, engine and size. The base's row comes first.

    turns: whether all rows are from one run, in which all policies took turns; else each took turns with the base.
    """

    task: TaskRef
    base: str
    batch_size: int
    precision: str
    hardware: str
    launched: bool
    world: int
    zero: int
    turns: bool
    rows: list[CostRow]

    def compared(self) -> list[CostRow]:
        """The rows in one process whose times compare with the base's."""
        return [] if self.launched else [row for row in self.rows if row.step_relative and not row.oom]


def cost_groups(costs: Sequence[CostRecord]) -> list[CostGroup]:
    """The measured records, joined where they have a base, an engine and a size in common."""
    groups: dict[tuple, list[CostRecord]] = {}
    for record in costs:
        if record.rows:
            sizes = tuple(sorted({row.size for row in record.rows}))
            about = (record.task.digest, record.base, record.batch_size, record.precision, _machine(record))
            groups.setdefault((*about, record.launched, record.world, record.zero, sizes), []).append(record)
    return [_group(records) for records in groups.values()]


def _machine(record: CostRecord) -> str:
    return record.hardware.accelerator or record.hardware.cpu


def _group(records: list[CostRecord]) -> CostGroup:
    first = records[0]
    return CostGroup(
        first.task, first.base, first.batch_size, first.precision, _machine(first), first.launched, first.world,
        first.zero, turns=len(records) == 1, rows=first.rows if len(records) == 1 else _joined(records),
    )  # fmt: skip


def _joined(records: list[CostRecord]) -> list[CostRow]:
    """The rows of pairs. Each pair measured the base too; the base's own record, which has it alone, gives its row."""
    pairs = [(record, row) for record in records for row in record.rows]
    bases = [(len(record.rows), row) for record, row in pairs if row.policy == record.base]
    base = [min(bases, key=lambda base: base[0])[1]] if bases else []
    return [*base, *(row for record, row in pairs if row.policy != record.base)]


def cost_tables(costs: Sequence[CostRecord]) -> list[CostTable]:
    """One table per group in one process; every ratio is relative to its base."""
    return [
        CostTable(
            task=group.task.name,
            batch_size=group.batch_size,
            reference=group.base,
            sizes=sorted({row.size for row in rows}),
            memory_kinds=sorted({row.memory_kind for row in rows if row.memory_kind}),
            hardware=group.hardware,
            rows=[CostTableRow(**{f.name: getattr(row, f.name) for f in fields(CostTableRow)}) for row in rows],
            topologies_missing=[t for t in get_args(Topology) if t not in {row.topology for row in rows}],
        )
        for group in cost_groups(costs)
        if (rows := group.compared())
    ]


def cost_cells(costs: Sequence[CostRecord]) -> list[dict[str, Any]]:
    """Every measured cell: engine, time, memory beside its prediction, traffic, or out of memory.

    Empty where no row has a prediction: then the tables of `cost_tables` say everything.
    """
    rows = [
        {
            **row.model_dump(exclude={"topology", "parameters", "phases_s", "memory_parts", "engine"}),
            "base": group.base,
            "batch_size": group.batch_size,
            "precision": group.precision,
            "launched": group.launched,
            "world": group.world,
            "zero": group.zero,
        }
        for group in cost_groups(costs)
        for row in group.rows
    ]
    return rows if any(row["predicted"] for row in rows) else []


def largest_models(costs: Sequence[CostRecord]) -> list[dict[str, Any]]:
    """The largest model of every policy on every card, by prediction."""
    return [
        {**model.model_dump(), "batch_size": record.batch_size, "precision": record.precision}
        for record in costs
        for model in record.largest
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
        own, reference, step_relative = pair
        return RelativeCost(
            time, memory, steps,
            time_relative=step_relative * steps,
            memory_relative=_ratio(own.peak_memory_bytes, reference.peak_memory_bytes),
            flops_relative=_ratio(own.flops_per_sample, reference.flops_per_sample),
            cost_n=own.steps, cost_source="interleaved",
        )  # fmt: skip
    return RelativeCost(time, memory, steps, time, memory, None, len(records), "cells" if time else None)


def is_measured(costs: Sequence[CostRecord], policy: str, control: str | None, size: str) -> bool:
    """True where the training step of a policy was measured in turns with the control's."""
    return _pair(costs, policy, control, size) is not None


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


def _pair(
    costs: Sequence[CostRecord], policy: str, control: str | None, size: str
) -> tuple[CostRow, CostRow, float] | None:
    """The rows of `policy` and `control` at one size in one group, and the ratio of their step times."""
    for group in cost_groups(costs):
        rows = {row.policy: row for row in group.compared() if row.size == size}
        if policy in rows and control in rows:
            own, reference = rows[policy], rows[control]
            if group.turns:
                return own, reference, own.step_s / reference.step_s
            return own, reference, own.step_relative / reference.step_relative
    return None


def _ratio(value: float | None, reference: float | None) -> float | None:
    return value / reference if value and reference else None
