"""What a bench will take, before it runs: cells, time, disk, memory, GPUs, and where a budget of minutes ends.

The time is that of the schedule itself, run with a clock of its own and jobs that end when like ones did.
"""

from __future__ import annotations

import shutil
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from robo_orl.base.errors import UsageError
from robo_orl.base.machine import Hardware, hardware
from robo_orl.config import PolicyConfig, SuiteConfig, TaskConfig
from robo_orl.cost.predict.workload import shapes_of_task
from robo_orl.sweep.bench import Bench, suite_to_run
from robo_orl.sweep.cells import Cell, expand
from robo_orl.sweep.job import COSTS, DATA, EVALUATE, MAKES_DATA, ONLINE, TRAIN, VALUE, Job, JobResult
from robo_orl.sweep.requirements import Requirements
from robo_orl.sweep.resources import Grant, Node, largest
from robo_orl.sweep.runners.choice import Machines, open_runner
from robo_orl.sweep.schedule import DONE, Clock, JobProgress, Schedule
from robo_orl.sweep.speeds import folders_with_records, speeds_on

KINDS = (*MAKES_DATA, TRAIN, VALUE, EVALUATE, ONLINE, COSTS)
# Of a recorded frame without pictures: 903 in 4 episodes of `robo-orl data generate --task chain2 --regime mg`.
FRAME_BYTES = 1000
CHECKPOINT_BYTES = 2 * 3 * 4  # per parameter: the two newest checkpoints, each weights and two moments in fp32


@dataclass(frozen=True)
class KindForecast:
    """The jobs of one kind. seconds: of them all one after the other; None where a time is not known."""

    kind: str
    jobs: int
    unknown: int
    seconds: float | None
    memory_bytes: int
    gpus: float


@dataclass(frozen=True)
class Budget:
    """Where a budget of minutes ends. cells: of the missing ones, done by then. first_left: the first that is not."""

    minutes: float
    cells: int
    first_left: str


@dataclass(frozen=True)
class Forecast:
    """What a bench will take. wall_s: None where a time is not known.

    failed: cells of the missing ones that failed twice in the same way and are not tried. records: of machines of this
    kind, which the times are from. cores, gpus: of all machines together.
    """

    suite: str
    folder: str
    cells: int
    done: int
    missing: int
    failed: int
    cost_cells: int
    kinds: list[KindForecast]
    wall_s: float | None
    records: int
    machine: str
    machines: int
    cores: int
    gpus: int
    memory_bytes: int
    memory_there_bytes: int | None
    disk_bytes: int
    disk_free_bytes: int
    budget: Budget | None

    def to_json(self) -> dict[str, Any]:
        """The output of `robo-orl bench --plan --json`."""
        return asdict(self)


def forecast_of(
    suite: str,
    out: Path,
    machines: Machines,
    blocks: int | None = None,
    minutes: float | None = None,
    official: Path | None = None,
) -> Forecast:
    """What `bench` with the same options would do; nothing is written.

    Raises UsageError for an unknown name, RunError where the cluster cannot be reached.
    """
    config, out = suite_to_run(suite, blocks, official), Path(out).resolve()
    cells = expand(config)
    with open_runner(machines, out) as runner:
        return forecast(config, cells, out, runner.nodes(), minutes, machines.per_gpu)


def forecast(
    suite: SuiteConfig, cells: list[Cell], out: Path, nodes: list[Node], minutes: float | None = None, per_gpu: int = 1
) -> Forecast:
    """What `bench` would do with a suite in the folder `out` on these nodes; nothing is written."""
    bench = Bench(suite, cells, out, reads_only=True)
    jobs, given_up = bench.jobs_to_try()
    needs = Requirements(largest(nodes), per_gpu)
    machine = hardware()
    speeds = speeds_on(machine, folders_with_records(out))
    seconds = {job.key: speeds.seconds(job) for job in jobs}
    states, peak = _played(jobs, nodes, needs, seconds, None)
    wall = max((state.began + state.seconds for state in states.values()), default=0.0)
    known = all(value is not None for value in seconds.values())
    left = [cell for key, cell in bench.todo.items() if not any(job.key in given_up for job in bench.jobs[key])]
    return Forecast(
        suite=suite.name,
        folder=str(out),
        cells=len(cells),
        done=len(bench.records),
        missing=len(bench.todo),
        failed=len(bench.todo) - len(left),
        cost_cells=len(bench.costs),
        kinds=[_kind(kind, own, seconds, needs) for kind in KINDS if (own := [j for j in jobs if j.kind == kind])],
        wall_s=wall if known else None,
        records=speeds.records,
        machine=_describe(machine),
        machines=len(nodes),
        cores=sum(node.cores for node in nodes),
        gpus=sum(node.gpus for node in nodes),
        memory_bytes=peak,
        memory_there_bytes=largest(nodes).memory_bytes,
        disk_bytes=_disk_bytes(jobs),
        disk_free_bytes=shutil.disk_usage(_existing(out)).free,
        budget=None if minutes is None else _budget(bench, left, jobs, nodes, needs, seconds, minutes),
    )


