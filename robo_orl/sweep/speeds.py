"""Seconds that jobs will take, from the records of machines of this kind: the median of what like ones took."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from robo_orl.base.errors import RunError, UsageError
from robo_orl.base.machine import Hardware
from robo_orl.config import SIZES, PolicyConfig
from robo_orl.results.record import Record
from robo_orl.results.store import open_results, results_inside
from robo_orl.sweep.job import COSTS, DATA, EDIT, EVALUATE, OFFICIAL, ONLINE, REWARD, TRAIN, VALUE, Job
from robo_orl.sweep.live_view import VALUE_FRAMES_PER_S

START_S = 5.0  # of a process, to import torch and to open a simulator
MOST_FOLDERS = 50


@dataclass
class Speeds:
    """Seconds per unit of work of jobs, by what they have in common, the closest first. records: that they are from."""

    records: int = 0
    _rates: dict[tuple, list[float]] = field(default_factory=lambda: defaultdict(list))

    def add(self, record: Record) -> None:
        """Take the times of a record."""
        self.records += 1
        objective = record.policy.config.get("objective", {}).get("name", record.policy.name)
        if work := _training_work(record):
            for key in _training_keys(objective, record.size):
                self._rates[key].append(record.train.wall_s / work)
        if record.online is not None:
            account, points = record.online.account, len(record.online.points)
            decisions = record.online.env_steps + points * record.evaluation.episodes * record.task.horizon
            for key in _online_keys(objective, record.task.name):
                self._rates[key].append((account.wall_s + account.evaluation_s) / decisions)
        decisions = record.evaluation.episodes * record.task.horizon
        for key in _task_keys(record.task.name):
            self._rates[key].append(record.evaluation.wall_s / decisions)

    def seconds(self, job: Job) -> float | None:
        """Of a job on one core or GPU; None where no record tells anything like it."""
        if job.kind in (VALUE, OFFICIAL, EDIT, REWARD):  # all pass over frames
            return START_S + job.work / VALUE_FRAMES_PER_S
        rate = next((median(self._rates[key]) for key in _keys(job) if self._rates.get(key)), None)
        return None if rate is None else START_S + rate * job.work


def _keys(job: Job) -> list[tuple]:
    if job.kind in (DATA, EVALUATE):  # both play episodes
        return _task_keys("" if job.task is None else job.task.name)
    if job.kind == ONLINE:
        return _online_keys(job.policy.objective.name, job.task.name)
    if job.kind == COSTS or not isinstance(job.policy, PolicyConfig):
        return [(TRAIN,)]
    return _training_keys(job.policy.objective.name, job.policy.size)


def _training_keys(objective: str, size: str) -> list[tuple]:
    return [(TRAIN, objective, size), (TRAIN, objective), (TRAIN,)]


def _task_keys(task: str) -> list[tuple]:
    return [(EVALUATE, task), (EVALUATE,)]


def _online_keys(objective: str, task: str) -> list[tuple]:
    return [(ONLINE, objective, task), (ONLINE, objective), (ONLINE,)]


def _training_work(record: Record) -> float:
    """The work of a training as jobs count it; 0 where the record does not tell."""
    depth = SIZES.get(record.size)
    return 0.0 if depth is None else float(record.train.steps * record.train.batch_size * depth**3)


def speeds_on(machine: Hardware, folders: Iterable[Path]) -> Speeds:
    """The speeds in the records of these folders that were made on a machine of this kind."""
    speeds, seen = Speeds(), set()
    for record in (record for folder in folders for record in _records(folder)):
        alike = (record.hardware.accelerator, record.hardware.cpu) == (machine.accelerator, machine.cpu)
        if alike and record.cell not in seen:
            seen.add(record.cell)
            speeds.add(record)
    return speeds


def _records(folder: Path) -> Iterator[Record]:
    with suppress(UsageError, RunError, OSError):
        for cell in open_results(folder).cells:
            with suppress(UsageError, RunError, OSError):  # a damaged record tells no time
                yield cell.record()


def folders_with_records(out: Path) -> list[Path]:
    """The results folder, those beside it, and the results that come with a checkout."""
    shipped = Path(__file__).parents[2] / "results"
    found = [path for root in (out.parent, shipped) for path in results_inside(root) if path != out]
    return [out, *found[:MOST_FOLDERS]] if out.is_dir() else found[:MOST_FOLDERS]
