"""Jobs as subprocesses of this machine, one core each unless they are given more, and GPUs with a place for them."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen

from robo_orl.base.gpus import VISIBLE, Gpu, gpus
from robo_orl.base.machine import ONE_THREAD, hardware
from robo_orl.sweep.job import Job, JobResult
from robo_orl.sweep.resources import Grant, Node
from robo_orl.sweep.runners.job_files import JobFiles
from robo_orl.sweep.runners.processes import start_process


class LocalRunner:
    """The runner of this machine: it starts jobs as processes, returns their results, and stops them.

    logs: folder of their output. lock: descriptor that every job inherits, so that the folder stays locked while one of
    them lives. cores, devices: what the jobs may use, by default one core.
    """

    def __init__(self, logs: Path, lock: int | None = None, cores: int = 1, devices: Sequence[Gpu] = ()):
        self.logs, self.lock, self.devices = logs, lock, devices
        least = min((device.memory_bytes for device in devices), default=None)
        self._nodes = [Node(cores, len(devices), hardware().memory_bytes, least)]

    def nodes(self) -> list[Node]:
        """This machine."""
        return self._nodes

    def start(self, job: Job, grant: Grant) -> JobProcess:
        """Start a job on the cores and GPUs of its grant."""
        self.logs.mkdir(parents=True, exist_ok=True)
        files = JobFiles(self.logs, job.key)
        files.clear()
        environment = os.environ | ({} if job.exclusive else ONE_THREAD) | self._devices(grant)
        with files.answer.open("wb") as answer, files.log.open("wb") as log:
            process = start_process(job.with_workers(grant.cores), answer, log, environment, self.lock)
        return JobProcess(files, process, f"GPU {','.join(map(str, grant.gpus))}" if grant.gpus else "")

    def flush(self) -> None:
        """Every job has started."""

    def result(self, running: JobProcess) -> JobResult | None:
        """The result of a job, None while it runs."""
        code = running.process.poll()
        return None if code is None else running.files.result(code)

    def where(self, running: JobProcess) -> str:
        """The GPU of a job."""
        return running.place

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

    def _devices(self, grant: Grant) -> dict[str, str]:
        """The environment that shows a job its own GPUs alone."""
        if not self.devices:
            return {}
        return {VISIBLE: ",".join(self.devices[index].name for index in grant.gpus)}


@dataclass(frozen=True)
class JobProcess:
    """The process of a running job."""

    files: JobFiles
    process: Popen
    place: str = ""


def this_machine(logs: Path, lock: int | None, cores: int) -> LocalRunner:
    """The runner of this machine with these cores and all its GPUs."""
    return LocalRunner(logs, lock, cores, gpus())
