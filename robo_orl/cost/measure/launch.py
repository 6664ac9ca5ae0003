"""Start a measurement under `accelerate launch`, with the launch files that training uses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from robo_orl.base.errors import RunError
from robo_orl.base.machine import ONE_THREAD
from robo_orl.config.presets import available
from robo_orl.cost.parallelism import Layout

LIMIT_S = 540


def launch_file(layout: Layout, gpu: bool) -> Path:
    """The shipped accelerate file of a layout; RunError where none is shipped."""
    engine = f"zero{layout.zero}" if layout.zero else ("ddp" if layout.world > 1 else "single")
    name = f"{'' if gpu else 'cpu_'}{engine}{'_offload' if layout.offload else ''}"
    files = available("launch")
    if name not in files:
        raise RunError(f"No launch file for {layout.describe()}: launch/{name}.yaml is missing.")
    return files[name]


def launch(layout: Layout, requests: list[dict[str, Any]], limit_s: float = LIMIT_S) -> list[dict[str, Any]]:
    """One answer of launched.py for each request {"policy", "task", "steps"}, measured one after the other in one job.

    Raises RunError where the job fails or takes longer than `limit_s` seconds.
    """
    gpu = torch.cuda.is_available()
    with tempfile.TemporaryDirectory() as name:
        request, answer = Path(name) / "request.json", Path(name) / "answer.json"
        request.write_text(json.dumps([_plain(one) for one in requests]))
        command = [sys.executable, "-m", "accelerate.commands.launch"]
        command += ["--config_file", str(launch_file(layout, gpu)), "--num_processes", str(layout.world)]
        command += ["-m", "robo_orl.cost.measure.distributed", str(request), str(answer)]
        environment = ONE_THREAD | dict(os.environ)
        try:
            done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=limit_s)
        except subprocess.TimeoutExpired:
            raise RunError(f"{layout.describe()} took longer than {limit_s:.0f} s; ask for fewer steps.") from None
        if done.returncode or not answer.exists():
            raise RunError(f"{layout.describe()} failed: {_last_error(done.stderr)}")
        return json.loads(answer.read_text())


def _plain(request: dict[str, Any]) -> dict[str, Any]:
    return {key: v.model_dump(mode="json") if hasattr(v, "model_dump") else v for key, v in request.items()}


def _last_error(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if "Error" in line and "ChildFailed" not in line]
    return lines[-1] if lines else (text.strip().splitlines() or ["no message"])[-1]
