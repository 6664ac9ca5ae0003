"""The cost grid of a suite: its plan as JSON, its run here, and its rows as the report's cost records."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from robo_orl.base.errors import UsageError
from robo_orl.base.machine import code, hardware, versions
from robo_orl.config import PolicyConfig, SuiteConfig
from robo_orl.config.presets import load_task
from robo_orl.cost.measure.grid import cells, rows, run
from robo_orl.cost.parallelism import Layout
from robo_orl.cost.predict.cards import card
from robo_orl.cost.predict.largest import largest
from robo_orl.cost.predict.prediction import unpredictable, workload_of
from robo_orl.cost.rows import write_row
from robo_orl.results.record import CostRecord, CostRow, Hardware
from robo_orl.results.store import write_cost
from robo_orl.sweep.cells import policy_of
from robo_orl.sweep.collect import suite_ref, task_ref

PLAN = "cost_plan.json"
LARGEST = "cost_largest"


def plan_of(suite: SuiteConfig) -> dict[str, Any]:
    """Everything that cost/measure/grid.py needs, resolved: a machine without presets and pydantic can run it."""
    grid, where = suite.grid, f"suite {suite.name}, grid"
    policies = [policy_of(choice, suite.set, grid.set, size=None, where=where) for choice in grid.policies]
    for name in grid.cards:
        card(name)
    for size in grid.sizes:  # a size that does not exist is told before anything runs
        policy_of(grid.policies[0], size=size, where=where)
    if policies[0].critic is not None:
        raise UsageError(f"{where}: the first policy is the base of every ratio: put plain behaviour cloning there.")
    return {
        "suite": suite.name,
        "version": suite.version,
        "task": load_task(grid.task).model_dump(mode="json"),
        "policies": [policy.model_dump(mode="json") for policy in policies],
        "sizes": grid.sizes,
        "zero": grid.zero,
        "steps": grid.steps,
    }


def run_grid(suite: SuiteConfig, out: Path, tell: Callable[[str], None]) -> dict[str, Any]:
    """Write the plan, measure what is missing of it, and turn the rows into cost records; returns the counts."""
    plan = plan_of(suite)
    write_row(out / PLAN, plan)
    summary = run(plan, out, tell=tell)
    store_records(suite, out)
    predict_largest(suite, plan, out, tell)
    return {"suite": suite.name, "folder": str(out), "cost_cells": len(cells(plan)), **summary}


def predict_largest(suite: SuiteConfig, plan: dict[str, Any], out: Path, tell: Callable[[str], None]) -> None:
    """A row for every card of the grid and every policy, what is there already left alone; no device is asked."""
    task = load_task(suite.grid.task)
    for values in plan["policies"]:
        policy = PolicyConfig.model_validate(values)
        batch, precision = policy.optim.batch_size, policy.optim.precision
        names = {c: out / LARGEST / f"{c}-{precision}-{batch}-{policy.name}.json" for c in suite.grid.cards}
        missing = {name: path for name, path in names.items() if not path.exists()}
        if not missing or unpredictable(policy):
            continue
        workload = workload_of(policy, task, Layout())
        for name, path in missing.items():
            asked = card(name)
            found = largest(workload, asked.usable)
            about = {"policy": policy.name, "batch": batch, "precision": precision}
            write_row(path, {"card": name, "usable_bytes": asked.usable, **about, "largest": found})
            tell(f"{policy.name} on {name}: {'none fits' if found is None else found['size'] + ' is the largest'}")


def hardware_of(row: dict[str, Any]) -> Hardware:
    """What a row was measured on, which may be another machine than the one that makes the record."""
    here = hardware()
    if (row["accelerator"], row["cores"]) == (here.accelerator, os.cpu_count()):
        return here
    return Hardware(cpu=row["cpu"], cores=row["cores"], memory_bytes=None, accelerator=row["accelerator"])


def store_records(suite: SuiteConfig, out: Path) -> None:
    """One record a size: the single-process rows that were measured beside their base."""
    task = load_task(suite.grid.task)
    for size in suite.grid.sizes:
        found = [row for row in rows(out) if row["size"] == size and not row["launched"] and not row["oom"]]
        kept = [row for row in found if row["step_relative"]]
        base = [row for row in kept if row["policy"] == row["base"]]
        if base:
            others = [row for row in kept if row["policy"] != row["base"]]
            fields = CostRow.model_fields
            record = CostRecord(
                key=size,
                suite=suite_ref(suite),
                task=task_ref(task),
                batch_size=base[0]["batch"],
                rows=[CostRow(**{name: row[name] for name in fields}) for row in [*base, *others]],
                versions=versions() | base[0]["versions"],
                hardware=hardware_of(base[0]),
                code=code(),
                created=base[0]["created"],
            )
            write_cost(out, size, record)
