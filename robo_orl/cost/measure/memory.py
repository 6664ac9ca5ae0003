"""Memory of a training step on this device: its peak by phase, and the calibration of predictions by it.

Peaks are those of torch's allocator on a GPU, of every tensor on the CPU. Torch's counter on a GPU also holds the
workspaces of its libraries, and the allocator rounds every tensor up. A few small reference steps measure how much that
is; the largest difference is added to every prediction for this device. It is stored in the user's cache, for one
version of torch, at the first measurement on a GPU. On the CPU there is nothing to calibrate.
"""

from __future__ import annotations

import gc
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import torch

from robo_orl.base.errors import UsageError
from robo_orl.base.files import cache_folder, write_json
from robo_orl.config import PolicyConfig, TaskConfig
from robo_orl.cost.measure.step_cost import MeasuredMemory
from robo_orl.cost.parallelism import Layout
from robo_orl.cost.predict.memory import memory
from robo_orl.cost.predict.workload import workload_of
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


# ---------------------------------------------------------------------------------------------------------- calibration


CRITIC = {"critic": {"topology": "shared"}, "objective": {"name": "iql"}}
REFERENCES = [
    {"name": name, "action_head": {"kind": "flow"}, "backbone": {"size": size}, "optim": {"precision": kind}} | parts
    for name, size, parts in (("cloning", "xs", {}), ("critic", "s", CRITIC))
    for kind in ("fp32", "bf16")
]


@dataclass(frozen=True)
class ReferenceStep:
    """A small step of known size, predicted without the calibration and measured.

    error: of the prediction with the calibration added, relative.
    """

    policy: str
    size: str
    precision: str
    predicted: int
    measured: int
    error: float = 0.0


@dataclass(frozen=True)
class Calibration:
    """Bytes that a device's counter shows beside tensors, by the reference steps, with one version of torch."""

    device: str
    extra_bytes: int
    rows: list[ReferenceStep]
    versions: dict[str, str]
    created: str


def calibration_bytes(task: TaskConfig, device: str) -> int:
    """Bytes to add on this device, calibrated now where that has not been done; 0 on the CPU."""
    if device == "cpu":
        return 0
    return (stored(device) or calibrate(task, device)).extra_bytes


def stored_bytes(device: str) -> int:
    """Bytes to add on this device; 0 where it has not been calibrated with this torch, and on the CPU."""
    calibration = stored(device) if device != "cpu" else None
    return calibration.extra_bytes if calibration else 0


def calibrate(task: TaskConfig, device: str) -> Calibration:
    """Measure the reference steps; store and return the calibration."""
    rows = [_row(PolicyConfig.model_validate(values), task, device) for values in REFERENCES]
    extra = max(0, *(row.measured - row.predicted for row in rows))
    calibration = Calibration(
        device=name_of(device),
        extra_bytes=extra,
        rows=[replace(row, error=(row.predicted + extra) / row.measured - 1) for row in rows],
        versions={"torch": torch.__version__},
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    write_json(path_of(device), asdict(calibration))
    return calibration


def _row(policy: PolicyConfig, task: TaskConfig, device: str) -> ReferenceStep:
    workload = workload_of(policy, task, Layout(device=device))
    gc.collect()  # the step before this one
    step = SyntheticStep(policy, workload.spec, workload.action_dim, workload.gamma, device)
    step.run()  # makes the moments, and the workspaces
    predicted, measured = memory(workload).peak_bytes, measured_memory(step).peak_bytes
    return ReferenceStep(policy.name, policy.backbone.size, policy.optim.precision, predicted, measured)


def stored(device: str) -> Calibration | None:
    """The calibration of this device with this torch, None where there is none; UsageError for a broken file."""
    path = path_of(device)
    if not path.exists():
        return None
    try:
        values = json.loads(path.read_text())
        fields = {name: values[name] for name in ("device", "extra_bytes", "versions", "created")}
        calibration = Calibration(**fields, rows=[ReferenceStep(**row) for row in values["rows"]])
        fits = calibration.versions["torch"] == torch.__version__
    except (OSError, ValueError, KeyError, TypeError):
        raise UsageError(f"The calibration {path} cannot be read: delete it, and it is made again.") from None
    return calibration if fits else None


def path_of(device: str) -> Path:
    """The file of a device's calibration."""
    name = "".join(c if c.isalnum() else "-" for c in name_of(device).lower())
    return cache_folder() / "calibration" / f"{name}.json"


def name_of(device: str) -> str:
    """The device's own name."""
    return torch.cuda.get_device_name() if device == "cuda" else device
