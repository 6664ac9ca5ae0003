"""Jobs as subprocesses of this machine, one core each unless they are given more."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robo_orl.base.machine import ONE_THREAD
from robo_orl.sweep.jobs import Job, JobResult

PR_SET_PDEATHSIG = 1


class LocalRunner:
    """The runner of this machine: it starts jobs as processes, returns their results, and stops them.

    logs: folder of their output. lock: descriptor that every job inherits, so that the folder stays locked while one of
    them lives.
    """

    def __init__(self, logs: Path, lock: int | None = None):
        self.logs, self.lock = logs, lock
        logs.mkdir(parents=True, exist_ok=True)

    def start(self, job: Job, cores: int) -> JobProcess:
        """Start a job on `cores` cores."""
        with self._log(job, ".json").open("wb") as answer, self._log(job, ".log").open("wb") as log, _uninterrupted():
            process = subprocess.Popen(
                job.with_workers(cores),
                stdin=subprocess.DEVNULL,
                stdout=answer,
                stderr=log,
                env=os.environ | ({} if job.exclusive else ONE_THREAD),
                start_new_session=True,  # Ctrl-C reaches the bench alone, which then stops its jobs in order
                pass_fds=() if self.lock is None else (self.lock,),
                preexec_fn=_before_exec(),
            )
        return JobProcess(job, process)

    def result(self, running: JobProcess) -> JobResult | None:
        """The result of a job, None while it runs."""
        code = running.process.poll()
        if code is None:
            return None
        answer, log = self._log(running.job, ".json"), self._log(running.job, ".log")
        result = _last_json(answer)
        if code == 0 and result is not None and "error" not in result:
            return JobResult(result)
        return JobResult(None, _reason(code, result, log))

    def stop(self, handles: Sequence[JobProcess], patience_s: float = 10.0) -> None:
        """Stop the jobs by SIGTERM, and those that do not end by SIGKILL."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            alive = [running for running in handles if running.process.poll() is None]
            for running in alive:
                with suppress(ProcessLookupError):
                    os.killpg(running.process.pid, number)
            until = time.monotonic() + patience_s
            while time.monotonic() < until and any(running.process.poll() is None for running in alive):
                time.sleep(0.05)

    def _log(self, job: Job, suffix: str) -> Path:
        return self.logs / f"{job.key}{suffix}"


@dataclass(frozen=True)
class JobProcess:
    """The process of a running job."""

    job: Job
    process: subprocess.Popen


SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Block signals while a process starts: Python swallows the exception that they raise around a fork."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _before_exec() -> Callable[[], None]:
    """The first act of a job: receive signals, and on Linux die with its parent."""
    die = _die_with_parent()

    def before_exec() -> None:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        if die is not None:
            die()

    return before_exec


def _die_with_parent() -> Callable[[], None] | None:
    """On Linux a job is killed when its bench is, even by kill -9: two calls must never work on one run at once."""
    if not sys.platform.startswith("linux"):
        return None
    prctl, parent = ctypes.CDLL(None, use_errno=True).prctl, os.getpid()

    def before_exec() -> None:
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before the call above
            os._exit(1)

    return before_exec


def _last_json(path: Path) -> dict[str, Any] | None:
    lines = path.read_text(errors="replace").strip().splitlines()
    with suppress(json.JSONDecodeError):
        value = json.loads(lines[-1]) if lines else None
        if isinstance(value, dict):
            return value
    return None


def _reason(code: int, result: dict[str, Any] | None, log: Path) -> str:
    """One sentence: the command's own, or the last line of its log, or the signal that ended it."""
    if result and "error" in result:
        return str(result["error"])
    if code < 0:
        name = signal.Signals(-code).name
        return f"It was ended by {name}" + (" (out of memory?)." if name == "SIGKILL" else ".")
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    last = lines[-1] if lines else f"It ended with code {code} and said nothing."
    return last.removeprefix("robo-orl: ")
