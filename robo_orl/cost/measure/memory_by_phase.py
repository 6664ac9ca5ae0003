"""Peak bytes of each phase of a training step: torch's allocator on a GPU, every tensor on the CPU."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from robo_orl.cost.tensor_memory import TensorBytes
from robo_orl.cost.training_step import TrainingStep


def memory_by_phase(step: TrainingStep) -> dict[str, Any]:
    """Peak bytes of each phase of one step: torch's allocator on a GPU, every tensor on the CPU."""
    if step.device.type == "cuda":
        return _allocator_peaks(step)
    peaks: dict[str, int] = {}
    held = [tensor for tensors in step.tensors().values() for tensor in tensors]
    with TensorBytes(held) as counter:

        @contextmanager
        def phase(name: str) -> Iterator[None]:
            counter.restart_peak()
            yield
            peaks[name] = max(peaks.get(name, 0), counter.peak)  # of several parts of a batch

        step.run(phase)
    return {"kind": "bytes of torch tensors", "peak_bytes": max(peaks.values()), "allocated_by_phase": peaks}


def _allocator_peaks(step: TrainingStep) -> dict[str, Any]:
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
    return {
        "kind": "torch.cuda.max_memory_allocated",
        "peak_bytes": max(allocated.values()),
        "allocated_by_phase": allocated,
        "reserved_by_phase": reserved,
        "allocation_retries": torch.cuda.memory_stats().get("num_alloc_retries", 0),
    }
