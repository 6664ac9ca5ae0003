"""The command `robo-orl doctor`: an examination of this machine, each fault with its remedy.

Every probe that imports something heavy or touches OpenGL runs in a process of its own: a library that crashes is a
finding, not the end of the examination.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Literal

import typer
from pydantic import BaseModel

from robo_orl.base.errors import RunError, UsageError
from robo_orl.base.files import cache_folder, write_text
from robo_orl.base.locks import file_lock
from robo_orl.base.machine import package_version
from robo_orl.base.text import printable
from robo_orl.cli.options import Json, show

GIB = 2**30
OUR_ERRORS = "robo_orl.base.errors."
INSTALL = "run `make install`, or `pip install 'robo-orl[all]' -c constraints.txt`"


def doctor(as_json: Json = False) -> None:
    """Examine this machine: every part that runs, and how to mend every part that does not."""
    findings = examine()
    show({"findings": [f.model_dump() for f in findings]}, as_json, lambda _: print_findings(findings))
    if any(finding.status == "fail" for finding in findings):
        raise typer.Exit(1)


class Finding(BaseModel):
    """One line of the examination."""

    name: str
    status: Literal["ok", "warn", "fail"]
    says: str
    remedy: str = ""


def examine() -> list[Finding]:
    """Run every probe; none of them raises."""
    probes: list[Callable[[], Finding]] = [
        python,
        torch,
        deepspeed,
        mujoco_version,
        simulator,
        renderer,
        robomimic,
        processes,
        cache,
        folder,
        disk,
    ]
    with ThreadPoolExecutor(max_workers=2) as pool:
        return list(pool.map(_probed, probes))


def _probed(probe: Callable[[], Finding]) -> Finding:
    try:
        return probe()
    except Exception as error:
        says = str(error) if isinstance(error, (RunError, UsageError)) else f"{type(error).__name__}: {error}"
        return Finding(name=probe.__name__, status="fail", says=says, remedy="mend what this line names")


def python() -> Finding:
    """The interpreter's version."""
    version = ".".join(map(str, sys.version_info[:3]))
    if (3, 11) <= sys.version_info[:2] < (3, 13):
        return Finding(name="python", status="ok", says=f"Python {version}")
    return Finding(name="python", status="fail", says=f"Python {version}", remedy="use Python 3.11 or 3.12")


def torch() -> Finding:
    """PyTorch and the device that training will use."""
    code = """
import torch
device = torch.cuda.get_device_name() + f", {torch.cuda.get_device_properties(0).total_memory / 2**30:.0f} GiB" \
    if torch.cuda.is_available() else f"CPU, {torch.get_num_threads()} threads"
print(f"torch {torch.__version__} on {device}")
"""
    return _finding("torch", code, remedy=INSTALL)


def deepspeed() -> Finding:
    """DeepSpeed imports, and on which accelerator."""
    code = """
import os, torch
if not torch.cuda.is_available():
    os.environ["DS_ACCELERATOR"] = "cpu"
import deepspeed
from deepspeed.accelerator import get_accelerator
print(f"DeepSpeed {deepspeed.__version__} on {get_accelerator()._name}")
"""
    remedy = "ZeRO needs it, plain training and DDP do not; `pip install 'robo-orl[deepspeed]'`"
    return _finding("deepspeed", code, remedy=remedy, missing="warn")


def mujoco_version() -> Finding:
    """mujoco within the range that robosuite 1.5.2 runs with; a wrong one only fails at the first environment."""
    version = package_version("mujoco")
    if version is None:
        return Finding(name="mujoco", status="fail", says="mujoco is not installed", remedy=INSTALL)
    if (3, 3) <= tuple(int(part) for part in version.split(".")[:2]) < (3, 10):
        return Finding(name="mujoco", status="ok", says=f"mujoco {version}")
    says = f"mujoco {version} breaks robosuite 1.5.2 at the first environment"
    return Finding(name="mujoco", status="fail", says=says, remedy="pip install 'mujoco>=3.3,<3.10'")


def simulator() -> Finding:
    """One environment is built, reset and stepped, and the loop that it runs with is named."""
    code = """
import numpy as np
from robo_orl.config.presets import load_task
from robo_orl.envs.start_banks import make_eval_bank
from robo_orl.envs.task_env import TaskEnv
from robo_orl.envs.rendering.opengl import import_robosuite
task = load_task("lift")
env = TaskEnv(task)
env.reset(make_eval_bank(task, n=1)[0])
env.step(np.zeros(env.action_dim))
print(f"robosuite {import_robosuite().__version__} steps, loop '{env.loop}'")
"""
    return _finding("simulator", code, remedy=INSTALL)


def renderer() -> Finding:
    """One image is rendered off screen; only videos and cameras need it."""
    code = """
from robo_orl.config.presets import load_task
from robo_orl.envs.start_banks import make_eval_bank
from robo_orl.envs.rendering.opengl import context_kind
from robo_orl.envs.task_env import TaskEnv
task = load_task("lift")
env = TaskEnv(task)
env.reset(make_eval_bank(task, n=1)[0])
image = env.render("agentview", 64)
assert image.std() > 0, "the image is blank"
print(f"off-screen images through {context_kind()} (MUJOCO_GL)")
"""
    remedy = (
        "videos and cameras need it, the benchmark on states does not; "
        "Debian: apt-get install libegl1 libosmesa6, then set MUJOCO_GL=egl or MUJOCO_GL=osmesa"
    )
    return _finding("renderer", code, remedy=remedy, missing="warn")


