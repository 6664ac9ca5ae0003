"""Jobs as arrays of SLURM: jobs with equal resources are lines of one file, and launch/slurm_array.sh runs a line.

A script and not submitit: the command of a job stays readable in the file, nothing is pickled, and a site changes the
script (modules, partitions) without Python. SLURM keeps the queue; the names of the arrays say what belongs to a
folder, so that a bench that is started again finds its jobs there.
"""

from __future__ import annotations

import hashlib
import math
import shlex
import shutil
import subprocess
import sys
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from robo_orl.base.errors import RunError
from robo_orl.base.files import write_text
from robo_orl.config.presets import preset_folders
from robo_orl.sweep.job import Job, JobResult
from robo_orl.sweep.resources import Grant, Node
from robo_orl.sweep.runners.job_files import JobFiles
from robo_orl.sweep.runners.work import Request

SCRIPT = "slurm_array.sh"
COMMANDS = ("sbatch", "squeue", "scancel", "sinfo", "scontrol")
LARGEST_ARRAY = 1000  # SLURM's own default limit is 1001
ELASTIC = 4  # cores of a job that can use several
MIB = 2**20
QUEUE_S = 10.0  # how long an answer of squeue holds
GRACE_S = 30.0  # for the end of a job that the queue has no more to be seen here


@dataclass
class SlurmJob:
    """A job in the queue. array: name of its array; number: its line."""

    files: JobFiles
    array: str = ""
    number: int = 0
    missed_at: float | None = field(default=None, compare=False)


class SlurmRunner:
    """The runner of a SLURM cluster.

    out: results folder, on a file system that all machines share. options: of sbatch, laid on the script's own.
    most: jobs in the queue at a time.
    """

    def __init__(self, out: Path, options: str = "", most: int = LARGEST_ARRAY):
        missing = [name for name in COMMANDS if shutil.which(name) is None]
        if missing:
            raise RunError(f"--runner slurm needs SLURM's {missing[0]}, which is not here: run it on a login node.")
        self.logs, self.folder, self.options, self.most = out / "logs", out / "slurm", shlex.split(options), most
        self.prefix = f"robo_orl-{hashlib.sha256(str(out).encode()).hexdigest()[:8]}-"
        self._machine = _largest_machine()
        self._collected: list[tuple[Job, Grant, SlurmJob]] = []
        self._asked, self._queued = -QUEUE_S, {}
        self._found = self._left_in_queue()

    def nodes(self) -> list[Node]:
        """The queue, as a machine that takes so many jobs at a time."""
        machine = self._machine
        return [
            Node(
                cores=machine.cores,
                gpus=machine.gpus,
                memory_bytes=machine.memory_bytes,
                elastic=min(ELASTIC, machine.cores),
                jobs=self.most,
                name="queue",
                queue=True,
            )
        ]

    def start(self, job: Job, grant: Grant) -> SlurmJob:
        """Find a job that an earlier call left in the queue, or collect it for the next array."""
        if job.key in self._found:
            return self._found.pop(job.key)
        handle = SlurmJob(JobFiles(self.logs, job.key))
        handle.files.clear()
        self._collected.append((job, grant, handle))
        return handle

    def flush(self) -> None:
        """Submit what was collected, one array for equal resources."""
        groups: dict[tuple[str, ...], list] = defaultdict(list)
        collected, self._collected = self._collected, []
        for folder in (self.logs, self.folder):
            folder.mkdir(parents=True, exist_ok=True)
        for job, grant, handle in collected:
            groups[tuple(_resources(grant))].append((job, grant, handle))
        for group in groups.values():
            for first in range(0, len(group), LARGEST_ARRAY):
                self._submit(group[first : first + LARGEST_ARRAY])

    def result(self, handle: SlurmJob) -> JobResult | None:
        """The result of a job, None while it waits or runs."""
        if (result := handle.files.ended()) is not None:
            return result
        if not handle.array or (handle.array, handle.number) in self._queue():
            handle.missed_at = None
            return None
        handle.missed_at = handle.missed_at or time.monotonic()
        if time.monotonic() - handle.missed_at < GRACE_S:
            return None
        log = self.folder / f"{handle.array}-{handle.number}.out"
        return JobResult(None, f"SLURM ended it without a result (time limit, memory or scancel?); its log is {log}.")

    def where(self, handle: SlurmJob) -> str:
        """The machine, as the job noted it."""
        return handle.files.where()

    def stop(self, handles: list[SlurmJob], patience_s: float = 60.0) -> None:
        """Take the jobs out of the queue; the running ones save what they have."""
        named = {handle.array for handle in handles if handle.array}
        for array in named:
            (self.folder / f"{array}.stopped").touch()  # the script queues nothing of it again
            _output("scancel", f"--name={array}", check=False)
        until = time.monotonic() + patience_s
        while time.monotonic() < until and any(array in named for array, _ in self._queue(fresh=True)):
            time.sleep(0.5)

    def close(self) -> None:
        """Nothing is held."""

    # ----------------------------------------------------------------------------------------------------- the queue

    def _submit(self, group: list[tuple[Job, Grant, SlurmJob]]) -> None:
        array = f"{self.prefix}{1 + max((int(path.stem.rpartition('-')[2]) for path in self._files()), default=0)}"
        lines = [Request.of(job, grant.cores, self.logs).line() for job, grant, _ in group]
        write_text(self.folder / f"{array}.jsonl", "".join(lines))
        _, grant, _ = group[0]
        command = ["sbatch", "--parsable", f"--job-name={array}", f"--array=0-{len(group) - 1}"]
        command += [f"--output={self.folder / array}-%a.out", *_resources(grant), *self.options]
        _output(*command, str(_script()), sys.executable, str(self.folder / f"{array}.jsonl"))
        for number, (_, _, handle) in enumerate(group):
            handle.array, handle.number = array, number
        self._asked = -QUEUE_S

    def _files(self) -> list[Path]:
        return sorted(self.folder.glob(f"{self.prefix}*.jsonl"))

    def _queue(self, fresh: bool = False) -> dict[tuple[str, int], str]:
        """(array, number) -> state of this folder's jobs in the queue."""
        if fresh or time.monotonic() - self._asked >= QUEUE_S:
            answer = _output("squeue", "--noheader", "--array", "--me", "--format=%j|%K|%T")
            rows = [line.strip().split("|") for line in answer.splitlines() if line.count("|") == 2]
            ours = [row for row in rows if row[0].startswith(self.prefix) and row[1].isdigit()]
            self._queued = {(name, int(number)): state for name, number, state in ours}
            self._asked = time.monotonic()
        return self._queued

    def _left_in_queue(self) -> dict[str, SlurmJob]:
        """Job key -> job of an earlier call that is still in the queue."""
        import json

        found = {}
        for array, number in self._queue(fresh=True):
            path = self.folder / f"{array}.jsonl"
            if path.exists() and not (self.folder / f"{array}.stopped").exists():
                key = json.loads(path.read_text(encoding="utf-8").splitlines()[number])["key"]
                found[key] = SlurmJob(JobFiles(self.logs, key), array, number)
        return found


