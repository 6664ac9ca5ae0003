"""A grid of cost cells, each a policy of one size on one layout beside behaviour cloning; torch is all it needs.

A cell is measured with its base in turns, and leaves one JSON row. A second call does what is missing; a time limit
ends a call between two cells. What cannot run here (no DeepSpeed) is named and left for a machine that can, and rows of
one device are not joined by those of another: with rows brought home from a GPU nothing is measured on this CPU.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch

from robo_orl.agent.agent import build_agent
from robo_orl.base.errors import RunError
from robo_orl.config import PolicyConfig, TaskConfig
from robo_orl.cost.measure.calibration import calibrated, ensured
from robo_orl.cost.measure.interleaved import beside, cost_table
from robo_orl.cost.measure.one_process import or_out_of_memory
from robo_orl.cost.measure.plain_schemas import found
from robo_orl.cost.parallelism import Layout
from robo_orl.cost.predict.prediction import memory, unpredictable, workload_of
from robo_orl.cost.rows import machine, write_row
from robo_orl.cost.synthetic_data import ACTION_DIM, policy_spec

ROWS = "cost_cells"


@dataclass(frozen=True)
class CostCell:
    """One policy of a plan at one size in one process, or launched on several under DDP (zero 0) or a ZeRO stage."""

    policy: PolicyConfig
    base: PolicyConfig
    zero: int
    launched: bool

    @property
    def name(self) -> str:
        """Unique in its plan, and a file name."""
        optim, engine = self.policy.optim, "ddp" if self.launched and not self.zero else f"zero{self.zero}"
        return f"{self.policy.backbone.size}-{engine}-{optim.precision}-{optim.batch_size}-{self.policy.name}"

    @property
    def layout(self) -> Layout:
        """Where its numbers live on this machine."""
        return Layout(processes() if self.launched else 1, self.zero, device=device())


def cells(plan: dict[str, Any]) -> list[CostCell]:
    """The cells of a plan {"policies": resolved, base first; "sizes", "zero", ...}: small sizes first, base first."""
    policies = [PolicyConfig.model_validate(values) for values in plan["policies"]]
    found = []
    for size in plan["sizes"]:
        sized = [p.model_copy(update={"backbone": p.backbone.model_copy(update={"size": size})}) for p in policies]
        found += [CostCell(policy, sized[0], *engine) for engine in engines(plan["zero"]) for policy in sized]
    return found


def engines(stages: Sequence[int]) -> list[tuple[int, bool]]:
    """(stage, launched) for each of the stages, and plain DDP on as many processes before the first ZeRO stage."""
    found = [(stage, stage > 0) for stage in stages]
    first = next((index for index, stage in enumerate(stages) if stage), None)
    if first is not None:
        found.insert(first, (0, True))
    return found


def run(plan: dict[str, Any], out: Path, minutes: float | None = None, tell: Any = print) -> dict[str, Any]:
    """Measure the cells of `plan` that have no row in `out` yet; returns counts and what was left out, and why.

    minutes: start no cell that would end later, judged by the slowest so far. tell: called with a line per cell.
    """
    began, slowest = time.monotonic(), 0.0
    task, missing, elsewhere = TaskConfig.model_validate(plan["task"]), lacking(), measured_elsewhere(out)
    done = skipped = 0
    left: list[str] = []
    for cell in cells(plan):
        path = out / ROWS / f"{cell.name}.json"
        why = elsewhere or why_not(cell, missing)
        if path.exists():
            skipped += 1
        elif why:
            left.append(f"{cell.name}: {why}")
        elif minutes is not None and time.monotonic() - began + slowest > 60 * minutes:
            left.append(f"{cell.name}: no time left in this slice")
        else:
            started = time.monotonic()
            try:
                row = measured(cell, task, plan["steps"])
            except RunError as error:  # a launched job that failed: the other cells still can
                left.append(f"{cell.name}: {error}")
                continue
            write_row(path, row)
            done, slowest = done + 1, max(slowest, time.monotonic() - started)
            tell(f"{cell.name}: {told(row)}")
    return {"measured": done, "there_before": skipped, "left_out": left, "missing": missing}


def measured_elsewhere(out: Path) -> str | None:
    """Why nothing is added to the rows of `out`: they are another device's. None where they are this one's."""
    others = {row.get("accelerator") for row in rows(out)} - {machine()["accelerator"]}
    return f"the rows there were measured on {others.pop() or 'a CPU'}" if others else None


def lacking() -> list[str]:
    """Packages without which some cells cannot run."""
    return [name for name in ("accelerate", "deepspeed") if not found(name)]


def why_not(cell: CostCell, missing: list[str]) -> str | None:
    """Why a cell cannot be measured on this machine; None where it can."""
    needed = [name for name in missing if cell.zero or (cell.launched and name == "accelerate")]
    if needed:
        return f"{'ZeRO' if cell.zero else 'DDP'} needs {' and '.join(needed)}, not installed here"
    if not cell.launched:
        return None
    return None if cell.policy.optim.batch_size % (2 * processes()) == 0 else "the batch does not divide"


def processes() -> int:
    """Of a launched cell: one a GPU, or two on the CPU, so that something is communicated everywhere."""
    return torch.cuda.device_count() or 2


def device() -> str:
    """What cells are measured on."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def measured(cell: CostCell, task: TaskConfig, steps: int) -> dict[str, Any]:
    """The row of one cell."""
    alone = cell.policy.name == cell.base.name
    if cell.launched:
        row = _launched(cell, task, steps)
    else:
        pair = [cell.base] if alone else [cell.base, cell.policy]
        row = or_out_of_memory(lambda: cost_table(pair, task, steps)[-1])
        if row.get("oom") and not alone:  # two agents did not fit beside each other: one may
            _forget()
            row = or_out_of_memory(lambda: _one_after_the_other(pair, task, steps)) | {"alone": True}
    _forget()
    return {
        "cell": cell.name, "policy": cell.policy.name, "size": cell.policy.backbone.size, "zero": cell.zero,
        "launched": cell.launched, "base": cell.base.name, "batch": cell.policy.optim.batch_size,
        "precision": cell.policy.optim.precision, "parameters_total": parameters_of(cell, task), "oom": None,
        "predicted": _predicted(cell, task),
        **row, **machine(),
    }  # fmt: skip


