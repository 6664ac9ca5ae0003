"""What a device takes beside the tensors that a prediction knows of: measured once per device, kept, and added.

Torch's counter on a GPU also holds the workspaces of its libraries, and the allocator rounds every tensor up. A few
small steps of known size tell how much that is; the largest difference is added to every prediction for this device. It
is kept in the user's cache, for one version of torch, and taken the first time that something is measured on a GPU. On
the CPU tensors are counted themselves and there is nothing to calibrate.
"""

from __future__ import annotations

import gc
import json
from pathlib import Path
from typing import Any

import torch

from robo_orl.base.errors import UsageError
from robo_orl.base.files import cache_folder
from robo_orl.config import PolicyConfig, TaskConfig
from robo_orl.cost.measure.memory_by_phase import memory_by_phase
from robo_orl.cost.parallelism import Layout
from robo_orl.cost.predict.prediction import memory, workload_of
from robo_orl.cost.rows import machine, write_row
from robo_orl.cost.training_step import TrainingStep

CRITIC = {"critic": {"topology": "shared"}, "objective": {"name": "iql"}}
REFERENCES = [
    {"name": name, "action_head": {"kind": "flow"}, "backbone": {"size": size}, "optim": {"precision": kind}} | parts
    for name, size, parts in (("cloning", "xs", {}), ("critic", "s", CRITIC))
    for kind in ("fp32", "bf16")
]


def ensured(task: TaskConfig, device: str) -> int:
    """Bytes to add on this device, calibrated now where that has not been done; 0 on the CPU."""
    if device == "cpu":
        return 0
    return (stored(device) or calibrate(task, device))["extra_bytes"]


def extra_bytes(device: str) -> int:
    """Bytes to add on this device; 0 where it has not been calibrated with this torch, and on the CPU."""
    found = stored(device) if device != "cpu" else None
    return found["extra_bytes"] if found else 0


def calibrated(found: dict[str, Any], extra: int) -> dict[str, Any]:
    """A prediction (predict.memory) with `extra` bytes among its temporaries, between steps and in every phase."""
    return found | {
        "parts": found["parts"] | {"temporaries": found["parts"]["temporaries"] + extra},
        "peak_bytes": found["peak_bytes"] + extra,
        "held_bytes": found["held_bytes"] + extra,
        "phase_bytes": {phase: size + extra for phase, size in found["phase_bytes"].items()},
        "calibration_bytes": extra,
    }


def calibrate(task: TaskConfig, device: str) -> dict[str, Any]:
    """Measure the reference steps, keep and return what they say: `extra_bytes`, and a row for each step."""
    rows = [_row(PolicyConfig.model_validate(values), task, device) for values in REFERENCES]
    extra = max(0, *(row["measured"] - row["predicted"] for row in rows))
    for row in rows:
        row["error"] = (row["predicted"] + extra) / row["measured"] - 1
    found = {"device": name_of(device), "extra_bytes": extra, "rows": rows, **machine()}
    write_row(path_of(device), found)
    return found


def _row(policy: PolicyConfig, task: TaskConfig, device: str) -> dict[str, Any]:
    workload = workload_of(policy, task, Layout(device=device))
    gc.collect()  # the step before this one
    step = TrainingStep(policy, workload.spec, workload.action_dim, workload.gamma, device)
    step.run()  # makes the moments, and the workspaces
    measured = memory_by_phase(step)["peak_bytes"]
    about = {"policy": policy.name, "size": policy.backbone.size, "precision": policy.optim.precision}
    return about | {"predicted": memory(workload)["peak_bytes"], "measured": measured}


def stored(device: str) -> dict[str, Any] | None:
    """The calibration of this device with this torch, None where there is none; UsageError for a broken file."""
    path = path_of(device)
    if not path.exists():
        return None
    try:
        found = json.loads(path.read_text())
        int(found["extra_bytes"])
        torch_then = found["versions"]["torch"]
    except (OSError, ValueError, KeyError, TypeError):
        raise UsageError(f"The calibration {path} cannot be read: delete it, and it is made again.") from None
    return found if torch_then == torch.__version__ else None


def path_of(device: str) -> Path:
    """Where a device's calibration is kept."""
    name = "".join(c if c.isalnum() else "-" for c in name_of(device).lower())
    return cache_folder() / "calibration" / f"{name}.json"


def name_of(device: str) -> str:
    """The device's own name."""
    return torch.cuda.get_device_name() if device == "cuda" else device
