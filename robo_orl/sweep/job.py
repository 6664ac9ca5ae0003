"""A job: one command with its resources, the files that it reads, and its result. No torch here."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from robo_orl.base.files import write_text
from robo_orl.config import PolicyConfig, ReferenceConfig, RewardConfig, TaskConfig
from robo_orl.sweep.launch_file import LaunchFile

DATA, OFFICIAL, EDIT, REWARD, TRAIN = "data", "official", "edit", "reward", "train"
MAKES_DATA = (DATA, OFFICIAL, EDIT, REWARD)
ONLINE = "online"
VALUE, RANK, EVALUATE, COSTS = "value", "rank", "eval", "cost"


@dataclass(frozen=True)
class Input:
    """A configuration as a file, so that a run never depends on a preset that changes meanwhile."""

    path: Path
    config: TaskConfig | PolicyConfig | ReferenceConfig | RewardConfig

    def write(self) -> None:
        """Write the file where it is missing."""
        if not self.path.exists():
            write_text(self.path, yaml.safe_dump(self.config.model_dump(mode="json"), sort_keys=False))


def write_inputs(jobs: Iterable[Job]) -> None:
    """Write the files that the commands read, each once."""
    for file in {file.path: file for job in jobs for file in job.inputs}.values():
        file.write()


@dataclass(frozen=True)
class Job:
    """One command whose last line on stdout is a JSON object.

    key: unique among jobs, file-name safe. command: without --workers. needs: keys of the jobs that come before.
    work: its size in a unit of its kind, from which the remaining time is estimated. total: episodes or steps.
    output: the path that progress is read from, and that must still exist for the job to count as done. exclusive: it
    runs alone, with a thread a core, because it measures the machine. policy, task: of a training, whose memory is
    predicted from them. launch: of a training on several processes. inputs: files that the command reads.
    picture_bytes: of a recorded frame.
    """

    kind: str
    key: str
    command: tuple[str, ...]
    needs: tuple[str, ...]
    work: float
    total: int
    output: Path
    exclusive: bool = False
    policy: PolicyConfig | ReferenceConfig | None = field(default=None, compare=False, repr=False)
    task: TaskConfig | None = field(default=None, compare=False, repr=False)
    launch: LaunchFile | None = field(default=None, compare=False)
    inputs: tuple[Input, ...] = field(default=(), compare=False, repr=False)
    picture_bytes: int = field(default=0, compare=False, repr=False)

    @property
    def processes(self) -> int:
        """Processes of a training."""
        return 1 if self.launch is None else self.launch.processes

    @property
    def on_cpu(self) -> bool:
        """True where the launch file keeps a training from the GPUs."""
        return self.launch is not None and self.launch.use_cpu

    @property
    def zero(self) -> int:
        """The ZeRO stage of a training, 0 without one."""
        return 0 if self.launch is None else self.launch.zero

    @property
    def elastic(self) -> bool:
        """True where it can use more than one core."""
        return self.kind in (DATA, EVALUATE, RANK, ONLINE)

    def with_workers(self, cores: int) -> list[str]:
        """The command for `cores` cores."""
        return [*self.command, "--workers", str(cores)] if self.elastic else list(self.command)


@dataclass(frozen=True)
class JobResult:
    """The JSON object of a job that succeeded, or the reason in one sentence why there is none."""

    result: dict[str, Any] | None
    reason: str = ""
