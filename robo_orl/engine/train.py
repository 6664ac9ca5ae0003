"""The training loop: one Agent, one AdamW, one summed loss, one backward, whatever it runs on.

Called by `robo-orl train` in one process and by the same command under `accelerate launch`. DeepSpeed steps inside
`accelerator.backward`; under every other engine the loop steps. Everything random is a function of (seed, step).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Protocol

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from robo_orl.agent.agent import check_agent, check_learns_from_data
from robo_orl.base.errors import RunError
from robo_orl.base.files import write_json
from robo_orl.base.machine import cores, crowding_advice
from robo_orl.base.text import notice
from robo_orl.base.types import PairedWindow
from robo_orl.config import RunConfig
from robo_orl.data.cache import EpisodeArrays
from robo_orl.data.windows import PairedWindows
from robo_orl.engine.checkpoint import (
    CheckpointState,
    checkpoints,
    remove_partial,
    restore_agent,
    restore_optimizer,
    save_checkpoint,
)
from robo_orl.engine.distributed import check_resolved, open_accelerator, prepare, resolved
from robo_orl.engine.features import with_features
from robo_orl.engine.interruption import AgreedInterruption, deferred_interruption, describe_interruption
from robo_orl.engine.monitor import Monitor, peak_memory, speed
from robo_orl.engine.on_the_way import Evaluations, check_held_out
from robo_orl.engine.optimizer import GradientWatch, make_optimizer, steps_taken
from robo_orl.engine.process_group import describe_lost_process
from robo_orl.engine.run_folder import (
    Spec,
    TrainingSummary,
    build_run_agent,
    check_resumable,
    make_spec,
    read_summary,
    run_identity,
    run_lock,
    write_run,
    write_summary,
)
from robo_orl.engine.starting_point import continued, load_initial_weights, set_aside_summary
from robo_orl.engine.task_data import TaskMixture, make_windows, open_data
from robo_orl.engine.tracker import start_tracker
from robo_orl.engine.training_step import TrainingStep
from robo_orl.engine.zero import release
from robo_orl.models.backbones.embedding import expect_sentences


class MemoryCheck(Protocol):
    """The check of a run's memory: it may refuse the run before its first step, and measures one step."""

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
    """A run under way on this process: `agent` is the bare module, `model` accelerate's wrapper around it."""

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
    identity: str  # of the run, for its checkpoints and its summary
    memory_check: MemoryCheck
    began: float = field(default_factory=time.perf_counter)

    @cached_property
    def of_agent(self) -> TrainingStep:
        """The step that is repeated."""
        optim = self.run.policy.optim
        return TrainingStep(self.accelerator, self.agent, self.model, self.optimizer, optim, self.run.seed)


def train(
    run: RunConfig,
    out: Path,
    progress: bool = True,
    stop_at: int | None = None,
    memory_check: MakeMemoryCheck = NoMemoryCheck,
    extend: bool = False,
) -> TrainingSummary:
    """Train `run` in the folder `out`, from its newest checkpoint if there is one; returns the summary (train.json).

    stop_at: end after this step with a checkpoint, as if interrupted there. extend: a shorter run in `out` goes on to
    the steps of this one. memory_check: on the command line
    cost.memory_check.PredictedMemory. Interrupted by Ctrl-C, or by SIGTERM on the command line, all processes save a
    checkpoint together, of several processes after the step that follows.

    Raises:
        UsageError: `out` holds another run, another process is training there, or the data do not fit.
        RunError: training failed; the checkpoints before stay.
    """
    out = Path(out)
    accelerator = open_accelerator(run, out)
    if accelerator.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    check_agent(run.policy)  # before anything is written
    check_learns_from_data(run.policy)
    run = continued(run, out, extend)
    opened = open_data(run)
    check_held_out(run, opened)
    spec = make_spec(run, opened)
    if (summary := _finished(run, out, spec)) is not None:
        return summary
    with run_lock(out, accelerator.is_main_process), describe_lost_process(lambda: checkpoints(out)):
        accelerator.wait_for_everyone()
        if (summary := _finished(run, out, spec)) is not None:  # by the process that held the lock
            return summary
        training = _start(run, out, accelerator, opened, spec, memory_check)
        return _train(training, stop_at, progress)


def _finished(run: RunConfig, out: Path, spec: Spec) -> TrainingSummary | None:
    """The summary of this run where it is finished; UsageError where `out` holds another run."""
    check_resumable(out, run, spec)
    summary = read_summary(out, run_identity(out, run))
    return summary if summary is not None and summary.steps >= run.policy.optim.steps else None


