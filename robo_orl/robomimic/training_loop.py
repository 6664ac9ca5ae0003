"""The steps of a reference's training: robomimic's `run_epoch`, with rows of metrics.jsonl and a progress bar.

Random numbers are a function of (seed, epoch); an unfinished epoch is saved with the state of their generators, so that
a continued run equals the run that was not interrupted.
"""

from __future__ import annotations

import json
import math
import random
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.utils.data import DataLoader

from robo_orl.base.errors import RunError
from robo_orl.base.os_errors import describe_os_errors
from robo_orl.base.seeds import derive_seed
from robo_orl.base.text import as_label
from robo_orl.engine.interruption import Interruption
from robo_orl.engine.monitor import EVERY, WARM_UP
from robo_orl.robomimic.run_folder import ReferenceRun

if TYPE_CHECKING:
    from rich.progress import Progress
    from robomimic.algo import Algo
    from robomimic.config import Config


def random_state() -> dict[str, Any]:
    """The global generators, which robomimic draws from, as tensors and plain values."""
    name, keys, *rest = np.random.get_state()
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "numpy": [name, keys.tolist(), *rest],
        "python": random.getstate(),
    }


def set_random_state(state: dict[str, Any]) -> None:
    """Put `random_state` back; on a machine with other GPUs theirs are left as they are."""
    torch.set_rng_state(state["torch"])
    if torch.cuda.is_available() and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, np.array(keys, dtype=np.uint32), *rest))
    random.setstate(state["python"])


class Batches:
    """Passes over the data, each shuffled anew.

    A pass is shuffled by the generators as they are when it begins: `state` holds them, and how far the pass has come.
    """

    def __init__(self, loader: DataLoader):
        self.loader = loader
        self._begin()

    def __next__(self) -> dict:
        batch = next(self._pass, None)
        if batch is None:
            self._begin()
            batch = next(self._pass)
        self._taken += 1
        return batch

    def _begin(self) -> None:
        self._begun, self._taken = random_state(), 0
        self._pass = iter(self.loader)

    def state(self) -> dict[str, Any]:
        """The state for `restored`, and the generators as they are now."""
        return {"begun": self._begun, "taken": self._taken, "now": random_state()}

    @classmethod
    def restored(cls, loader: DataLoader, state: dict[str, Any]) -> Batches:
        """The batches after those that were taken, and the generators as they were then."""
        set_random_state(state["begun"])
        batches = cls(loader)
        for _ in range(state["taken"]):
            next(batches)
        set_random_state(state["now"])
        return batches


@dataclass
class Training:
    """A run under way.

    stats: key -> mean and std of the observations, where they are normalised. epoch: epochs done. within: steps done of
    the next one. batches: those of that epoch, None before its first step. wall_s: seconds of earlier processes.
    """

    run: ReferenceRun
    out: Path
    config: Config
    algo: Algo
    loader: DataLoader
    stats: dict | None
    epoch: int
    wall_s: float
    within: int = 0
    batches: Batches | None = None
    rows: int = 0
    began: float = field(default_factory=time.perf_counter)

    @property
    def steps_per_epoch(self) -> int:
        """Gradient steps."""
        return self.run.reference.settings["experiment"]["epoch_every_n_steps"]

    @property
    def step(self) -> int:
        """Gradient steps done."""
        return self.epoch * self.steps_per_epoch + self.within

    @property
    def seconds(self) -> float:
        """Spent on this run so far, by all its processes."""
        return self.wall_s + time.perf_counter() - self.began


def seed_all(*parts: int | str) -> None:
    """robomimic draws from the global generators."""
    seed = derive_seed("reference", *parts)
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)
    random.seed(seed)


def train_epoch(training: Training, bar: Progress, interruption: Interruption, until: int) -> None:
    """The next epoch, or the rest of the one under way; it ends early at step `until` and on interruption."""
    algo, steps, epoch = training.algo, training.steps_per_epoch, training.epoch + 1
    algo.set_train()
    if training.batches is None:
        seed_all(training.run.seed, epoch)
        training.batches = Batches(training.loader)
    logs: list[dict[str, float]] = []
    reading, since = 0.0, time.perf_counter()
    while training.within < steps:
        begin = time.perf_counter()
        batch = next(training.batches)
        reading += time.perf_counter() - begin
        batch = algo.process_batch_for_training(batch)
        # The dataset has normalised already; normalising twice, as its trainer does, fails for larger batches than one.
        batch = algo.postprocess_batch_for_training(batch, obs_normalization_stats=None)
        logs.append(algo.log_info(algo.train_on_batch(batch, epoch)))
        training.within += 1
        last = training.within == steps or training.step == until or interruption.requested
        if training.within % EVERY == 0 or last:
            _write_row(training, training.step, logs, time.perf_counter() - since, reading)
            bar.update(bar.task_ids[0], completed=training.step)
            logs, reading, since = [], 0.0, time.perf_counter()
        if last:
            break
    if training.within == steps:
        algo.on_epoch_end(epoch)
        training.epoch, training.within, training.batches = epoch, 0, None


def _write_row(training: Training, step: int, logs: list[dict], elapsed: float, reading: float) -> None:
    """One row of metrics.jsonl: the mean of robomimic's log over the steps since the last one.

    A value of some steps only (TD3 updates its actor in every other one) is the mean over those.
    """
    keys = dict.fromkeys(key for log in logs for key in log)
    means = {key: float(np.mean([float(log[key]) for log in logs if key in log])) for key in keys}
    bad = [key for key, value in means.items() if "loss" in key.lower() and not math.isfinite(value)]
    if bad:
        raise RunError(f"{bad[0]} became {means[bad[0]]} by step {step}; the checkpoints before it are kept.")
    path = training.out / "metrics.jsonl"
    cost = {"step_s": elapsed / len(logs), "data_share": reading / elapsed, "warm_up": training.rows < WARM_UP}
    with describe_os_errors(path), path.open("a") as stream:
        stream.write(json.dumps({"step": step, **means, **cost}) + "\n")
    training.rows += 1


def progress_bar(training: Training, shown: bool) -> Progress:
    """A bar over gradient steps on stderr."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    bar = Progress(*columns, console=Console(stderr=True), disable=not shown)
    reference = training.run.reference
    bar.add_task(as_label(f"training {reference.name}"), total=reference.steps, completed=training.step)
    return bar
