"""One job on a machine of a cluster: `python -m robo_orl.sweep.runners.work JOBS.jsonl NUMBER`, or `run_job` in Ray.

The machines share the results folder. A lock per job keeps a second try waiting while the process of the first one
lives; a job that has ended by itself is not run again. Ended from outside (a time limit, a lost node, Ctrl-C) a job
leaves no end, and its next try goes on from its newest checkpoint.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from robo_orl.base.errors import INTERRUPTED
from robo_orl.base.files import write_text
from robo_orl.base.locks import file_lock
from robo_orl.base.machine import ONE_THREAD
from robo_orl.sweep.job import Job
from robo_orl.sweep.runners.job_files import JobFiles
from robo_orl.sweep.runners.processes import start_process

ENDED, GOES_ON = 0, 75  # EX_TEMPFAIL: launch/slurm_array.sh queues the job once more
PASSED = ("ROBO_ORL_", "MUJOCO_")  # variables of the bench that a job needs on any machine
PATIENCE_S = 100.0  # to save a checkpoint; schedulers kill soon after it


@dataclass(frozen=True)
class Request:
    """A job as a line of a file: the folder of its files, its key, its command, and variables for it."""

    logs: str
    key: str
    command: list[str]
    environment: dict[str, str]

    @classmethod
    def of(cls, job: Job, cores: int, logs: Path) -> Request:
        """That of a job on so many cores."""
        own = {name: value for name, value in os.environ.items() if name.startswith(PASSED)}
        return cls(str(logs), job.key, job.with_workers(cores), own | ({} if job.exclusive else ONE_THREAD))

    def line(self) -> str:
        """The request as one line of JSON."""
        return json.dumps(asdict(self)) + "\n"


def run_job(request: Request, place: str = "") -> int:
    """Run a job and note how it ended: ENDED; GOES_ON where it was interrupted before."""
    files = JobFiles(Path(request.logs), request.key)
    with file_lock(files.end) as lock:
        if files.code() is not None:  # by another try
            return ENDED
        write_text(files.place, f"{place or socket.gethostname()}\n")
        with files.answer.open("wb") as answer, files.log.open("ab") as log:
            process = start_process(
                request.command, answer, log, os.environ | request.environment, lock, dies_by=signal.SIGTERM
            )
            code, told = _wait(process)
        if code == INTERRUPTED or (told and code != 0):
            return GOES_ON
        files.write_end(code)
        return ENDED


def _wait(process: subprocess.Popen) -> tuple[int, bool]:
    """The exit code, and whether this process was told to end; then the job is told, too, and has time to save."""
    try:
        while True:
            with suppress(subprocess.TimeoutExpired):  # Ray interrupts between two instructions, and no system call
                return process.wait(1.0), False
    except KeyboardInterrupt:
        for number in (signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError):
                os.killpg(process.pid, number)
            with suppress(subprocess.TimeoutExpired, KeyboardInterrupt):
                process.wait(PATIENCE_S)
                break
        return process.wait(), True


@contextmanager
def _interruptible() -> Iterator[None]:
    old = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, old)


def main(arguments: list[str]) -> int:
    """Run line NUMBER of a file of jobs, counted from 0."""
    path, number = Path(arguments[0]), int(arguments[1])
    with _interruptible():
        try:
            request = Request(**json.loads(path.read_text(encoding="utf-8").splitlines()[number]))
            return run_job(request)
        except KeyboardInterrupt:  # before the job had begun
            return GOES_ON


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
