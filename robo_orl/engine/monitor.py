"""The progress of a training: metrics.jsonl, a tracker, a progress bar, and the time and memory of a step."""

from __future__ import annotations

import json
import resource
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from torch import Tensor

from robo_orl.base.errors import RunError
from robo_orl.base.files import write_text
from robo_orl.base.os_errors import describe_os_errors

EVERY = 10  # steps per row of metrics.jsonl: reading a loss makes the GPU wait
SMOOTHING = 0.3  # weight of the last row in the time left
WARM_UP = 2  # rows whose time is not counted: allocation, compilation, first reads


class Monitor:
    """Collects the metrics of every step, and reports them every EVERY steps as their mean over steps and processes."""

    def __init__(self, accelerator: Accelerator, out: Path, steps: int, start: int, batch_size: int, progress: bool):
        self.accelerator, self.path, self.batch_size = accelerator, out / "metrics.jsonl", batch_size
        self.main = accelerator.is_main_process
        self._pending: list[dict[str, Tensor]] = []
        self._rows = 0
        self._reading = 0.0
        self._since = time.perf_counter()
        self._bar = _ProgressBar(steps, start, enabled=progress and self.main)
        if self.main:
            drop_rows_after(self.path, start)

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Time the data's share of a step."""
        begin = time.perf_counter()
        yield
        self._reading += time.perf_counter() - begin

    def add(self, step: int, metrics: dict[str, Tensor]) -> None:
        """Take the metrics after `step` steps; at every EVERY-th, report."""
        self._pending.append(metrics)
        if step % EVERY == 0:
            self.report(step)
        else:
            self._bar.advance(step, (time.perf_counter() - self._since) / len(self._pending))

    def report(self, step: int) -> None:
        """Write one row over the steps since the last one. RunError at the first step whose loss is not finite."""
        if not self._pending:
            return
        names, values = list(self._pending[0]), self._mean_over_processes()  # (steps, metrics)
        count = len(self._pending)
        self._pending = []
        self._check_finite(names, values, first=step - count + 1)
        row = dict(zip(names, values.mean(0).tolist(), strict=True))
        cost = self._cost(count)
        if self.main:
            with describe_os_errors(self.path), open(self.path, "a") as stream:
                stream.write(json.dumps({"step": step, **row, **cost, "warm_up": self._rows < WARM_UP}) + "\n")
        self.accelerator.log(row | cost, step=step)
        self._bar.show(step, row["loss"], cost)
        self._rows += 1
        self._reading, self._since = 0.0, time.perf_counter()

    def _cost(self, steps: int) -> dict[str, float]:
        """Time and memory of the last `steps` steps, on this process."""
        elapsed = time.perf_counter() - self._since
        return {
            "step_s": elapsed / steps,
            "samples_per_s": self.batch_size * steps / elapsed,
            "data_share": self._reading / elapsed,
            "memory_gb": peak_memory()[0] / 2**30,
        }

    @contextmanager
    def pause(self) -> Iterator[None]:
        """Leave the block's time out of the step time."""
        begin = time.perf_counter()
        yield
        self._since += time.perf_counter() - begin

    def close(self) -> None:
        """Leave the progress bar as it is."""
        self._bar.close()

    def _mean_over_processes(self) -> Tensor:
        values = torch.stack([torch.stack([v.float().reshape(()) for v in row.values()]) for row in self._pending])
        return self.accelerator.reduce(values, reduction="mean").cpu()

    def _check_finite(self, names: list[str], values: Tensor, first: int) -> None:
        losses = values[:, names.index("loss")]
        bad = torch.nonzero(~torch.isfinite(losses)).flatten()
        if len(bad):
            at = int(bad[0])
            raise RunError(
                f"The loss became {losses[at].item()} at step {first + at}; checkpoints before it are kept. "
                "A lower lr or a clip_norm usually helps."
            )


class _ProgressBar:
    """One line on stderr: step, loss, samples per second, memory, time left.

    The time left is there after the first step: from the steps so far, and after the first row from the rows, smoothed.
    """

    def __init__(self, steps: int, start: int, enabled: bool):
        columns = (
            TextColumn("train"),
            BarColumn(),
            TextColumn("{task.completed:.0f}/{task.total:.0f}  loss {task.fields[loss]}"),
            TextColumn("{task.fields[speed]} samples/s  {task.fields[memory]} GB  {task.fields[left]} left"),
        )
        self._steps, self._enabled = steps, enabled
        self._step_s: float | None = None
        self._progress = Progress(*columns, console=Console(file=sys.stderr), disable=not enabled)
        fields = dict.fromkeys(("loss", "speed", "memory", "left"), "-")
        self._task: TaskID = self._progress.add_task("", total=steps, completed=start, **fields)
        self._progress.start()

    def advance(self, step: int, step_s: float) -> None:
        """Show `step`, whose row is not complete yet; step_s: of the steps since the last row."""
        if self._enabled:
            self._progress.update(self._task, completed=step, left=self._left(step, self._step_s or step_s))

    def show(self, step: int, loss: float, cost: dict[str, float]) -> None:
        """Show a row."""
        recent = cost["step_s"]
        self._step_s = recent if self._step_s is None else (1 - SMOOTHING) * self._step_s + SMOOTHING * recent
        fields = {"loss": f"{loss:.4f}", "speed": f"{cost['samples_per_s']:.0f}", "memory": f"{cost['memory_gb']:.2f}"}
        self._progress.update(self._task, completed=step, left=self._left(step, self._step_s), **fields)

    def _left(self, step: int, step_s: float) -> str:
        return str(timedelta(seconds=round((self._steps - step) * step_s)))

    def close(self) -> None:
        self._progress.stop()


def peak_memory() -> tuple[int, str]:
    """(bytes, which measure) of this process so far: allocated on the GPU, else the largest resident set."""
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        return torch.cuda.max_memory_allocated(), "GPU memory allocated by torch"
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, "resident memory of the process (RSS)"


@dataclass(frozen=True)
class Speed:
    """Medians over the rows of metrics.jsonl, warm-up rows left out.

    step_s: seconds per step; step_s_rows: the rows that it is the median of; data_share: of reading data in a step.
    """

    step_s: float
    step_s_rows: int
    samples_per_s: float
    data_share: float


def speed(path: Path, batch_size: int) -> Speed:
    """The speed of a run from its metrics.jsonl, earlier processes included; RunError where no row is left."""
    rows = [row for line in _lines(path) if (row := _row(line, "step_s", "data_share", "warm_up")) is not None]
    counted = [row for row in rows if not row["warm_up"]] or rows
    if not counted:
        raise RunError(f"{path} was removed or damaged while the run trained; its checkpoints are kept.")
    step_s = statistics.median(row["step_s"] for row in counted)
    data_share = statistics.median(row["data_share"] for row in counted)
    return Speed(step_s, len(counted), batch_size / step_s, data_share)


def drop_rows_after(path: Path, step: int) -> None:
    """Cut metrics.jsonl back to the checkpoint that a run resumes from; half-written and damaged rows go too."""
    if not path.exists():
        return
    kept = [line for line in _lines(path) if (row := _row(line, "step")) is not None and row["step"] <= step]
    write_text(path, "".join(line + "\n" for line in kept))


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []


def _row(line: str, *keys: str) -> dict[str, Any] | None:
    """A row of metrics.jsonl that has numbers at `keys`, None where it is damaged."""
    try:
        row = json.loads(line)
    except ValueError:
        return None
    whole = isinstance(row, dict) and all(isinstance(row.get(key), (int, float)) for key in keys)
    return row if whole else None