def _one_after_the_other(pair: list[PolicyConfig], task: TaskConfig, steps: int) -> dict[str, Any]:
    """The second one's row. Memory compares; times that were not taken in turns do not."""
    base, row = (cost_table([policy], task, steps)[0] for policy in pair)
    return row | beside(row, base) | {"step_relative": None, "step_relative_quartiles": None}


def parameters_of(cell: CostCell, task: TaskConfig) -> int:
    """Of the whole agent, slow copies included."""
    spec, gamma = policy_spec(cell.policy, task), cell.policy.gamma.value(task.horizon)
    with torch.device("meta"):
        return build_agent(cell.policy, spec, ACTION_DIM, gamma, None, 0).parameter_counts()["total"]


def _predicted(cell: CostCell, task: TaskConfig) -> dict[str, Any] | None:
    if unpredictable(cell.policy):
        return None
    return calibrated(memory(workload_of(cell.policy, task, cell.layout)), ensured(task, cell.layout.device))


def _launched(cell: CostCell, task: TaskConfig, steps: int) -> dict[str, Any]:
    """The base before and after the policy, in one job: a drift of the machine cancels to first order."""
    from robo_orl.cost.measure.launch import launch

    turns = [cell.base, cell.policy, cell.base]
    try:
        first, own, last = launch(cell.layout, [{"policy": policy, "task": task, "steps": steps} for policy in turns])
    except RunError as error:
        if "out of memory" in str(error).lower():
            return {"oom": str(error)}
        raise
    base = median(first["times_s"] + last["times_s"])
    return {
        "world": cell.layout.world,
        "steps": steps,
        "step_s": own["step_s"],
        "step_relative": own["step_s"] / base,
        "peak_memory_bytes": max(own["peak_bytes"]),
        "memory_relative": max(own["peak_bytes"]) / max(first["peak_bytes"]),
        "sent_bytes_per_step": own["sent_bytes_per_step"],
        "engine": own["engine"],
        "windows": "synthetic",
    }


def _forget() -> None:
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def told(row: dict[str, Any]) -> str:
    """A row in a few words."""
    if row["oom"]:
        return "out of memory"
    relative = f", {row['step_relative']:.3f} x {row['base']}" if row["step_relative"] else ""
    return f"{row['step_s'] * 1e3:.4g} ms a step{relative}, {row['peak_memory_bytes'] / 1e9:.3g} GB"


def rows(out: Path) -> Iterator[dict[str, Any]]:
    """Every row of a folder."""
    for path in sorted((out / ROWS).glob("*.json")):
        yield json.loads(path.read_text())
