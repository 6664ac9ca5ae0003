"""The runner of a bench by its name: local, ray or slurm."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from robo_orl.base.errors import UsageError, unknown
from robo_orl.base.machine import cores
from robo_orl.sweep.runners.local import this_machine
from robo_orl.sweep.schedule import Runner

RUNNERS = ("local", "ray", "slurm")


@dataclass(frozen=True)
class Machines:
    """Where the jobs of a bench run.

    runner: a name in RUNNERS. workers: cores of this machine, or with slurm jobs in the queue at a time; None: all, or
    1000. address: of a Ray cluster. slurm: options of sbatch. per_gpu: the most jobs that share a GPU.
    """

    runner: str = "local"
    workers: int | None = None
    address: str | None = None
    slurm: str = ""
    per_gpu: int = 1

    def check(self) -> None:
        """UsageError for an unknown runner, or an option that means nothing to it."""
        if self.runner not in RUNNERS:
            raise unknown("runner", self.runner, RUNNERS)
        if self.address is not None and self.runner != "ray":
            raise UsageError("--address is that of a Ray cluster: add --runner ray, or leave it out.")
        if self.slurm and self.runner != "slurm":
            raise UsageError("--slurm holds options of sbatch: add --runner slurm, or leave it out.")
        if self.workers is not None and self.runner == "ray":
            raise UsageError("--workers counts cores of this machine; a Ray cluster says itself what it has.")


@contextmanager
def open_runner(machines: Machines, out: Path, lock: int | None = None) -> Iterator[Runner]:
    """The runner of a bench in the folder `out`; RunError where its cluster cannot be reached."""
    machines.check()
    if machines.runner == "ray":
        from robo_orl.sweep.runners.ray_core import RayRunner

        runner = RayRunner(out / "logs", machines.address)
    elif machines.runner == "slurm":
        from robo_orl.sweep.runners.slurm import LARGEST_ARRAY, SlurmRunner

        runner = SlurmRunner(out, machines.slurm, machines.workers or LARGEST_ARRAY)
    else:
        yield this_machine(out / "logs", lock, machines.workers or cores())
        return
    try:
        yield runner
    finally:
        runner.close()
