"""What a critic costs: interleaved measurements first, and the cells' own clocks only where nothing better exists."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from robo_orl.results.record import CostRecord, CostRow

TOPOLOGIES = ("shared", "shared_detached", "frozen", "separate_small", "separate")


def cost_tables(costs: Sequence[CostRecord]) -> list[dict[str, Any]]:
    """One table per interleaved measurement; every ratio is relative to its first row."""
    return [
        {
            "task": record.task.name,
            "batch_size": record.batch_size,
            "reference": record.rows[0].policy,
            "sizes": sorted({row.size for row in record.rows}),
            "memory_kinds": sorted({row.memory_kind for row in record.rows}),
            "hardware": record.hardware.accelerator or record.hardware.cpu,
            "rows": [_row(row) for row in record.rows],
            "topologies_missing": [t for t in TOPOLOGIES if t not in {row.topology for row in record.rows}],
        }
        for record in costs
    ]


def _row(row: CostRow) -> dict[str, Any]:
    keep = ("policy", "size", "topology", "step_relative", "memory_relative", "flops_relative", "flops_per_sample",
            "parameters", "steps")  # fmt: skip
    return {key: getattr(row, key) for key in keep}


def attach(board: dict[str, Any], costs: Sequence[CostRecord]) -> None:
    """Give every row of a board its training time and peak memory relative to the board's control.

    cost_source says where they come from: "interleaved" (one measurement, all policies in turn) or "cells" (each while
    its cell ran, beside whatever else ran on the machine: indicative only).
    """
    for row in board["rows"]:
        pair = _pair(costs, row["policy"], board["control"], board["size"])
        if pair and row["steps_relative"]:
            mine, reference = pair
            row["time_relative"] = mine.step_s / reference.step_s * row["steps_relative"]
            row["memory_relative"] = _ratio(mine.peak_memory_bytes, reference.peak_memory_bytes)
            row["flops_relative"] = _ratio(mine.flops_per_sample, reference.flops_per_sample)
            row["cost_n"], row["cost_source"] = mine.steps, "interleaved"
        else:
            row["time_relative"], row["memory_relative"] = row["cell_time_relative"], row["cell_memory_relative"]
            row["flops_relative"], row["cost_n"] = None, row["seeds"]
            row["cost_source"] = "cells" if row["time_relative"] else None


def _pair(costs: Sequence[CostRecord], policy: str, control: str | None, size: str) -> tuple[CostRow, CostRow] | None:
    """The rows of `policy` and `control` at one size in one measurement."""
    for record in costs:
        rows = {row.policy: row for row in record.rows if row.size == size}
        if policy in rows and control in rows:
            return rows[policy], rows[control]
    return None


def _ratio(value: float | None, reference: float | None) -> float | None:
    return value / reference if value and reference else None


def pareto_front(rows: Sequence[dict[str, Any]]) -> list[str]:
    """The policies that no other policy of the board beats in both training time and success."""
    known = [row for row in rows if row["time_relative"]]
    return [
        row["policy"]
        for row in known
        if not any(
            other["time_relative"] <= row["time_relative"]
            and other["success"]["rate"] >= row["success"]["rate"]
            and (other["time_relative"], other["success"]["rate"]) != (row["time_relative"], row["success"]["rate"])
            for other in known
        )
    ]
