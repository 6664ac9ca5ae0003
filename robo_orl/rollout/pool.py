"""The simulator processes, seen from the process that owns the policy: start, talk, replace, stop."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from robo_orl.rollout.simulator import Act, Begin, Hello, Refusal, Reply, Scene

# Read by BLAS and OpenMP when numpy is first imported: a pool of processes with a thread per core each is slower than
# one process (robocasa-gr1 #18).
ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS", "NUMBA_NUM_THREADS"), "1"
)


class SimulatorDied(Exception):
    """A simulator process ended, hung or raised; the text is the last line it wrote."""


@dataclass
class Running:
    """An episode in a slot of a process. obs: what it waits for an action on, None while it is being stepped."""

    episode: int
    began: float
    decision: int = 0
    obs: dict[str, np.ndarray] | None = None


class Simulator:
    """One simulator process: a fresh interpreter (never a fork), one thread, its own world."""

    def __init__(self, scene: Scene, slots: int):
        self.hello: Hello | None = None
        self.slots: list[Running | None] = [None] * slots
        self.outstanding: deque[int] = deque()  # slots whose replies are due, in order
        self.finished = 0
        self.heard_at = perf_counter()
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115
        ours, theirs = socket.socketpair()
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-c", "from robo_orl.rollout.simulator import main; main()", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=self._errors,
                stderr=self._errors,
                env=os.environ | ONE_THREAD | {"PYTHONPATH": os.pathsep.join(p or os.getcwd() for p in sys.path)},
                start_new_session=True,  # Ctrl-C reaches the policy's process only, which then stops the pool
            )
        self.connection = Connection(ours.detach())
        self._send(scene)

    @property
    def running(self) -> list[Running]:
        """Its episodes."""
        return [running for running in self.slots if running is not None]

    @property
    def waiting(self) -> list[tuple[int, Running]]:
        """(slot, episode) of those that need an action."""
        return [(slot, r) for slot, r in enumerate(self.slots) if r is not None and r.obs is not None]

    def begin(self, episode: int, start: int, gamma: float, video: Path | None) -> None:
        """Start an episode in a free slot."""
        slot = self.slots.index(None)
        self.slots[slot] = Running(episode, perf_counter())
        self._ask(Begin(slot, start, gamma, video))

    def act(self, slot: int, actions: np.ndarray) -> None:
        """Execute `actions` (c, A) in a slot."""
        running = self.slots[slot]
        running.obs, running.decision = None, running.decision + 1
        self._ask(Act(slot, actions))

    def receive(self) -> Hello | Reply:
        """The next message.

        Raises SimulatorDied where the process ended, and what it refused to do as its own UsageError or RunError.
        """
        try:
            message = self.connection.recv()
        except (EOFError, OSError):
            raise SimulatorDied(self.last_words()) from None
        self.heard_at = perf_counter()
        if isinstance(message, Refusal):
            raise message.kind(message.text)
        if isinstance(message, Hello):
            self.hello = message
        else:
            self.outstanding.popleft()
        return message

    def stop(self) -> None:
        """End the process, at once: between messages it holds nothing worth keeping."""
        self.connection.close()
        self.process.kill()
        self.process.wait()
        self._errors.close()

    def last_words(self) -> str:
        """The last line it wrote, or how it ended."""
        try:
            code = self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            return "no sign of life"
        self._errors.seek(0)
        lines = [line for line in self._errors.read().decode(errors="replace").splitlines() if line.strip()]
        return f"ended by signal {-code}" if code < 0 else lines[-1].strip() if lines else f"ended with code {code}"

    def _ask(self, message: Begin | Act) -> None:
        if not self.outstanding:
            self.heard_at = perf_counter()
        self.outstanding.append(message.slot)
        self._send(message)

    def _send(self, message: Any) -> None:
        with suppress(OSError):  # a broken pipe is found by the next receive, which knows why
            self.connection.send(message)
