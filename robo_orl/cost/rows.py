"""A cost row on disk, and the machine that it was measured on; torch and the standard library only."""

from __future__ import annotations

import json
import os
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from robo_orl import __version__
from robo_orl.base.files import atomic_file


def write_row(path: Path, row: dict[str, Any]) -> None:
    """Write one JSON row, complete or not at all."""
    with atomic_file(path) as temporary:
        temporary.write_text(json.dumps(row, indent=1) + "\n")


def machine() -> dict[str, Any]:
    """What a row was measured on and with."""
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