def _budget(
    bench: Bench,
    left: list[Cell],
    jobs: list[Job],
    nodes: list[Node],
    needs: Requirements,
    seconds: dict[str, float | None],
    minutes: float,
) -> Budget:
    states, _ = _played(jobs, nodes, needs, seconds, minutes)
    over = [cell for cell in left if not _complete(bench.jobs[cell.key], states, 60 * minutes)]
    first = over[0] if over else None
    words = (first.task.name, first.regime, first.policy.name, first.size, f"seed {first.seed}") if first else ()
    return Budget(minutes, len(left) - len(over), " ".join(words))


def _complete(jobs: Sequence[Job], states: dict[str, JobProgress], until: float) -> bool:
    own = [states[job.key] for job in jobs if job.key in states]
    return all(state.state == DONE and state.began + state.seconds <= until for state in own)


def _kind(kind: str, jobs: list[Job], seconds: dict[str, float | None], needs: Requirements) -> KindForecast:
    known = [seconds[job.key] for job in jobs if seconds[job.key] is not None]
    wants = {needs(job) for job in jobs}
    memory = max(want.memory_bytes for want in wants)
    if kind == TRAIN:
        memory = max(memory, max(needs.predicted_bytes(job, always=True) for job in _one_each(jobs)))
    return KindForecast(
        kind=kind,
        jobs=len(jobs),
        unknown=len(jobs) - len(known),
        seconds=sum(known) if len(known) == len(jobs) else None,
        memory_bytes=memory,
        gpus=max(want.gpus for want in wants),
    )


def _one_each(jobs: list[Job]) -> list[Job]:
    """A training of each of the three largest policies, whose memory is predicted."""
    by_policy = {(job.policy.digest(), job.task.digest()): job for job in jobs if isinstance(job.policy, PolicyConfig)}
    return sorted(by_policy.values(), key=lambda job: -job.work / max(1, job.total))[:3] or jobs[:1]


# ------------------------------------------------------------------------------------------------------ the played run


class _Imagined:
    """A runner whose jobs end when like ones did; its clock moves on to the next end."""

    def __init__(self, nodes: list[Node], seconds: dict[str, float | None]):
        self._nodes, self.seconds, self.time = nodes, seconds, 0.0
        self.ends: dict[str, float] = {}
        self.memory: dict[str, int] = {}
        self.peak = 0

    def nodes(self) -> list[Node]:
        return self._nodes

    def start(self, job: Job, grant: Grant) -> str:
        self.ends[job.key] = self.time + (self.seconds[job.key] or 0.0) / (grant.cores if job.elastic else 1)
        self.memory[job.key] = grant.memory_bytes
        self.peak = max(self.peak, sum(self.memory.values()))
        return job.key

    def flush(self) -> None: ...

    def result(self, handle: str) -> JobResult | None:
        if self.ends[handle] > self.time:
            return None
        del self.ends[handle], self.memory[handle]
        return JobResult({})

    def where(self, handle: str) -> str:
        return ""

    def stop(self, handles: list[str]) -> None: ...

    def sleep(self, _: float) -> None:
        self.time = min(self.ends.values(), default=self.time)


def _played(
    jobs: list[Job], nodes: list[Node], needs: Requirements, seconds: dict[str, float | None], minutes: float | None
) -> tuple[dict[str, JobProgress], int]:
    """The states after an imagined run, and the most memory that its jobs took together."""
    runner = _Imagined(nodes, seconds)
    clock = Clock(lambda: runner.time, runner.sleep)
    schedule = Schedule(jobs, runner, lambda *_: None, lambda _: None, minutes=minutes, resources=needs, clock=clock)
    return schedule.run(), runner.peak


# ----------------------------------------------------------------------------------------------------------------- disk


def _disk_bytes(jobs: list[Job]) -> int:
    """Bytes that jobs leave on the disk, roughly: recorded and collected frames, and two checkpoints of each run."""
    recorded = sum(int(job.work) * (FRAME_BYTES + job.picture_bytes) for job in jobs if job.kind == DATA)
    recorded += sum(job.total * (FRAME_BYTES + job.picture_bytes) for job in jobs if job.kind == ONLINE)
    runs: dict[str, list[Job]] = defaultdict(list)
    for job in jobs:
        if job.kind == TRAIN and isinstance(job.policy, PolicyConfig):
            runs[f"{job.policy.digest()} {job.task.env}"].append(job)
    parameters = sum(len(own) * _parameters(own[0].policy, own[0].task) for own in runs.values())
    return recorded + CHECKPOINT_BYTES * parameters


def _parameters(policy: PolicyConfig, task: TaskConfig) -> int:
    """Of a policy's agent with its critic and slow copies; 0 where it cannot be built without data."""
    try:
        return sum(parameter.numel() for parameter in shapes_of_task(policy, task).parameters())
    except UsageError:
        return 0


def _existing(path: Path) -> Path:
    """The folder, or the one above it that is there."""
    return path if path.exists() or path == path.parent else _existing(path.parent)


def _describe(machine: Hardware) -> str:
    return machine.accelerator or f"{machine.cpu}, {machine.cores} cores"
