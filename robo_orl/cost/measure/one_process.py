"""Training steps measured in one process: time by phase, memory, FLOPs, utilisation, energy, and ratios to the first.

All policies take turns, a step each per round, so that a machine that slows down slows all of them; a ratio is the
median over rounds of the ratio within a round. A step that does not fit is a result (`oom`), not a fault.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from time import perf_counter

import torch
from torch import nn

from robo_orl.base.errors import UsageError
from robo_orl.base.rng import Draws
from robo_orl.base.types import PairedWindow
from robo_orl.config import PolicyConfig, TaskConfig
from robo_orl.cost.flops import count_flops
from robo_orl.cost.measure.device import energy_joules, forget, matmul_ceiling, out_of_memory, this_device
from robo_orl.cost.measure.memory import calibration_bytes, measured_memory
from robo_orl.cost.measure.step_cost import WARM_UP, Rates, StepCost, acting_in_turns, beside, in_turns, times_of
from robo_orl.cost.parallelism import Layout
from robo_orl.cost.predict.memory import memory
from robo_orl.cost.predict.workload import shapes_of_task, unpredictable, workload_of
from robo_orl.cost.synthetic_step import SyntheticStep, action_size, policy_spec

MakeStep = Callable[[], SyntheticStep]


def compare(
    policies: Sequence[PolicyConfig],
    task: TaskConfig,
    steps: int = 20,
    progress: bool = False,
    device: str | None = None,
    predict: bool = True,
) -> list[StepCost]:
    """One row per policy, relative to the first one: `steps` timed steps of each, in turns.

    device: default a GPU where there is one. predict: also the predicted memory, and the utilisation, which needs the
    model's FLOPs. Where the policies do not fit the device together, each is measured alone and times do not compare.
    Raises UsageError where the policies do not take batches of one size: then samples do not compare.
    """
    sizes = {policy.optim.batch_size for policy in policies}
    if len(sizes) != 1:
        raise UsageError(f"A comparison needs policies of one batch size, not of {sorted(sizes) or 'none'}.")
    device = device or this_device()
    described = [describe(policy, task, Layout(device=device), predict) for policy in policies]
    makers = [partial(_make, policy, task, device) for policy in policies]
    forget()
    try:
        rows = compare_steps(makers, steps, progress, described, acting=True)
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        reason = out_of_memory(error)
        forget()
        rows = _one_by_one(makers, steps, described) if len(policies) > 1 else [replace(described[0], oom=reason)]
    if predict:
        rows = [_with_rates(row, policy, task) for row, policy in zip(rows, policies, strict=True)]
    forget()
    return rows


def compare_steps(
    makers: Sequence[MakeStep],
    rounds: int,
    progress: bool = False,
    described: Sequence[StepCost] | None = None,
    acting: bool = False,
) -> list[StepCost]:
    """The rows of `compare` for the steps that `makers` make; acting: also the time of a decision."""
    # One at a time: on a GPU the counter sees whatever else is held.
    rows = [_alone(make(), row) for make, row in zip(makers, described or [None] * len(makers), strict=True)]
    made = [make() for make in makers]
    table, joules = _interleaved(made, rounds, progress)
    if acting:
        decisions = decision_seconds(made, rounds)
        rows = [
            replace(row, acting=acting_in_turns(own, decisions[0])) for row, own in zip(rows, decisions, strict=True)
        ]
    turns = [[seconds[index] for seconds in table] for index in range(len(rows))]
    times = [times_of(own) for own in turns]
    if len(rows) == 1:
        times = [replace(times[0], joules_per_step=joules)]
    return [
        in_turns(beside(replace(row, times=time), rows[0]), own, turns[0])
        for row, time, own in zip(rows, times, turns, strict=True)
    ]


def _make(policy: PolicyConfig, task: TaskConfig, device: str) -> SyntheticStep:
    spec, gamma = policy_spec(policy, task), policy.gamma.value(task.horizon)
    return SyntheticStep(policy, spec, action_size(task), gamma, device)


def describe(policy: PolicyConfig, task: TaskConfig, layout: Layout, predict: bool = True) -> StepCost:
    """The row of a policy before anything is measured, with its prediction where it has one."""
    prediction = None
    if predict and unpredictable(policy) is None:
        prediction = memory(workload_of(policy, task, layout)).calibrated(calibration_bytes(task, layout.device))
    return replace(_row(policy, shapes_of_task(policy, task), layout.device), predicted=prediction)


def _row(policy: PolicyConfig, agent: nn.Module, device: str) -> StepCost:
    """The row of an agent, nothing measured."""
    return StepCost(
        policy=policy.name,
        size=policy.backbone.size,
        topology=policy.critic.topology if policy.critic and agent.critic is not None else None,
        batch=policy.optim.batch_size,
        precision=policy.optim.precision,
        checkpointing=policy.backbone.checkpointing,
        device=torch.cuda.get_device_name() if device == "cuda" else device,
        threads=torch.get_num_threads(),
        parameters_total=agent.parameter_counts()["total"],
    )


def _alone(step: SyntheticStep, row: StepCost | None) -> StepCost:
    """The row with what does not depend on the clock."""
    step.run()  # allocates the moments
    flops = count_flops(step.run)
    return replace(
        row or _row(step.policy, step.agent, step.device.type),
        parameters=step.agent.parameter_counts(),
        flops_per_sample=flops / step.policy.optim.batch_size,
        memory=measured_memory(step),
    )


def _one_by_one(makers: Sequence[MakeStep], rounds: int, described: Sequence[StepCost]) -> list[StepCost]:
    """Rows of policies that do not fit beside each other: memory compares, times that took no turns do not."""
    rows = []
    for make, row in zip(makers, described, strict=True):
        try:
            measured = compare_steps([make], rounds, described=[row], acting=True)[0]
            measured = replace(
                measured, acting=replace(measured.acting, act_relative=None, act_relative_quartiles=None)
            )
        except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
            measured = replace(row, oom=out_of_memory(error))
        forget()
        rows.append(measured)
    base = rows[0]
    if base.oom:
        return [replace(row, alone=True, step_relative=None, step_relative_quartiles=None) for row in rows]
    alone = {"alone": True, "step_relative": None, "step_relative_quartiles": None}
    return [base] + [row if row.oom else replace(beside(row, base), **alone) for row in rows[1:]]


def _interleaved(
    steps: list[SyntheticStep], rounds: int, progress: bool
) -> tuple[list[list[dict[str, float]]], float | None]:
    """rounds x policies x phase -> seconds, and joules a round. Every round begins with another policy, so that none
    always follows one."""
    table, before = [], None
    windows = [_on_host(step) for step in steps]
    for turn in _shown(range(WARM_UP + rounds), progress):
        if turn == WARM_UP:
            before = energy_joules()
        seconds: dict[int, dict[str, float]] = {}
        for offset in range(len(steps)):
            index = (turn + offset) % len(steps)
            began = perf_counter()
            if windows[index] is not None:
                steps[index].window = windows[index].to(steps[index].device)
                torch.cuda.synchronize()
            seconds[index] = {"data": perf_counter() - began} | steps[index].timed()
        if turn >= WARM_UP:
            table.append([seconds[index] for index in range(len(steps))])
    after = energy_joules()
    return table, (after - before) / rounds if before is not None and after is not None else None


@torch.no_grad()
def decision_seconds(steps: Sequence[SyntheticStep], rounds: int) -> list[list[float]]:
    """policies x rounds -> seconds of one decision on one observation; every round begins with another policy."""
    seconds: list[list[float]] = [[] for _ in steps]
    for step in steps:
        step.agent.eval()
    one = [step.window.obs.map(lambda t: t[:1]) for step in steps]
    for turn in range(WARM_UP + rounds):
        for offset in range(len(steps)):
            index = (turn + offset) % len(steps)
            began = perf_counter()
            steps[index].agent.act(one[index], Draws(0, turn, device=steps[index].device))
            if steps[index].device.type == "cuda":
                torch.cuda.synchronize()
            if turn >= WARM_UP:
                seconds[index].append(perf_counter() - began)
    return seconds


def _on_host(step: SyntheticStep) -> PairedWindow | None:
    """Its window in pinned memory; None on the CPU, where there is nothing to copy."""
    return step.window.map(lambda t: t.cpu().pin_memory()) if step.device.type == "cuda" else None


def _shown(count: range, progress: bool) -> Iterable[int]:
    if not progress:
        return count
    from rich.console import Console
    from rich.progress import track

    return track(count, "measuring cost", console=Console(stderr=True), transient=True)


def _with_rates(row: StepCost, policy: PolicyConfig, task: TaskConfig) -> StepCost:
    """The row with throughput and utilisation, where its FLOPs can be counted without running it."""
    if row.oom or unpredictable(policy):
        return row
    device = "cpu" if row.device == "cpu" else "cuda"
    workload = workload_of(policy, task, Layout(device=device))
    flops = {"model": workload.flops(model=True), "hardware": workload.flops(model=False)}
    ceiling, seconds, batch = matmul_ceiling(device, row.precision), row.step_s, row.batch
    rates = Rates(
        pairs_per_s=batch / 2 / seconds,
        observations_per_s=batch / seconds,
        action_chunks_per_s=batch / seconds,  # every observation imitates one chunk
        flops_per_step=flops,
        ceiling_flops_per_s=ceiling,
        mfu=flops["model"] / seconds / ceiling,
        hfu=flops["hardware"] / seconds / ceiling,
    )
    return replace(row, rates=rates)
