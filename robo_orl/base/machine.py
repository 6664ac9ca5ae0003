"""This machine and its software: usable cores, how threads wait, package versions, hardware, the commit that runs."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import MutableMapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from robo_orl import __version__

# Read by BLAS and OpenMP when numpy is first imported: a pool of processes with a thread per core each is slower than
# one process (robocasa-gr1 #18).
ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS", "NUMBA_NUM_THREADS"), "1"
)
PACKAGES = ("torch", "numpy", "mujoco", "robosuite", "robomimic", "accelerate", "deepspeed", "safetensors", "numba")


class Hardware(BaseModel):
    """The machine that a result ran on."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    cpu: str
    cores: int = Field(ge=1)
    memory_bytes: int | None
    accelerator: str | None = None


class Code(BaseModel):
    """The version of this package that ran."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: str
    commit: str | None
    dirty: bool | None = Field(description="whether tracked files differed from the commit")


def versions() -> dict[str, str]:
    """The versions that can change a number: Python's and those of the installed PACKAGES."""
    installed = {package: package_version(package) for package in PACKAGES}
    own = {"python": platform.python_version(), "robo_orl": __version__}
    return own | {package: number for package, number in installed.items() if number is not None}


def package_version(package: str) -> str | None:
    """The version of an installed package, None where it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


@cache
def hardware() -> Hardware:
    """The processor, its usable cores, memory, and the first accelerator if there is one."""
    memory = None
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return Hardware(cpu=_cpu(), cores=cores(), memory_bytes=memory, accelerator=_accelerator())


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _accelerator() -> str | None:
    """The name of the first NVIDIA device, from the driver: importing torch for it would take seconds."""
    if not shutil.which("nvidia-smi"):
        return None
    answer = _output("nvidia-smi", "--query-gpu=name", "--format=csv,noheader")
    return answer.splitlines()[0] if answer else None


@cache
def code() -> Code:
    """This package's version, and the commit of the checkout it runs from (None in an installed wheel)."""
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():
        return Code(version=__version__, commit=None, dirty=None)
    commit = _output("git", "-C", str(root), "rev-parse", "HEAD")
    changed = _output("git", "-C", str(root), "status", "--porcelain", "--untracked-files=no")
    return Code(version=__version__, commit=commit, dirty=None if changed is None else bool(changed))


def _output(*command: str) -> str | None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


PASSIVE = {"OMP_WAIT_POLICY": "passive", "KMP_BLOCKTIME": "0"}  # GNU's OpenMP and any other; Intel's and LLVM's
CHOSEN_BY_USER = (*PASSIVE, "GOMP_SPINCOUNT")


def wait_passively(environment: MutableMapping[str, str] = os.environ) -> None:
    """Let waiting threads sleep, in this process before torch loads and in its children.

    Nothing changes where the environment says how threads wait.
    """
    if not any(variable in environment for variable in CHOSEN_BY_USER):
        environment.update(PASSIVE)


def crowding_advice(threads: int) -> str | None:
    """One sentence where this machine has more work than cores and `threads` threads would add to it."""
    load, available = os.getloadavg()[0], cores()
    if threads < 2 or load <= available:
        return None
    return (
        f"this machine is busy (load {load:.1f} on {available} core(s)) and the training has {threads} threads, which "
        f"wait for each other: OMP_NUM_THREADS={max(1, min(threads - 1, available // 2))} is usually faster"
    )
