"""`robo-orl profile`: the options of the command, resolved, into a prediction, a measurement or the largest model."""

from __future__ import annotations

import importlib.util
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from robo_orl.base.errors import UsageError, unknown
from robo_orl.config import PolicyConfig, TaskConfig, deep_merge, parse
from robo_orl.config.methods import with_method
from robo_orl.config.presets import load_task, preset_values
from robo_orl.cost.launches import Launches, kernels_started
from robo_orl.cost.measure.device import matmul_ceiling, recorded, this_device
from robo_orl.cost.measure.distributed import compare_launched
from robo_orl.cost.measure.memory import Calibration, stored
from robo_orl.cost.measure.one_process import compare
from robo_orl.cost.measure.step_cost import StepCost
from robo_orl.cost.measure.step_time import StepEstimate, estimate_step
from robo_orl.cost.parallelism import Layout
from robo_orl.cost.predict.cards import CARDS, GIB, card
from robo_orl.cost.predict.largest import LargestModel, largest
from robo_orl.cost.predict.prediction import Prediction, predict
from robo_orl.cost.predict.workload import unpredictable, workload_of
from robo_orl.cost.synthetic_step import SyntheticStep, action_size, policy_spec
from robo_orl.objectives import normalised

PRECISIONS = ("fp32", "bf16")


@dataclass(frozen=True)
class Request:
    """The options of the command; None is the policy's own value. The first of `policies` is the base of ratios."""

    policies: tuple[str, ...]
    task: str
    size: str | None = None
    batch: int | None = None
    world: int = 1
    zero: int = 0
    offload: bool = False
    launch: bool = False
    checkpointing: bool = False
    accumulation: int | None = None
    precision: str | None = None
    cards: tuple[str, ...] = ()
    host_memory_gb: float | None = None
    online: str | None = None

    def resolve(self) -> tuple[list[PolicyConfig], TaskConfig]:
        """The policies with the options laid on them, and the task; UsageError names what does not exist."""
        if self.precision is not None and self.precision not in PRECISIONS:
            raise unknown("precision", self.precision, PRECISIONS)
        if self.batch is not None and (self.batch < 2 or self.batch % 2):
            raise UsageError(f"--batch counts observations, two a pair: even, and not {self.batch}.")
        optim = {"batch_size": self.batch, "accumulation": self.accumulation, "precision": self.precision}
        backbone = {"size": self.size, "checkpointing": self.checkpointing or None}
        options = {
            section: {key: value for key, value in values.items() if value is not None}
            for section, values in {"optim": optim, "backbone": backbone}.items()
        }
        return [self._policy(name, options) for name in self.policies], load_task(self.task)

    def _policy(self, name: str, options: dict[str, Any]) -> PolicyConfig:
        """A policy as it is trained on data, or as it goes on to learn by the method `online`."""
        policy = parse(PolicyConfig, deep_merge(preset_values("policies", name), options), f"policy {name}")
        if self.online is None:
            return policy.model_copy(update={"online": None})
        laid = deep_merge(with_method(policy.model_dump(mode="json"), self.online), options)
        return normalised(parse(PolicyConfig, laid, f"method {self.online} on policy {name}"))

    def only_policy(self, option: str) -> tuple[PolicyConfig, TaskConfig]:
        """The one policy and the task; UsageError where there are several."""
        if len(self.policies) > 1:
            raise UsageError(f"{option} is for one policy: leave out --beside, or give one command for each.")
        policies, task = self.resolve()
        return policies[0], task

    @property
    def layout(self) -> Layout:
        """The layout of the step."""
        return Layout(self.world, self.zero, self.offload)


@dataclass(frozen=True)
class LargestOnCard:
    """The largest model of a policy on a card, by prediction; None where not even the smallest fits."""

    policy: str
    batch: int
    precision: str
    card: str
    usable_bytes: int
    largest: LargestModel | None


def predicted(request: Request) -> Prediction:
    """The prediction; UsageError where the host cannot hold what is offloaded, or an option means nothing."""
    cards = [card(name) for name in request.cards] or list(CARDS.values())
    if request.host_memory_gb is not None and not request.offload:
        raise UsageError("--host-memory matters with --offload only: leave it out.")
    layout = request.layout
    policy, task = request.only_policy("--predict")
    prediction = predict(workload_of(policy, task, layout), cards)
    needed = prediction.memory.host_bytes * request.world
    if request.host_memory_gb is not None and needed > request.host_memory_gb * GIB:
        raise UsageError(
            f"Offload needs {needed / GIB:.0f} GiB of host memory for {request.world} process(es) on one machine, it "
            f"has {request.host_memory_gb:g}: use more machines, a smaller --size, or no --offload."
        )
    return prediction


