"""Points of a learning curve, made while the training goes on: it saves copies of the weights, and a process of its own
judges them (evaluate/on_the_way.py).

RUN/curve/step_00001000/   a copy of the weights that waits to be judged; removed afterwards
RUN/curve/points.jsonl     the points (results/curves.py)
RUN/curve/log.txt          what the process prints

The process is started for waiting copies and ends when none is left. Nothing that happens to it ends the training.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn

from robo_orl.base.errors import RunError, UsageError
from robo_orl.base.machine import ONE_THREAD
from robo_orl.base.text import notice
from robo_orl.config import RunConfig, TaskData
from robo_orl.data.cache import EpisodeArrays
from robo_orl.engine.checkpoint import CheckpointState, save_weights
from robo_orl.engine.task_data import make_windows, open_data
from robo_orl.results.curves import CURVE, StoredPoint, add_point, read_points

COMMAND = (sys.executable, "-m", "robo_orl.evaluate.on_the_way")
OF_A_LAUNCH = ("ACCELERATE_", "FSDP_", "TORCHELASTIC_", "MASTER_", "PMI_", "OMPI_")
RANKS = ("RANK", "LOCAL_RANK", "GROUP_RANK", "ROLE_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "LOCAL_SIZE")
POLL_S = 0.5


def copies(run: Path) -> list[Path]:
    """The copies of the weights that wait, the earliest first."""
    return sorted(path for path in (run / CURVE).glob("step_*") if path.is_dir())


def step_of(copy: Path) -> int:
    """The step of a copy."""
    return int(copy.name.split("_")[1])


def held_out_source(run: RunConfig) -> TaskData | None:
    """The data that the losses on the way are of, None where there are none.

    Raises UsageError for a run on several tasks, and for a mask of data that the run trains on.
    """
    wanted = run.evaluation
    if not wanted.measures_losses:
        return None
    if len(run.tasks) > 1:
        raise UsageError("evaluation.held_out is for runs on one task: a run on several has one loss for all of them.")
    source = run.tasks[0]
    return source.model_copy(update={"data": wanted.held_out or source.data, "filter": wanted.held_out_filter})


def check_held_out(run: RunConfig, opened: list[EpisodeArrays]) -> None:
    """UsageError where held-out data cannot be read, or the run trains on some of their episodes; and where episodes
    are to be played of a task that has no environment."""
    absent = next((own.task.name for own in run.tasks if not own.task.has_environment), None)
    if run.evaluation.every and run.evaluation.episodes and absent is not None:
        raise UsageError(
            f"Task {absent} has no environment (env: none) to play episodes in: set evaluation.episodes=0, and "
            "evaluation.held_out or evaluation.held_out_filter."
        )
    source = held_out_source(run)
    if not run.evaluation.every or source is None:
        return
    arrays = open_data(run.model_copy(update={"tasks": [source]}))[0]
    trained = opened[0]
    if arrays.sha256 == trained.sha256:
        common = int((arrays.chosen(source.filter) & trained.chosen(run.tasks[0].filter)).sum())
        if common:
            raise UsageError(
                f"{common} episodes of {source.data} are held out and trained on: give --filter and "
                "evaluation.held_out_filter masks without a common episode, or another file as evaluation.held_out."
            )
    make_windows(run.model_copy(update={"tasks": [source]}), [arrays])


class Evaluations:
    """The evaluations of one training. All processes make the calls; the one with `main` writes and watches."""

    def __init__(self, run: RunConfig, out: Path, main: bool, processes: int, device: torch.device):
        self.run, self.out, self.main, self.processes, self.device = run, out, main, processes, device
        self._process: subprocess.Popen | None = None
        self._announced: set[tuple[int, str]] = set()
        self._judged: set[int] = set()
        if self.main and run.evaluation.every:
            for partial in (out / CURVE).glob(".step_*"):
                shutil.rmtree(partial, ignore_errors=True)
            stored, tasks = read_points(out), {source.task.name for source in run.tasks}
            whole = {(point.step, point.task) for point in stored if point.point is not None}
            self._announced = {(point.step, point.task) for point in stored if point.failed}
            self._judged = {step for step, _ in whole if all((step, task) in whole for task in tasks)}
            self._start()

    def due(self, step: int) -> bool:
        """True where step number `step`, from 1, is a point; the same on all processes."""
        every = self.run.evaluation.every
        return bool(every) and (step % every == 0 or step == self.run.policy.optim.steps)

    def save(self, agent: nn.Module, state: CheckpointState) -> None:
        """Copy the weights of a step for the process, and start it where it does not run."""
        folder = self.out / CURVE / f"step_{state.step:08d}"
        write = self.main and state.step not in self._judged and not folder.exists()
        try:
            save_weights(folder, agent, state, write)
        except (RunError, UsageError) as error:  # on the writing process alone: the others have done their part
            notice(f"no point of the learning curve at step {state.step}: {error}")
        if self.main:
            self._start()

    def finish(self, progress: bool, interrupted: Callable[[], bool]) -> float:
        """Wait for the points that are left; returns the seconds. KeyboardInterrupt on all processes once one is."""
        began, told = time.perf_counter(), False
        if not self.run.evaluation.every:
            return 0.0
        while not self._all_done(interrupted()):
            if self.main and progress and not told:
                notice(f"the training is done; {len(copies(self.out))} points of its learning curve are left.")
                told = True
            time.sleep(POLL_S)
        return time.perf_counter() - began

    def stop(self) -> None:
        """End the process, whose copies stay for the next call."""
        if self._process is None or self._process.poll() is not None:
            return
        self._process.stdin.close()  # it ends itself then, as it does when this process is killed
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _all_done(self, interrupted: bool) -> bool:
        """True on all processes once no copy is left; KeyboardInterrupt on all of them where one was interrupted."""
        if self.main:
            self._start()
        done = not self.main or (self._process is None and not copies(self.out))
        if self.processes > 1:
            flags = torch.tensor([float(done), float(not interrupted)], device=self.device)
            dist.all_reduce(flags, dist.ReduceOp.MIN)
            done, interrupted = flags[0].item() > 0, flags[1].item() == 0
        if interrupted:
            raise KeyboardInterrupt
        return done

    def _start(self) -> None:
        """Start the process where copies wait and none runs; say what failed."""
        if self._process is not None and self._process.poll() is not None:
            code, self._process = self._process.returncode, None
            if code:
                self._give_up(code)
        self._say_failures()
        waiting = copies(self.out)
        if self._process is None and waiting:
            log = self.out / CURVE / "log.txt"
            with log.open("ab") as stream:
                self._process = subprocess.Popen(
                    [*COMMAND, str(self.out)],
                    stdin=subprocess.PIPE,
                    stdout=stream,
                    stderr=stream,
                    env=_environment(os.environ),
                    start_new_session=True,  # Ctrl-C reaches the training alone, which then stops it
                )

    def _give_up(self, code: int) -> None:
        """Drop the copy that the process died of, so that the next one is judged."""
        for copy in copies(self.out)[:1]:
            wanted = self.run.evaluation
            reason = f"its process ended with code {code}; {self.out / CURVE / 'log.txt'} says more"
            for source in self.run.tasks:
                add_point(
                    self.out,
                    StoredPoint(
                        step=step_of(copy), task=source.task.name, every=wanted.every, episodes=wanted.episodes,
                        loop=wanted.loop, failed=reason,
                    ),
                )  # fmt: skip
            shutil.rmtree(copy, ignore_errors=True)

    def _say_failures(self) -> None:
        for point in read_points(self.out):
            if point.failed and (point.step, point.task) not in self._announced:
                self._announced.add((point.step, point.task))
                notice(f"no point of the learning curve at step {point.step}: {point.failed.rstrip('.')}.")


def _environment(environment: Mapping[str, str]) -> dict[str, str]:
    """That of a process of its own: of no launch, on the CPU, with one thread beside the training."""
    own = {name: value for name, value in environment.items() if not name.startswith(OF_A_LAUNCH) and name not in RANKS}
    return own | ONE_THREAD | {"CUDA_VISIBLE_DEVICES": ""}