def robomimic() -> Finding:
    """robomimic's data set class imports (it needs a torchvision that fits torch)."""
    code = """
import robomimic
from robomimic.utils.dataset import SequenceDataset
print(f"robomimic {robomimic.__version__} reads our files")
"""
    remedy = f"torch and torchvision must come from the same index; {INSTALL}"
    return _finding("robomimic", code, remedy=remedy, missing="warn")


def processes() -> Finding:
    """A simulator process is started as recording and evaluation start theirs, and steps."""
    code = """
from robo_orl.cli.doctor import step_once
from robo_orl.rollout.pool import work_through
(done,) = work_through([0], step_once, workers=1, patience_s=120)
print(done.result)
"""
    remedy = "raise the limit of processes (ulimit -u) and the memory of the job or container"
    return _finding("processes", code, remedy=remedy)


def step_once() -> Callable[[int], str]:
    """The work of a simulator process that shows that one can be started."""
    import numpy as np

    from robo_orl.config.presets import load_task
    from robo_orl.envs.start_banks import make_eval_bank
    from robo_orl.envs.task_env import TaskEnv

    task = load_task("lift")
    env, start = TaskEnv(task), make_eval_bank(task, n=1)[0]

    def work(_: int) -> str:
        env.reset(start)
        env.step(np.zeros(env.action_dim))
        return "a simulator process starts, steps and answers"

    return work


def cache() -> Finding:
    """The cache folder takes a file and a lock; a read-only one serves what is in it."""
    place, remedy = cache_folder(), "set ROBO_ORL_CACHE to a folder that you may write"
    error = _write_error(place)
    if error is None:
        return Finding(name="cache", status="ok", says=f"files and locks work in {place}")
    if os.access(place, os.R_OK | os.X_OK) and any(place.iterdir()):
        says = f"{place} cannot be written: what is in it is used, and nothing new is kept"
        return Finding(name="cache", status="warn", says=says, remedy=remedy)
    return Finding(name="cache", status="fail", says=f"the cache cannot be written ({error})", remedy=remedy)


def folder() -> Finding:
    """The working folder takes a file and a lock: runs, results and reports go there unless --out says otherwise."""
    error = _write_error(Path.cwd())
    if error is None:
        return Finding(name="folder", status="ok", says=f"runs can be written to {Path.cwd()}")
    says = f"runs cannot be written here ({error})"
    return Finding(
        name="folder", status="warn", says=says, remedy="change to a folder that you may write, or give --out"
    )


def _write_error(place: Path) -> Exception | None:
    """The error of writing a file under a lock in a folder, None where it works; nothing is left there."""
    probe = place / f"doctor-{os.getpid()}"
    try:
        with file_lock(probe):
            write_text(probe, "written")
    except (RunError, UsageError) as error:
        return error
    finally:
        for left in (probe, probe.with_name(f".{probe.name}.lock")):
            with suppress(OSError):
                left.unlink(missing_ok=True)
    return None


def disk() -> Finding:
    """Room for data, caches and runs."""
    places = {place: shutil.disk_usage(place).free / GIB for place in map(_existing, (Path.cwd(), cache_folder()))}
    says = "; ".join(f"{free:.0f} GiB free at {place}" for place, free in places.items())
    if min(places.values()) < 2:
        return Finding(
            name="disk", status="fail", says=says, remedy="free 2 GiB, or set ROBO_ORL_CACHE to another disk"
        )
    return Finding(name="disk", status="ok", says=says)


def _existing(place: Path) -> Path:
    """The place, or its nearest parent that exists."""
    return next(path for path in (place, *place.resolve().parents) if os.path.exists(path))


def _finding(name: str, code: str, remedy: str, missing: Literal["warn", "fail"] = "fail") -> Finding:
    """Run `code` in a fresh interpreter: its last line is the finding, its last error line the fault."""
    try:
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=180)
    except subprocess.TimeoutExpired:
        return Finding(name=name, status=missing, says=f"{name} did not answer within 180 s", remedy=remedy)
    lines = (done.stdout if done.returncode == 0 else done.stderr).strip().splitlines()
    says = lines[-1] if lines else f"{name} ended with signal {-done.returncode}"
    if says.startswith(OUR_ERRORS):  # a sentence of this package, which names its own remedy
        says = says.removeprefix(OUR_ERRORS).partition(": ")[2]
        remedy = remedy if missing == "warn" else ""
    if done.returncode == 0:
        return Finding(name=name, status="ok", says=says)
    return Finding(name=name, status=missing, says=says, remedy=remedy)


def print_findings(findings: list[Finding]) -> None:
    """One line a finding, with its remedy below it where something is wrong."""
    from rich.console import Console

    mark = {"ok": "[green]ok  [/]", "warn": "[yellow]warn[/]", "fail": "[red]fail[/]"}
    console = Console(soft_wrap=True)
    for finding in findings:
        console.print(f"{mark[finding.status]}  {finding.name:<10} ", end="")
        console.print(printable(finding.says), markup=False, highlight=False)
        if finding.status != "ok" and finding.remedy:
            console.print(f"      remedy: {finding.remedy}", markup=False, highlight=False)
