"""The machine that a row of the cost benchmarks was measured on, and with which versions."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from typing import Any

import torch

from robo_orl import __version__


def machine() -> dict[str, Any]:
    """Accelerator, processor, threads, load and versions, now."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "accelerator": gpu,
        "cpu": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load_before": os.getloadavg()[0],
        "versions": {"torch": torch.__version__, "python": platform.python_version(), "robo_orl": __version__},
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }
