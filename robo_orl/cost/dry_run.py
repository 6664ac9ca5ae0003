"""`train --dry-run`: the predicted memory of a run, and its time from a few of its own steps; nothing is written."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from statistics import median
from typing import Any

import torch

from robo_orl.agent.agent import check_agent, check_learns_from_data
from robo_orl.base.errors import RunError, UsageError
from robo_orl.config import RunConfig
from robo_orl.cost.measure.device import forget, out_of_memory
from robo_orl.cost.measure.memory import stored_bytes
from robo_orl.cost.measure.step_cost import quartiles, step_seconds
from robo_orl.cost.memory_check import available_bytes, check_room
from robo_orl.cost.parallelism import Layout
from robo_orl.cost.predict.activation_memory import Unpredictable
from robo_orl.cost.predict.memory import MemoryPrediction, memory
from robo_orl.cost.predict.workload import Workload, unpredictable
from robo_orl.cost.synthetic_step import SyntheticStep, action_size, policy_spec
from robo_orl.cost.terminal import human_bytes, memory_line
from robo_orl.data.cache import refused
from robo_orl.data.hdf5_schema import open_hdf5
from robo_orl.data.training_checks import training_faults
from robo_orl.engine.distributed import on_cpu
from robo_orl.engine.launch import check_launch, read_launch
from robo_orl.engine.task_data import policy_reading

WARM_UP, MEASURED = 2, 8  # steps: the first ones allocate moments and choose kernels


@dataclass(frozen=True)
class DryRun:
    """The expected cost of a run in one process on this machine.

    memory: None where it cannot be predicted, for the reason `not_predicted`. step_s: the median of `measured_steps`
    training steps on synthetic windows of the task's shapes, reading data left out. total_s: of all steps at that pace,
    without start, reading and checkpoints.
    """

    policy: str
    task: str
    device: str
    threads: int
    steps: int
    batch: int
    memory: MemoryPrediction | None
    not_predicted: str | None
    available_bytes: int
    measured_steps: int
    step_s: float
    step_s_quartiles: list[float]

    @property
    def total_s(self) -> float:
        """Seconds of all steps."""
        return self.steps * self.step_s

    def to_json(self) -> dict[str, Any]:
        """The output of `train --dry-run --json`."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        values["memory"] = self.memory.to_json() if self.memory else None
        return values | {"total_s": self.total_s, "windows": "synthetic", "written": False}

    def lines(self) -> list[str]:
        """The same in sentences."""
        needed = memory_line(self.memory) if self.memory else f"not predicted: {self.not_predicted}"
        low, high = (f"{seconds * 1e3:.3g}" for seconds in self.step_s_quartiles)
        total = timedelta(seconds=round(self.total_s))
        return [
            f"memory, predicted: {needed}; of {human_bytes(self.available_bytes)} here",
            f"step, measured: {self.step_s * 1e3:.3g} ms (quartiles {low} to {high}, {self.measured_steps} steps of "
            f"{self.batch} synthetic observations, {self.device}, {self.threads} thread(s))",
            f"training, from that step: {total} for {self.steps} steps, without start, reading and checkpoints",
            "nothing was written",
        ]


def dry_run(run: RunConfig) -> DryRun:
    """The expected cost of `run` here: its settings and files checked, its memory predicted, a few steps measured.

    Raises UsageError where the training would refuse the settings or the files, or where the prediction exceeds this
    machine's memory.
    """
    launch = read_launch()
    check_launch(launch, run)
    if launch.world > 1:
        raise UsageError(
            f"--dry-run measures one process: leave out the launcher, or use `robo-orl profile --world {launch.world}`."
        )
    check_agent(run.policy)
    check_learns_from_data(run.policy)
    _check_files(run)
    if run.policy.backbone.cache:
        raise UsageError("--dry-run has no features to read: add --set policy.backbone.cache=false for its cost.")
    device = "cpu" if on_cpu() else "cuda"
    spec, gamma = policy_spec(run.policy, run.task), run.policy.gamma.value(run.task.horizon)
    available = available_bytes(device)
    workload = Workload(run.policy, spec, gamma, Layout(device=device), action_size(run.task))
    predicted, why_not = _predicted(workload)
    if predicted is not None:
        check_room(workload, predicted, available)
    times = _measured(run, workload)
    return DryRun(
        policy=run.policy.name,
        task=run.task.name,
        device=torch.cuda.get_device_name() if device == "cuda" else device,
        threads=torch.get_num_threads(),
        steps=run.policy.optim.steps,
        batch=run.policy.optim.batch_size,
        memory=predicted,
        not_predicted=why_not,
        available_bytes=available,
        measured_steps=len(times),
        step_s=median(times),
        step_s_quartiles=quartiles(times),
    )


def _check_files(run: RunConfig) -> None:
    """Refuse files that do not train, without hashing them or filling the cache."""
    for source in run.tasks:
        reading = policy_reading(run.policy, source.task, source.reading)
        with open_hdf5(source.data) as file:
            if faults := list(training_faults(file, reading)):
                raise refused(source.data, faults)


def _predicted(workload: Workload) -> tuple[MemoryPrediction | None, str | None]:
    """The prediction, or the reason why there is none."""
    if (reason := unpredictable(workload.policy)) is not None:
        return None, reason
    try:
        return memory(workload).calibrated(stored_bytes(workload.layout.device)), None
    except Unpredictable as error:
        return None, str(error)


def _measured(run: RunConfig, work: Workload) -> list[float]:
    """Seconds of each measured step; RunError where the step does not fit the memory."""
    try:
        step = SyntheticStep(run.policy, work.spec, work.action_dim, work.gamma, work.layout.device, run.seed)
        for _ in range(WARM_UP):
            step.run()
        return [step_seconds(step.timed()) for _ in range(MEASURED)]
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        raise RunError(f"A step of this run does not fit the memory: {out_of_memory(error)}.") from None
    finally:
        forget()
