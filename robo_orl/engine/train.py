"""The training loop: one Agent, one AdamW, one summed loss, one backward, whatever it runs on.

Called by `robo-orl train` in one process and by the same command under `accelerate launch`. DeepSpeed steps inside
`accelerator.backward`; under every other engine the loop steps. Everything random is a function of (seed, step).
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from robo_orl.agent.agent import check_agent
from robo_orl.base.errors import RunError
from robo_orl.base.files import read_json, write_json
from robo_orl.base.rng import Draws
from robo_orl.config import RunConfig
from robo_orl.data.task_mixture import TaskMixture
from robo_orl.data.windows import PairedWindows
from robo_orl.engine.checkpoint import checkpoints, remove_partial, restore_agent, restore_optimizer, save_checkpoint
from robo_orl.engine.distributed import check_resolved, open_accelerator, prepare, resolved, share
from robo_orl.engine.features import with_features
from robo_orl.engine.gradients import GradientWatch
from robo_orl.engine.monitor import Monitor, peak_memory, speed
from robo_orl.engine.optimizer import make_optimizer, set_learning_rate, steps_taken
from robo_orl.engine.run_folder import Spec, build_run_agent, check_resumable, make_spec, write_run
from robo_orl.engine.stopping import interruption_is_a_sentence, stop_between_steps
from robo_orl.engine.task_data import make_windows, open_data
from robo_orl.engine.zero import gather, release


class MemoryCheck(Protocol):
    """What watches a run's memory: it may refuse the run before its first step, and measures one step."""

    def announce(self, progress: bool) -> None:
        """Print the prediction, where a person watches."""

    def step(self, number: int, out: Path, progress: bool) -> AbstractContextManager[None]:
        """The context of the `number`-th step of this process, counted from 1."""


MakeMemoryCheck = Callable[[RunConfig, Spec, Accelerator], MemoryCheck]


class NoMemoryCheck:
    """Neither predicts nor measures."""

    def __init__(self, run: RunConfig, spec: Spec, accelerator: Accelerator): ...

    def announce(self, progress: bool) -> None: ...

    def step(self, number: int, out: Path, progress: bool) -> AbstractContextManager[None]:
        return nullcontext()


@dataclass
class Training:
    """One run in motion on this process: `agent` is the bare module, `model` what accelerate wrapped around it."""

    run: RunConfig
    out: Path
    accelerator: Accelerator
    windows: PairedWindows | TaskMixture
    spec: Spec
    agent: nn.Module
    model: nn.Module
    optimizer: torch.optim.Optimizer
    step: int
    wall_s: float  # of earlier processes of this run
    memory_before: int  # bytes that the libraries took before there was an agent
    memory_check: MemoryCheck
    began: float = field(default_factory=time.perf_counter)


def train(
    run: RunConfig,
    out: Path,
    progress: bool = True,
    stop_at: int | None = None,
    memory_check: MakeMemoryCheck = NoMemoryCheck,
) -> dict:
    """Train `run` in the folder `out`, from its newest checkpoint if there is one; returns the summary (train.json).

    stop_at: end after this step with a checkpoint, as if interrupted there. memory_check: on the command line
    cost.memory_check.PredictedMemory. Raises UsageError where `out` holds another run or the data do not fit, RunError
    where training fails; the checkpoints before stay. Interrupted by Ctrl-C, or by
    SIGTERM on the command line, a single process saves a checkpoint after its step.
    """
    out = Path(out)
    accelerator = open_accelerator(run, out)
    if accelerator.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    training = _start(run, out, accelerator, memory_check)
    if training is None:
        return read_json(out / "train.json")
    training.memory_check.announce(progress)
    last = max(training.step, min(stop_at or run.policy.optim.steps, run.policy.optim.steps))
    monitor = Monitor(accelerator, out, run.policy.optim.steps, training.step, run.policy.optim.batch_size, progress)
    watch = GradientWatch(training.agent)
    try:
        alone = accelerator.num_processes == 1
        with interruption_is_a_sentence(lambda: checkpoints(out)), stop_between_steps(alone) as stop:
            for step in range(training.step, last):
                with training.memory_check.step(step - training.step + 1, out, progress):
                    metrics = _train_step(training, step, monitor)
                monitor.add(step + 1, metrics)
                watch.check(step + 1)
                stopped = stop.asked
                if stopped or step + 1 == last or (step + 1) % run.checkpoint_every == 0:
                    monitor.report(step + 1)
                    with monitor.pause():
                        _save(training, step + 1)
                if stopped and step + 1 < last:
                    raise KeyboardInterrupt
        return _finish(training, last)
    finally:
        monitor.close()
        watch.close()
        release(training.model)


