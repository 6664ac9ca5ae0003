"""Peak bytes of a training step by phase: torch's allocator on a GPU, every tensor on the CPU."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from robo_orl.cost.measure.step_cost import MeasuredMemory
from robo_orl.cost.synthetic_step import SyntheticStep
from robo_orl.cost.tensor_memory import TensorBytes, storage_bytes

KIND = {"cpu": "bytes of torch tensors at the step's peak", "cuda": "torch.cuda.max_memory_allocated of a step"}


def measured_memory(step: SyntheticStep) -> MeasuredMemory:
    """Run one step; its peak, what is held between steps by role, and the peak of each phase."""
    gc.collect()  # cycles of earlier steps would free their memory somewhere in the middle of this one
    held = step.tensors()
    parts = {role: storage_bytes(tensors) for role, tensors in held.items()}
    del held
    allocated, more = _on_gpu(step) if step.device.type == "cuda" else (_on_cpu(step), {})
    peak = max(allocated.values())
    parts["gradients_and_activations"] = peak - sum(parts.values())
    return MeasuredMemory(KIND[step.device.type], peak, parts, allocated, **more)


def _on_cpu(step: SyntheticStep) -> dict[str, int]:
    peaks: dict[str, int] = {}
    with TensorBytes([tensor for tensors in step.tensors().values() for tensor in tensors]) as counter:

        @contextmanager
        def phase(name: str) -> Iterator[None]:
            counter.restart_peak()
            yield
            peaks[name] = max(peaks.get(name, 0), counter.peak)  # of several parts of a batch

        step.run(phase)
    return peaks


def _on_gpu(step: SyntheticStep) -> tuple[dict[str, int], dict]:
    allocated: dict[str, int] = {}
    reserved: dict[str, int] = {}

    @contextmanager
    def phase(name: str) -> Iterator[None]:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        yield
        torch.cuda.synchronize()
        allocated[name] = max(allocated.get(name, 0), torch.cuda.max_memory_allocated())
        reserved[name] = max(reserved.get(name, 0), torch.cuda.max_memory_reserved())

    step.run(phase)
    retries = torch.cuda.memory_stats().get("num_alloc_retries", 0)
    return allocated, {"reserved_by_phase": reserved, "allocation_retries": retries}
