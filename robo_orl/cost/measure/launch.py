"""Training steps measured on several processes: started by `accelerate launch`, with the launch files of training."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median

import torch

from robo_orl.base.errors import RunError
from robo_orl.base.machine import ONE_THREAD
from robo_orl.config import PolicyConfig, TaskConfig
from robo_orl.config.presets import available
from robo_orl.cost.measure.one_process import describe, forget, this_device
from robo_orl.cost.measure.step_cost import ProcessCosts, StepCost, beside
from robo_orl.cost.parallelism import Layout

LIMIT_S = 540


def compare_launched(
    policies: Sequence[PolicyConfig], task: TaskConfig, layout: Layout, steps: int = 20, predict: bool = True
) -> list[StepCost]:
    """One row per policy, relative to the first one, which is measured before and after the others.

    All run in one job, one after the other: a drift of the machine cancels to first order. Raises RunError where the
    job fails; where it runs out of memory the last row says so, and no row has a ratio.
    """
    layout = layout.but(device=this_device())
    rows = [describe(policy, task, layout, predict) for policy in policies]
    forget()
    turns = [*policies, policies[0]] if len(policies) > 1 else list(policies)
    try:
        costs = launch(layout, turns, task, steps)
    except RunError as error:
        if "out of memory" not in str(error).lower():
            raise
        return [*rows[:-1], replace(rows[-1], oom=str(error))]
    rows = [replace(row, launched=cost) for row, cost in zip(rows, costs, strict=False)]
    base_s = median(costs[0].times_s + costs[-1].times_s if len(costs) > 1 else costs[0].times_s)
    first = replace(rows[0], step_relative=1.0, memory_relative=1.0)
    return [first] + [replace(beside(row, rows[0]), step_relative=row.step_s / base_s) for row in rows[1:]]


def launch_file(layout: Layout, gpu: bool) -> Path:
    """The shipped accelerate file of a layout; RunError where none is shipped."""
    engine = f"zero{layout.zero}" if layout.zero else ("ddp" if layout.world > 1 else "single")
    name = f"{'' if gpu else 'cpu_'}{engine}{'_offload' if layout.offload else ''}"
    files = available("launch")
    if name not in files:
        raise RunError(f"No launch file for {layout.describe()}: launch/{name}.yaml is missing.")
    return files[name]


def launch(
    layout: Layout, policies: Sequence[PolicyConfig], task: TaskConfig, steps: int, limit_s: float = LIMIT_S
) -> list[ProcessCosts]:
    """The costs of each policy's step (distributed.py), measured one after the other in one job.

    Raises RunError where the job fails or takes longer than `limit_s` seconds.
    """
    gpu = torch.cuda.is_available()
    about = {"task": task.model_dump(mode="json"), "steps": steps}
    with tempfile.TemporaryDirectory() as name:
        request, answer = Path(name) / "request.json", Path(name) / "answer.json"
        request.write_text(json.dumps([about | {"policy": policy.model_dump(mode="json")} for policy in policies]))
        command = [sys.executable, "-m", "accelerate.commands.launch"]
        command += ["--config_file", str(launch_file(layout, gpu)), "--num_processes", str(layout.world)]
        command += ["-m", "robo_orl.cost.measure.distributed", str(request), str(answer)]
        environment = ONE_THREAD | dict(os.environ)
        try:
            done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=limit_s)
        except subprocess.TimeoutExpired:
            raise RunError(f"{layout.describe()} took longer than {limit_s:.0f} s; ask for fewer steps.") from None
        if done.returncode or not answer.exists():
            raise RunError(f"{layout.describe()} failed: {_last_error(done.stderr)}")
        return [ProcessCosts(**values) for values in json.loads(answer.read_text())]


def _last_error(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if "Error" in line and "ChildFailed" not in line]
    return lines[-1] if lines else (text.strip().splitlines() or ["no message"])[-1]
