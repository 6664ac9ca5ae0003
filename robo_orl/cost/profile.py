"""`robo-orl profile`: names and numbers of a command line into a prediction or a measurement."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robo_orl.base.errors import UsageError, unknown
from robo_orl.config import PolicyConfig, TaskConfig, deep_merge, parse
from robo_orl.config.presets import load_task, preset_values
from robo_orl.cost.parallelism import Layout
from robo_orl.cost.predict.cards import CARDS, GIB, card
from robo_orl.cost.predict.prediction import predict, workload_of

PRECISIONS = ("fp32", "bf16")


@dataclass(frozen=True)
class Request:
    """The options of the command, as given; None is the policy's own."""

    policy: str
    task: str
    size: str | None
    batch: int | None
    world: int
    zero: int
    offload: bool
    checkpointing: bool
    accumulation: int | None
    precision: str | None
    card: str | None
    host_memory_gb: float | None

    def resolve(self) -> tuple[PolicyConfig, TaskConfig]:
        """The policy with the options laid on it, and the task; UsageError names what does not exist."""
        if self.precision is not None and self.precision not in PRECISIONS:
            raise unknown("precision", self.precision, PRECISIONS)
        if self.batch is not None and (self.batch < 2 or self.batch % 2):
            raise UsageError(f"--batch counts observations, two a pair: even, and not {self.batch}.")
        optim = {"batch_size": self.batch, "accumulation": self.accumulation, "precision": self.precision}
        backbone = {"size": self.size, "checkpointing": self.checkpointing or None}
        laid = {
            section: {key: value for key, value in values.items() if value is not None}
            for section, values in {"optim": optim, "backbone": backbone}.items()
        }
        values = deep_merge(preset_values("policies", self.policy), laid)
        return parse(PolicyConfig, values, f"policy {self.policy}"), load_task(self.task)


def predicted(request: Request) -> dict[str, Any]:
    """The prediction; UsageError where the host cannot hold what is offloaded, or an option means nothing."""
    layout = Layout(request.world, request.zero, request.offload)
    cards = [card(request.card)] if request.card else list(CARDS.values())
    if request.host_memory_gb is not None and not request.offload:
        raise UsageError("--host-memory matters with --offload only: leave it out.")
    policy, task = request.resolve()
    found = predict(workload_of(policy, task, layout), cards)
    needed = found["memory"]["host_bytes"] * request.world
    if request.host_memory_gb is not None and needed > request.host_memory_gb * GIB:
        raise UsageError(
            f"Offload needs {needed / GIB:.0f} GiB of host memory for {request.world} process(es) on one machine, it "
            f"has {request.host_memory_gb:g}: use more machines, a smaller --size, or no --offload."
        )
    return found


def measured(request: Request, steps: int, snapshot: Path | None) -> dict[str, Any]:
    """The measurement on this machine: in this process, or launched on several where --world or --zero ask for it."""
    for name, value in (("--card", request.card), ("--host-memory", request.host_memory_gb)):
        if value is not None:
            raise UsageError(f"{name} belongs to a prediction: add --predict, or leave it out.")
    policy, task = request.resolve()
    layout = Layout(request.world, request.zero, request.offload)
    if layout == Layout():
        from robo_orl.cost.measure.one_process import measure_step

        return measure_step(policy, task, steps, snapshot=snapshot)
    if snapshot is not None:
        raise UsageError("--snapshot records one process: leave out --world and --zero.")
    check_engine(layout)
    layout.pairs(policy.optim.batch_size, policy.optim.accumulation)
    from robo_orl.cost.measure.launch import launch

    return launch(layout, [{"policy": policy, "task": task, "steps": steps}])[0]


def check_engine(layout: Layout) -> None:
    """UsageError where this installation cannot run the layout."""
    if layout.deepspeed and importlib.util.find_spec("deepspeed") is None:
        raise UsageError(f"ZeRO-{layout.zero} needs DeepSpeed, which is not installed: `pip install deepspeed`.")
