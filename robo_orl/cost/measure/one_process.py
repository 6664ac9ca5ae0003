"""A training step of one process, measured on this machine: time by phase, rates, utilisation, memory, energy.

The windows are synthetic, and said to be. A step that does not fit is a result (`oom`), not a fault.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import torch

from robo_orl.base.errors import UsageError
from robo_orl.config import PolicyConfig, TaskConfig
from robo_orl.cost.measure.calibration import calibrated, ensured
from robo_orl.cost.measure.interleaved import WARM_UP, quartiles
from robo_orl.cost.measure.memory_by_phase import memory_by_phase
from robo_orl.cost.parallelism import Layout
from robo_orl.cost.predict.prediction import memory, workload_of
from robo_orl.cost.synthetic_data import ACTION_DIM
from robo_orl.cost.training_step import PHASES, TrainingStep


def energy_joules() -> float | None:
    """Joules since the driver was loaded; None without NVML (`pip install nvidia-ml-py`), a GPU, or a counter in it."""
    if importlib.util.find_spec("pynvml") is None:
        return None
    import pynvml

    try:
        pynvml.nvmlInit()
        return pynvml.nvmlDeviceGetTotalEnergyConsumption(pynvml.nvmlDeviceGetHandleByIndex(0)) / 1000
    except pynvml.NVMLError:
        return None


CEILING_SIZE = {"cpu": 1024, "cuda": 8192}  # of the square matrices whose product is the ceiling
CEILING_S = 0.5


def measure_step(
    policy: PolicyConfig, task: TaskConfig, steps: int = 20, device: str | None = None, snapshot: Path | None = None
) -> dict[str, Any]:
    """One policy's step in one process: `steps` timed steps after the warm-up, the device waited for in every phase.

    snapshot: write the GPU allocator's history there. Raises UsageError where the policy cannot be built, or a snapshot
    is asked for without a GPU.
    """
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    if snapshot is not None and device != "cuda":
        raise UsageError("--snapshot needs a GPU: the CPU's allocator keeps no history.")
    workload = workload_of(policy, task, Layout(device=device))
    row: dict[str, Any] = {
        "policy": policy.name, "size": policy.backbone.size, "batch": policy.optim.batch_size,
        "precision": policy.optim.precision, "checkpointing": policy.backbone.checkpointing, "windows": "synthetic",
        "device": torch.cuda.get_device_name() if device == "cuda" else "cpu", "threads": torch.get_num_threads(),
        "predicted": calibrated(memory(workload), ensured(task, device)), "oom": None,
    }  # fmt: skip

    def run() -> dict[str, Any]:
        step = TrainingStep(policy, workload.spec, ACTION_DIM, workload.gamma, device)
        return _timed(step, steps) | {"memory": memory_by_phase(step)}

    with recording(snapshot):
        row |= or_out_of_memory(run)
    if row["oom"]:
        return row
    flops = {"model": workload.flops(model=True), "hardware": workload.flops(model=False)}
    ceiling = matmul_ceiling(device, policy.optim.precision)
    return row | _rates(row, policy, flops, ceiling)


def _timed(step: TrainingStep, steps: int) -> dict[str, Any]:
    """Median and quartiles of the step and of each phase, `data` being the copy of the window to the device."""
    window = step.window.map(lambda t: t.cpu().pin_memory() if step.device.type == "cuda" else t)
    rounds, joules = [], None
    for turn in range(WARM_UP + steps):
        if turn == WARM_UP:
            joules = energy_joules()
        began = perf_counter()
        step.window = window.to(step.device)
        if step.device.type == "cuda":
            torch.cuda.synchronize()
        seconds = {"data": perf_counter() - began} | step.timed()
        if turn >= WARM_UP:
            rounds.append(seconds)
    after = energy_joules()
    totals = [sum(seconds.values()) for seconds in rounds]
    phases = ("data", *PHASES)
    return {
        "steps": steps,
        "step_s": median(totals),
        "step_s_quartiles": quartiles(totals),
        "phases_s": {phase: median(r[phase] for r in rounds) for phase in phases},
        "phases_s_quartiles": {phase: quartiles([r[phase] for r in rounds]) for phase in phases},
        "joules_per_step": (after - joules) / steps if joules is not None and after is not None else None,
    }


def _rates(row: dict[str, Any], policy: PolicyConfig, flops: dict[str, int], ceiling: float) -> dict[str, Any]:
    seconds, batch = row["step_s"], policy.optim.batch_size
    return {
        "pairs_per_s": batch / 2 / seconds,
        "observations_per_s": batch / seconds,
        "action_chunks_per_s": batch / seconds,  # every observation imitates one chunk
        "flops_per_step": flops,
        "ceiling_flops_per_s": ceiling,
        "mfu": flops["model"] / seconds / ceiling,
        "hfu": flops["hardware"] / seconds / ceiling,
    }


def matmul_ceiling(device: str, precision: str, seconds: float = CEILING_S) -> float:
    """FLOP/s of the best of the square matrix products of `seconds` seconds: what this device gives at all."""
    n = CEILING_SIZE[device]
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    a, b = (torch.randn(n, n, device=device).to(dtype) for _ in range(2))
    best, end = float("inf"), perf_counter() + seconds
    while perf_counter() < end or best == float("inf"):
        began = perf_counter()
        a @ b
        if device == "cuda":
            torch.cuda.synchronize()
        best = min(best, perf_counter() - began)
    return 2 * n**3 / best


def out_of_memory(error: BaseException) -> str:
    """What an out-of-memory fault says, in a line; any other fault is raised again."""
    told = any(words in str(error).lower() for words in ("out of memory", "can't allocate"))
    if told or isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return str(error).split("\n")[0]
    raise error


@contextmanager
def recording(snapshot: Path | None) -> Iterator[None]:
    """Record the CUDA allocator's history into `snapshot`, for pytorch.org/memory_viz."""
    if snapshot is None:
        yield
        return
    torch.cuda.memory._record_memory_history(max_entries=200_000)
    try:
        yield
    finally:
        torch.cuda.memory._dump_snapshot(str(snapshot))
        torch.cuda.memory._record_memory_history(enabled=None)


def or_out_of_memory(run: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The result of `run`, or {"oom": what the allocator said}."""
    try:
        return run()
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        return {"oom": out_of_memory(error)}
