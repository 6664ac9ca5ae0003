"""What a policy costs to train, beside what behaviour cloning costs: time, memory, FLOPs, parameters.

All policies take turns in one process, a step each per round, so that a machine that slows down slows all of them; a
ratio is the median over rounds of the ratio within a round. Windows are synthetic and said to be.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from statistics import median, quantiles
from typing import Any

import torch

from robo_orl.base.errors import UsageError
from robo_orl.config import PolicyConfig, TaskConfig
from robo_orl.cost.flops import count_flops
from robo_orl.cost.synthetic_data import ACTION_DIM, task_spec
from robo_orl.cost.tensor_memory import TensorBytes, storage_bytes
from robo_orl.cost.training_step import PHASES, TrainingStep

WARM_UP = 3  # rounds that are not counted: moments are allocated, kernels chosen
MEMORY_KIND = {"cpu": "bytes of torch tensors at the step's peak", "cuda": "torch.cuda.max_memory_allocated of a step"}


def cost_table(
    policies: Sequence[PolicyConfig],
    task: TaskConfig,
    steps: int = 20,
    progress: bool = False,
    spec: dict[str, int] | None = None,
    device: str | None = None,
) -> list[dict[str, Any]]:
    """One row per policy, relative to the first one.

    steps: timed rounds. spec: observation, default that of the task's scene. device: default a GPU where there is one.
    A row has the fields of results.record.CostRow, and beside them quartiles (`step_s_quartiles`,
    `step_relative_quartiles`), `phases_s`, `memory_parts`, `batch_size`, `windows`, `device` and `threads`.

    Raises UsageError without policies, or where they do not take batches of one size: then samples do not compare.
    """
    sizes = {policy.optim.batch_size for policy in policies}
    if len(sizes) != 1:
        raise UsageError(f"A cost table needs policies of one batch size, not of {sorted(sizes) or 'none'}.")
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    spec = spec or task_spec(task)
    arguments = [(policy, spec, ACTION_DIM, policy.gamma.value(task.horizon), device) for policy in policies]
    return compared([partial(TrainingStep, *argument) for argument in arguments], steps, progress)


def compared(makers: Sequence[Callable[[], TrainingStep]], rounds: int, progress: bool = False) -> list[dict[str, Any]]:
    """`cost_table`'s rows for steps that `makers` make, relative to the first one's."""
    # One at a time: on a GPU the counter sees whatever else is held.
    rows = [_alone(make()) for make in makers]
    steps = [make() for make in makers]
    table = _interleaved(steps, rounds, progress)
    on_gpu = steps[0].device.type == "cuda"
    for index, row in enumerate(rows):
        row |= _times([turns[index] for turns in table], [turns[0] for turns in table])
        row |= beside(row, rows[0])
        row |= {
            "windows": "synthetic",
            "device": torch.cuda.get_device_name() if on_gpu else "cpu",
            "threads": torch.get_num_threads(),
        }
    return rows


def beside(row: dict[str, Any], base: dict[str, Any]) -> dict[str, float]:
    """A row's ratios to the base's that do not depend on the clock."""
    return {
        "memory_relative": row["peak_memory_bytes"] / base["peak_memory_bytes"],
        "flops_relative": row["flops_per_sample"] / base["flops_per_sample"],
    }


def _alone(step: TrainingStep) -> dict[str, Any]:
    """What does not depend on the clock."""
    policy = step.policy
    step.run()  # allocates the moments
    flops = count_flops(step.run)
    parts, peak = _memory(step)
    return {
        "policy": policy.name,
        "size": policy.backbone.size,
        "topology": policy.critic.topology if policy.critic and step.agent.critic is not None else None,
        "peak_memory_bytes": peak,
        "memory_kind": MEMORY_KIND[step.device.type],
        "memory_parts": parts,
        "flops_per_sample": flops / policy.optim.batch_size,
        "parameters": step.agent.parameter_counts(),
        "batch_size": policy.optim.batch_size,
    }


def _memory(step: TrainingStep) -> tuple[dict[str, int], int]:
    """Bytes held between steps by role, what a step adds at its peak, and the peak."""
    held = step.tensors()
    parts = {role: storage_bytes(tensors) for role, tensors in held.items()}
    gc.collect()  # cycles of earlier steps would free their memory somewhere in the middle of this one
    if step.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        step.run()
        peak = torch.cuda.max_memory_allocated()
    else:
        with TensorBytes([tensor for tensors in held.values() for tensor in tensors]) as counter:
            step.run()
        peak = counter.peak
    return parts | {"gradients_and_activations": peak - sum(parts.values())}, peak


def _interleaved(steps: list[TrainingStep], rounds: int, progress: bool) -> list[list[dict[str, float]]]:
    """rounds x policies x phase -> seconds. Every round begins with another policy, so that none always follows one."""
    table = []
    for turn in _shown(range(WARM_UP + rounds), progress):
        seconds: dict[int, dict[str, float]] = {}
        for offset in range(len(steps)):
            index = (turn + offset) % len(steps)
            seconds[index] = steps[index].timed()
        if turn >= WARM_UP:
            table.append([seconds[index] for index in range(len(steps))])
    return table


def _shown(count: range, progress: bool) -> Iterable[int]:
    if not progress:  # a machine that measures may have no rich
        return count
    from rich.console import Console
    from rich.progress import track

    return track(count, "measuring cost", console=Console(stderr=True), transient=True)


def _times(own: list[dict[str, float]], base: list[dict[str, float]]) -> dict[str, Any]:
    """Medians and quartiles of a policy's rounds, and of their ratios to the first policy's rounds."""
    totals = [sum(phases.values()) for phases in own]
    ratios = [total / sum(phases.values()) for total, phases in zip(totals, base, strict=True)]
    return {
        "step_s": median(totals),
        "step_s_quartiles": quartiles(totals),
        "step_relative": median(ratios),
        "step_relative_quartiles": quartiles(ratios),
        "phases_s": {phase: median(phases[phase] for phases in own) for phase in PHASES},
        "steps": len(own),
    }


def quartiles(values: list[float]) -> list[float]:
    """[25 %, 75 %] of at least two values; one value is its own quartile."""
    if len(values) < 2:
        return [values[0], values[0]]
    low, _, high = quantiles(values, n=4, method="inclusive")
    return [low, high]