def _train(training: Training, stop_at: int | None, progress: bool) -> TrainingSummary:
    """The steps up to the last one, or up to `stop_at`, with a checkpoint at the end."""
    run, out, accelerator = training.run, training.out, training.accelerator
    training.memory_check.announce(progress)
    if progress and accelerator.is_main_process:
        _announce_threads(accelerator.device.type)
    last = max(training.step, min(stop_at or run.policy.optim.steps, run.policy.optim.steps))
    monitor = Monitor(accelerator, out, run.policy.optim.steps, training.step, run.policy.optim.batch_size, progress)
    watch = GradientWatch(training.agent)
    on_the_way = Evaluations(run, out, accelerator.is_main_process, accelerator.num_processes, accelerator.device)
    try:
        with describe_interruption(lambda: checkpoints(out)), deferred_interruption() as own:
            interruption = AgreedInterruption(own, accelerator.num_processes, accelerator.device)
            for step in range(training.step, last):
                with training.memory_check.step(step - training.step + 1, out, progress):
                    metrics = _train_step(training, step, monitor)
                monitor.add(step + 1, metrics)
                if not training.of_agent.replayed:
                    watch.check(step + 1)
                stopped = interruption.after_step()
                if stopped or step + 1 == last or (step + 1) % run.checkpoint_every == 0:
                    monitor.report(step + 1)
                    with monitor.pause():
                        _save(training, step + 1)
                if on_the_way.due(step + 1):
                    with monitor.pause():
                        on_the_way.save(training.agent, _state(training, step + 1))
                if stopped and step + 1 < last:
                    raise KeyboardInterrupt
            training.began += on_the_way.finish(progress, lambda: own.requested)  # waiting is no training
        return _finish(training, last)
    finally:
        on_the_way.stop()
        monitor.close()
        watch.close()
        release(training.model)


def _announce_threads(device: str) -> None:
    """The threads of a training on a CPU, and what would be faster on a busy machine."""
    threads = torch.get_num_threads()
    if device == "cpu":
        notice(f"threads: {threads} on {cores()} core(s); OMP_NUM_THREADS sets another number.")
    if advice := crowding_advice(threads):
        notice(f"{advice}.")


def _train_step(training: Training, step: int, monitor: Monitor) -> dict[str, Tensor]:
    """One step, counted from 0; returns its metrics, on the device."""
    run, optim = training.run, training.run.policy.optim

    def read(rank: int, world: int) -> PairedWindow:
        with monitor.reading():
            return training.windows.batch(run.seed, step, rank, world, optim.batch_size)

    return training.of_agent.run(step, read)


# ------------------------------------------------------------------------------------------------------- start and end


def _start(
    run: RunConfig,
    out: Path,
    accelerator: Accelerator,
    opened: list[EpisodeArrays],
    spec: Spec,
    memory_check: MakeMemoryCheck,
) -> Training:
    """Data, agent and optimiser, continued from the newest checkpoint."""
    stored, identity = checkpoints(out), run_identity(out, run)
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        if run.extended_at:
            set_aside_summary(out, run.extended_at[-1])
        for note in dict.fromkeys(note for arrays in opened for note in arrays.notes):
            notice(f"data: {note}.")
        write_run(out, run, spec)
        write_json(out / "data.json", {"files": [arrays.summary() for arrays in opened]})
        remove_partial(out)
    memory_before, _ = peak_memory()
    windows = make_windows(run, opened)
    check = memory_check(run, spec, accelerator)
    agent = build_run_agent(run, spec)
    expect_sentences(agent, windows.sentences)
    if run.init is not None and not stored:
        load_initial_weights(agent, Path(run.init), out if accelerator.is_main_process else None)
    state = restore_agent(stored[-1], agent, identity) if stored else CheckpointState(step=0)
    if run.policy.backbone.cache:
        windows = with_features(agent, windows, accelerator.device, accelerator.is_main_process)
    model, optimizer = prepare(accelerator, agent, make_optimizer(agent, run.policy.optim))
    if stored:
        restore_optimizer(stored[-1], agent, optimizer, state.step)
    engine = resolved(accelerator, model)
    if accelerator.is_main_process:
        write_json(out / "engine.json", engine.to_json())
    check_resolved(engine, run, agent, model)
    start_tracker(accelerator, run, out)
    accelerator.wait_for_everyone()
    return Training(
        run=run,
        out=out,
        accelerator=accelerator,
        windows=windows,
        spec=spec,
        agent=agent,
        model=model,
        optimizer=optimizer,
        step=state.step,
        wall_s=state.wall_s,
        memory_before=memory_before,
        identity=identity,
        memory_check=check,
    )


def _save(training: Training, step: int) -> None:
    if steps_taken(training.optimizer) != step:
        raise RunError(f"The optimiser counts {steps_taken(training.optimizer)} steps where the loop counts {step}.")
    main = training.accelerator.is_main_process
    save_checkpoint(training.out, training.agent, training.optimizer, _state(training, step), write=main)
    training.accelerator.wait_for_everyone()


def _state(training: Training, step: int) -> CheckpointState:
    return CheckpointState(step=step, wall_s=_wall_s(training), spec=training.spec.digest(), run=training.identity)


def _finish(training: Training, step: int) -> TrainingSummary:
    """The summary, stored where the run is finished."""
    accelerator = training.accelerator
    accelerator.wait_for_everyone()  # the first process has written its last row
    used, measure = peak_memory()
    peak = accelerator.gather(torch.tensor([used], device=accelerator.device)).max().item()
    summary = TrainingSummary(
        steps=step,
        wall_s=_wall_s(training),
        **asdict(speed(training.out / "metrics.jsonl", training.run.policy.optim.batch_size)),
        peak_memory_bytes=peak,
        memory_before_bytes=training.memory_before,
        peak_memory_of=f"{measure}, the largest of {accelerator.num_processes} process(es)",
        parameters=training.agent.parameter_counts(),
        finished=step == training.run.policy.optim.steps,
        run=training.identity,
    )
    if summary.finished and accelerator.is_main_process:
        write_summary(training.out, summary)
    accelerator.wait_for_everyone()
    for tracker in accelerator.trackers:
        tracker.finish()
    return summary


def _wall_s(training: Training) -> float:
    return training.wall_s + time.perf_counter() - training.began