@dataclass(frozen=True)
class StepHere:
    """The time of one process's step on this machine: the least that it can take, and an estimate from small sizes.

    ceiling_flops_per_s: of the best matrix product here, measured now. What is no matrix product, the optimiser and
    traffic come on top of the FLOPs at that ceiling. estimate: measured now too; None where small sizes of the policy
    cannot be measured.
    """

    device: str
    threads: int
    flops_per_step: float
    ceiling_flops_per_s: float
    estimate: StepEstimate | None

    @property
    def step_s_at_least(self) -> float:
        """Seconds."""
        return self.flops_per_step / self.ceiling_flops_per_s

    def to_json(self) -> dict[str, Any]:
        """The value of `this_machine` in the output of `profile --predict --json`."""
        return asdict(self) | {"step_s_at_least": self.step_s_at_least}


def step_here(request: Request, prediction: Prediction) -> StepHere:
    """The time of a predicted step on this machine's GPU, or on its processor where there is none."""
    device = this_device()
    policy, task = request.only_policy("--predict")
    return StepHere(
        device=torch.cuda.get_device_name() if device == "cuda" else device,
        threads=torch.get_num_threads(),
        flops_per_step=prediction.flops.hardware_per_step / prediction.world,
        ceiling_flops_per_s=matmul_ceiling(device, prediction.precision),
        estimate=estimate_step(workload_of(policy, task, request.layout), device),
    )


def largest_on_cards(request: Request) -> list[LargestOnCard]:
    """The largest model of the policy on each of the cards, default all; its size is what is looked for."""
    if request.size is not None:
        raise UsageError("--largest looks for the size itself: leave out --size.")
    cards = [card(name) for name in request.cards] or list(CARDS.values())
    policy, task = request.only_policy("--largest")
    workload = workload_of(policy, task, request.layout)
    batch, precision = policy.optim.batch_size, policy.optim.precision
    return [
        LargestOnCard(policy.name, batch, precision, one.name, one.usable, largest(workload, one.usable))
        for one in cards
    ]


@dataclass(frozen=True)
class Measurement:
    """The steps of the policies of a request on this machine, the first one being the base of ratios.

    launches: counted, by policy; without those that cannot be predicted. kernels_started: on this GPU, by its profiler;
    empty where there is none, or where several processes were measured.
    """

    rows: list[StepCost]
    layout: Layout
    load_before: float
    calibration: Calibration | None
    launches: dict[str, Launches]
    kernels_started: dict[str, int]

    def to_json(self) -> dict[str, Any]:
        """The output of `profile --json`: `rows`, and a single policy's values beside it."""
        rows = [row.to_json() for row in self.rows]
        calibration = asdict(self.calibration) if self.calibration else None
        about = {"world": self.layout.world, "zero": self.layout.zero, "load_before": self.load_before}
        about["launches"] = {name: launches.to_json() for name, launches in self.launches.items()}
        about["kernels_started"] = self.kernels_started
        return {"rows": rows, **about, "calibration": calibration} | (rows[0] if len(rows) == 1 else {})


def measured(request: Request, steps: int, snapshot: Path | None = None, progress: bool = False) -> Measurement:
    """The measurement on this machine: in this process, or launched on several processes where --world, --zero or
    --launch say so."""
    for name, given in (("--card", request.cards), ("--host-memory", request.host_memory_gb)):
        if given not in (None, ()):
            raise UsageError(f"{name} belongs to a prediction: add --predict or --largest, or leave it out.")
    policies, task = request.resolve()
    names = [policy.name for policy in policies]
    if len(set(names)) < len(names):
        raise UsageError(f"Rows are named by their policies, and two of {', '.join(names)} are equal.")
    layout, load, started = request.layout, os.getloadavg()[0], {}
    if layout == Layout() and not request.launch:
        with recorded(snapshot):
            rows = compare(policies, task, steps, progress)
        started = _started(policies, task, rows)
    else:
        if snapshot is not None:
            raise UsageError("--snapshot records one process: leave out --world, --zero and --launch.")
        check_engine(layout)
        for policy in policies:
            layout.pairs(policy.optim.batch_size, policy.optim.accumulation)
        rows = compare_launched(policies, task, layout, steps)
    calibration = stored("cuda") if this_device() == "cuda" else None
    counted = {p.name: workload_of(p, task, layout).launches() for p in policies if unpredictable(p) is None}
    return Measurement(rows, layout, load, calibration, counted, started)


def _started(policies: list[PolicyConfig], task: TaskConfig, rows: list[StepCost]) -> dict[str, int]:
    """Kernels of a step of each policy that fits this GPU; empty without one."""
    started: dict[str, int] = {}
    for policy, row in zip(policies, rows, strict=True):
        if this_device() == "cuda" and not row.oom:
            gamma = policy.gamma.value(task.horizon)
            step = SyntheticStep(policy, policy_spec(policy, task), action_size(task), gamma, "cuda")
            step.run()
            started[policy.name] = kernels_started(step)
    return started


def check_engine(layout: Layout) -> None:
    """UsageError where this installation cannot run the layout."""
    if layout.deepspeed and importlib.util.find_spec("deepspeed") is None:
        raise UsageError(f"ZeRO-{layout.zero} needs DeepSpeed, which is not installed: `pip install deepspeed`.")
