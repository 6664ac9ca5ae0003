"""The memory of a run: predicted by part before its first step, measured in its third.

A run whose prediction exceeds the device stops before it starts, with the nearest setting that would fit.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import psutil
import torch
from accelerate import Accelerator

from robo_orl.agent.compatibility import needs_whole_batch
from robo_orl.base.errors import UsageError
from robo_orl.base.files import write_json
from robo_orl.base.text import notice
from robo_orl.config import SIZES, RunConfig
from robo_orl.cost.measure.memory import stored_bytes
from robo_orl.cost.parallelism import Layout
from robo_orl.cost.predict.activation_memory import Unpredictable
from robo_orl.cost.predict.memory import MemoryPrediction, largest_batch, memory
from robo_orl.cost.predict.workload import Workload, unpredictable
from robo_orl.cost.tensor_memory import TensorBytes, tensors_alive
from robo_orl.cost.terminal import human_bytes, memory_line
from robo_orl.engine.run_folder import Spec
from robo_orl.models.backbones.transformer import depth_of
from robo_orl.objectives import OBJECTIVES

MEASURED_STEP = 3  # the first two allocate moments and buckets


class PredictedMemory:
    """The prediction of one run, and the measurement beside it; both go to memory.json. The first process predicts."""

    def __init__(self, run: RunConfig, spec: Spec, accelerator: Accelerator):
        """Raises UsageError where the run cannot fit the device."""
        self.accelerator, self.policy = accelerator, run.policy
        self.predicted: MemoryPrediction | None = None
        self.measured: int | None = None
        self.why_not = unpredictable(run.policy)
        if self.why_not is None and accelerator.is_main_process:
            workload = Workload(run.policy, spec.obs, spec.gamma, layout_of(accelerator), spec.action_dim)
            try:
                self.predicted = memory(workload).calibrated(stored_bytes(workload.layout.device))
            except Unpredictable as error:
                self.why_not = str(error)
                return
            check_room(workload, self.predicted, available_bytes(accelerator.device.type, accelerator.num_processes))

    def announce(self, progress: bool) -> None:
        """Print the prediction, where a person watches."""
        if progress and self.accelerator.is_main_process:
            line = f"not predicted: {self.why_not}" if self.predicted is None else memory_line(self.predicted)
            notice(f"memory per process, predicted: {line}")

    @contextmanager
    def step(self, number: int, out: Path, progress: bool) -> Iterator[None]:
        """Around the run's `number`-th step of this process, counted from 1: the third is measured."""
        if number != MEASURED_STEP or self.policy.compiled:  # allocations of compiled blocks are not counted
            yield
            return
        gpu = self.accelerator.device.type == "cuda"
        counter = nullcontext() if gpu else TensorBytes(tensors_alive())
        with counter:
            yield
        self.measured = torch.cuda.max_memory_allocated() if gpu else counter.peak
        if self.accelerator.is_main_process:
            predicted = self.predicted.to_json() if self.predicted else None
            write_json(out / "memory.json", {"predicted": predicted, "measured_peak_bytes": self.measured})
            if progress:
                notice(f"memory per process, measured: {human_bytes(self.measured)} at its peak")


def layout_of(accelerator: Accelerator) -> Layout:
    """The layout that accelerate was launched with."""
    plugin = getattr(accelerator.state, "deepspeed_plugin", None)
    zero = plugin.deepspeed_config["zero_optimization"] if plugin is not None else {}
    offload = zero.get("offload_optimizer", {}).get("device", "none") != "none"
    return Layout(accelerator.num_processes, zero.get("stage", 0), offload, device=accelerator.device.type)


def available_bytes(device: str, processes: int = 1) -> int:
    """Bytes that one process may take: of its GPU what is free, of the machine's memory its share."""
    if device == "cuda":
        return torch.cuda.mem_get_info()[0]
    return psutil.virtual_memory().total // processes


def check_room(workload: Workload, predicted: MemoryPrediction, available: int) -> None:
    """UsageError with the nearest setting that fits, where the predicted peak is above `available` bytes."""
    if predicted.peak_bytes > available:
        raise UsageError(
            f"This run needs {human_bytes(predicted.peak_bytes)} per process and there are "
            f"{human_bytes(available)}. {nearest(workload, available)}"
        )


def parts_of(workload: Workload) -> list[int]:
    """More parts than now that a process's batch could be read in; none where the objective needs the whole batch."""
    if needs_whole_batch(OBJECTIVES[workload.policy.objective.name](workload.policy)):
        return []
    pairs = workload.layout.pairs(workload.batch)
    doubled = (workload.parts * 2**power for power in range(1, 10))
    return [parts for parts in doubled if parts <= pairs and pairs % parts == 0]


def nearest(workload: Workload, available: int) -> str:
    """One sentence: the change that costs least and makes the workload fit `available` bytes."""

    def fits(**change: Any) -> bool:
        return memory(workload.but(**change)).peak_bytes <= available

    native = workload.policy.backbone.kind == "transformer"
    if native and not workload.policy.backbone.checkpointing and fits(checkpointing=True):
        return "It fits with --set policy.backbone.checkpointing=true."
    for parts in parts_of(workload):
        if fits(parts=parts):
            return f"It fits with --set policy.optim.accumulation={parts}."
    batch = largest_batch(workload, available)
    if batch:
        return f"It fits with --set policy.optim.batch_size={batch}."
    for stage in range(workload.layout.zero + 1, 4):
        if workload.layout.world > 1 and fits(zero=stage):
            return f"It fits with launch/zero{stage}.yaml."
    here = depth_of(workload.policy.backbone.size) if native else 0
    for size in reversed([size for size in SIZES if SIZES[size] < here]):
        if fits(size=size):
            return f"It fits with --set policy.backbone.size={size}."
    return "No setting of batch, ZeRO stage or size makes it fit here."