def _train_step(training: Training, step: int, monitor: Monitor) -> dict[str, Tensor]:
    """One step, counted from 0; returns its metrics, on the device."""
    accelerator, optim, agent = training.accelerator, training.run.policy.optim, training.agent
    set_learning_rate(training.optimizer, step, optim)
    told = [_backward(training, step, part, monitor) for part in range(optim.accumulation)]
    metrics = told[0] if len(told) == 1 else {name: torch.stack([t[name] for t in told]).mean() for name in told[0]}
    # DeepSpeed has clipped (by its own configuration) and stepped by now: there these three lines only tell the norm.
    norm = accelerator.clip_grad_norm_(agent.parameters(), optim.clip_norm or float("inf"))
    training.optimizer.step()
    training.optimizer.zero_grad()
    agent.update_targets(gather)
    return metrics | {"optim/grad_norm": torch.as_tensor(norm, device=accelerator.device)}


def _backward(training: Training, step: int, part: int, monitor: Monitor) -> dict[str, Tensor]:
    """Forward and backward of one part of this process's batch; returns the loss and its metrics."""
    accelerator, run, device = training.accelerator, training.run, training.accelerator.device
    mine = share(accelerator, part, run.policy.optim.accumulation)
    with monitor.reading():
        window = training.windows.batch(run.seed, step, *mine, run.policy.optim.batch_size).to(device)
    with accelerator.accumulate(training.model):  # gradients travel, and DeepSpeed steps, with the last part
        loss, metrics = training.model(window, Draws(run.seed, step, *mine, device))
        accelerator.backward(loss)
    return {"loss": loss.detach(), **metrics}


# ------------------------------------------------------------------------------------------------------- start and end


def _start(run: RunConfig, out: Path, accelerator: Accelerator, memory_check: MakeMemoryCheck) -> Training | None:
    """Data, agent and optimiser, continued from the newest checkpoint; None where the run is finished already."""
    check_agent(run.policy)  # before anything is written
    opened = open_data(run)
    spec = make_spec(run, opened)
    found = checkpoints(out)
    if found:
        check_resumable(out, run, spec)
    accelerator.wait_for_everyone()
    if (out / "train.json").exists():
        return None
    if accelerator.is_main_process:
        for note in dict.fromkeys(note for arrays in opened for note in arrays.notes):
            print(f"robo-orl: data: {note}.", file=sys.stderr)
        write_run(out, run, spec)
        write_json(out / "data.json", {"files": [arrays.summary() for arrays in opened]})
        remove_partial(out)
    memory_before, _ = peak_memory()
    windows = make_windows(run, opened)
    check = memory_check(run, spec, accelerator)
    agent = build_run_agent(run, spec)
    state = restore_agent(found[-1], agent) if found else {"step": 0, "wall_s": 0.0}
    if run.policy.backbone.cache:
        windows = with_features(agent, windows, accelerator.device, accelerator.is_main_process)
    model, optimizer = prepare(accelerator, agent, make_optimizer(agent, run.policy.optim))
    if found:
        restore_optimizer(found[-1], agent, optimizer, state["step"])
    engine = resolved(accelerator, model)
    if accelerator.is_main_process:
        write_json(out / "engine.json", engine.to_json())
    check_resolved(engine, run, agent, model)
    accelerator.init_trackers("robo_orl", config={"policy": run.policy.name, "task": run.task.name, "seed": run.seed})
    accelerator.wait_for_everyone()
    before = {"step": state["step"], "wall_s": state["wall_s"], "memory_before": memory_before}
    return Training(run, out, accelerator, windows, spec, agent, model, optimizer, memory_check=check, **before)


def _save(training: Training, step: int) -> None:
    if steps_taken(training.optimizer) != step:
        raise RunError(f"The optimiser counts {steps_taken(training.optimizer)} steps where the loop counts {step}.")
    state = {"step": step, "wall_s": _wall_s(training), "spec": training.spec.digest()}
    main = training.accelerator.is_main_process
    save_checkpoint(training.out, training.agent, training.optimizer, state, write=main)
    training.accelerator.wait_for_everyone()


def _finish(training: Training, step: int) -> dict:
    """The summary; train.json says that the run is complete."""
    accelerator = training.accelerator
    accelerator.wait_for_everyone()  # the first process has written its last row
    used, measure = peak_memory()
    peak = accelerator.gather(torch.tensor([used], device=accelerator.device)).max().item()
    finished = step == training.run.policy.optim.steps
    summary = {
        "steps": step,
        "wall_s": _wall_s(training),
        **speed(training.out / "metrics.jsonl", training.run.policy.optim.batch_size),
        "peak_memory_bytes": peak,
        "memory_before_bytes": training.memory_before,
        "peak_memory_of": f"{measure}, the largest of {accelerator.num_processes} process(es)",
        "parameters": training.agent.parameter_counts(),
        "finished": finished,
    }
    if finished and accelerator.is_main_process:
        write_json(training.out / "train.json", summary)
    accelerator.wait_for_everyone()
    for tracker in accelerator.trackers:
        tracker.finish()
    return summary


def _wall_s(training: Training) -> float:
    return training.wall_s + time.perf_counter() - training.began
