"""Threads that sleep while they wait for each other: the setting of OpenMP, made before torch loads.

By default a waiting thread spins on its core for a while. Where other processes use the same cores, the thread that it
waits for cannot run meanwhile, and a training of several threads takes several times as long. Results do not depend on
it.
"""

from __future__ import annotations

import os
from collections.abc import MutableMapping

from robo_orl.base.machine import cores

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