def _resources(grant: Grant) -> list[str]:
    """The options of sbatch for a grant. SLURM divides no GPU: a share gets one."""
    needed, options = grant.resources, ["--nodes=1", "--ntasks=1"]
    if needed.whole:
        return [*options, "--exclusive", "--mem=0"]
    options.append(f"--cpus-per-task={grant.cores}")
    if grant.memory_bytes:
        options.append(f"--mem={math.ceil(grant.memory_bytes / MIB)}M")
    if needed.gpus:
        options.append(f"--gres=gpu:{math.ceil(needed.gpus)}")
    return options


def _script() -> Path:
    """The script in launch/, the user's own first."""
    found = [folder / SCRIPT for folder in preset_folders("launch") if (folder / SCRIPT).exists()]
    if not found:
        raise RunError(f"launch/{SCRIPT} is missing; install the package once more.")
    return found[0]


def _largest_machine() -> Node:
    """What the largest machine of the cluster has, from sinfo."""
    rows = [line.split("|") for line in _output("sinfo", "--noheader", "--format=%c|%m|%G").splitlines()]
    rows = [row for row in rows if len(row) == 3]
    if not rows:
        raise RunError("sinfo names no machine: is a partition up?")
    cores = max(int(row[0].rstrip("+")) for row in rows)
    memory = max(int(row[1].rstrip("+")) for row in rows)
    return Node(cores=cores, gpus=max(_gpus(row[2]) for row in rows), memory_bytes=memory * MIB if memory > 1 else None)


def _gpus(gres: str) -> int:
    """The GPUs in a list of generic resources such as gpu:a100:8(S:0-1),shard:64."""
    parts = [part.partition("(")[0].split(":") for part in gres.strip().split(",")]
    return sum(int(part[-1]) for part in parts if part[0] == "gpu" and part[-1].isdigit())


def _output(*command: str, check: bool = True) -> str:
    """What a command of SLURM prints; RunError with its own sentence where it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise RunError(f"SLURM does not answer ({command[0]}: {error}); is its controller up?") from None
    if check and done.returncode:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()] or ["no message"]
        raise RunError(f"SLURM refused `{' '.join(command[:4])} ...`: {lines[-1]}")
    return done.stdout
