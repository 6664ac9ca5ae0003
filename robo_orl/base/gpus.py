"""The NVIDIA GPUs that this process may use, from the driver: importing torch for it would take seconds."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass

VISIBLE = "CUDA_VISIBLE_DEVICES"
MIB = 2**20


@dataclass(frozen=True)
class Gpu:
    """A device. name: as CUDA_VISIBLE_DEVICES takes it. memory_bytes: of the whole card."""

    name: str
    memory_bytes: int


def gpus(environment: Mapping[str, str] = os.environ) -> list[Gpu]:
    """The GPUs of this machine, or those of them that CUDA_VISIBLE_DEVICES leaves."""
    if not shutil.which("nvidia-smi"):
        return []
    command = ["nvidia-smi", "--query-gpu=index,memory.total", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    rows = [line.split(",") for line in done.stdout.splitlines() if line.count(",") == 1]
    memory = {index.strip(): int(size) * MIB for index, size in rows if size.strip().isdigit()}
    visible = environment.get(VISIBLE)
    names = list(memory) if visible is None else [name.strip() for name in visible.split(",") if name.strip()]
    least = min(memory.values(), default=0)
    return [Gpu(name, memory.get(name, least)) for name in names] if memory else []
