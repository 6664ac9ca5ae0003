"""The view of a running bench: a live table on a terminal, one line per event elsewhere. All on stderr."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from robo_orl.base.files import folder_beside
from robo_orl.base.text import printable
from robo_orl.sweep.job import COSTS, DATA, EVALUATE, ONLINE, RANK, TRAIN, VALUE, Job
from robo_orl.sweep.schedule import BLOCKED, DONE, FAILED, RUNNING, WAITING, JobProgress

MINIMUM_FRACTION = 0.03  # below it, start-up hides the speed
# A kind that has not run yet is taken to go like one that does much the same in the same unit of work.
LIKE = {EVALUATE: DATA, DATA: EVALUATE, RANK: EVALUATE, COSTS: TRAIN}
VALUE_FRAMES_PER_S = 5000.0  # seconds, whatever the size: not worth waiting for its speed


@dataclass(frozen=True)
class Failure:
    """A cell that failed: the step at fault, the reason in a sentence, and the log."""

    cell: str
    step: str
    reason: str
    log: str


def seconds_left(states: Iterable[JobProgress], cores: int) -> float | None:
    """Seconds until the last job ends, None until every kind that is left, or one like it, has shown its speed.

    Work is divided evenly over the cores; no job takes less than its own remaining time on one core.
    """
    states = list(states)
    speeds = _speeds(states)
    left: list[float] = []
    for progress in states:
        if progress.state not in (WAITING, RUNNING):
            continue
        speed = speeds.get(progress.job.kind)
        if speed is None:
            return None
        left.append(progress.job.work * (1 - progress.fraction) / speed)
    return max(sum(left) / cores, max(left) / cores if len(left) == 1 else max(left)) if left else 0.0


def _speeds(states: list[JobProgress]) -> dict[str, float]:
    """Work per core-second of every kind that has got anywhere."""
    work: dict[str, float] = {}
    seconds: dict[str, float] = {}
    for progress in states:
        seen = progress.state == DONE or (progress.state == RUNNING and progress.fraction >= MINIMUM_FRACTION)
        if not seen or progress.seconds <= 0:
            continue
        kind = progress.job.kind
        work[kind] = work.get(kind, 0.0) + progress.job.work * progress.fraction
        seconds[kind] = seconds.get(kind, 0.0) + progress.seconds
    speeds = {kind: work[kind] / seconds[kind] for kind in work if work[kind] > 0}
    alike = {kind: speeds[other] for kind, other in LIKE.items() if other in speeds}
    return {VALUE: VALUE_FRAMES_PER_S} | alike | speeds


def clock(seconds: float | None) -> str:
    """1:05 or 2:01:05; -- for None."""
    if seconds is None:
        return "--"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


TAIL_BYTES = 4096


def progress_of(job: Job) -> tuple[float, str]:
    """(fraction done, note) of a running job; (0, "") where its files do not show it yet."""
    with suppress(OSError, ValueError, KeyError):  # half-written lines and missing files
        if job.kind == TRAIN:
            return _training(job)
        if job.kind == EVALUATE:
            return _evaluation(job)
        if job.kind == DATA:
            return _data(job)
        if job.kind == ONLINE:
            return _online(job)
    return 0.0, ""


def _training(job: Job) -> tuple[float, str]:
    """The step of the last whole line of metrics.jsonl."""
    last = _tail(job.output / "metrics.jsonl")[-1]
    step = json.loads(last)["step"]
    return min(1.0, step / job.total), f"step {step} of {job.total}"


def _evaluation(job: Job) -> tuple[float, str]:
    """The rows written so far."""
    rows = [json.loads(line) for line in (job.output / "finished.jsonl").read_text().splitlines() if line]
    successes = sum(row["success_once"] for row in rows)
    return min(1.0, len(rows) / job.total), f"{successes} of {len(rows)} so far" if rows else ""


def _online(job: Job) -> tuple[float, str]:
    """The environment steps of the last row of online.jsonl that says them; a row of a point may be longer than the
    tail of the file."""
    steps = 0
    for line in _tail(job.output / "online.jsonl"):
        with suppress(ValueError):
            steps = max(steps, json.loads(line).get("env_steps", 0))
    return min(1.0, steps / job.total), f"{steps} of {job.total} steps"


def _data(job: Job) -> tuple[float, str]:
    """The finished episodes, which wait beside the file until all are there."""
    done = sum(1 for _ in folder_beside(job.output, "shards").glob("[0-9]*.hdf5"))
    return min(1.0, done / job.total), f"{done} of {job.total} recorded" if done else ""


def _tail(path: Path) -> list[str]:
    """The last whole lines of a growing file."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - TAIL_BYTES))
        text = file.read().decode(errors="replace")
    return text[: text.rindex("\n")].splitlines()


ACTIVITY = {
    "data": "recording",
    "edit": "editing",
    "reward": "rewarding",
    "train": "training",
    "online": "learning online",
    "value": "value error",
    "rank": "ranking",
    "eval": "evaluating",
    "cost": "measuring",
}
COLOURS = {"waiting": "dim", "done": "green", "failed": "red"}


RowState = tuple[str, float | None, str, float]


@dataclass
class TableRow:
    """One row of the table: a cell (or a cost measurement) and the keys of its jobs.

    stored: the score of a cell that had its record before this call.
    """

    title: tuple[str, ...]
    jobs: tuple[str, ...]
    stored: str | None = None

    def now(self, states: dict[str, JobProgress]) -> RowState:
        """(state, fraction of the running job, note, seconds spent in its jobs)."""
        if self.stored is not None:
            return "done", None, self.stored, 0.0
        own = [states[key] for key in self.jobs if key in states]
        seconds = sum(progress.seconds for progress in own)
        broken = next((p for p in own if p.state in (FAILED, BLOCKED)), None)
        if broken:
            return "failed", None, broken.reason, seconds
        running = next((p for p in own if p.state == RUNNING), None)
        if running:
            where = f"on {running.where}" if running.where else ""
            return ACTIVITY[running.job.kind], running.fraction, " ".join(filter(None, (running.note, where))), seconds
        if all(p.state == DONE for p in own):
            return "done", None, _success(own), seconds
        return "waiting", None, "", seconds


def _success(jobs: Sequence[JobProgress]) -> str:
    """The score of a cell: of its last point where it learned online, and not of the start that it went on with."""
    of = {p.job.kind: p.result for p in jobs if p.result}
    if ONLINE in of:
        score = of[ONLINE]["points"][-1]["success"]
    elif EVALUATE in of:
        score = of[EVALUATE]["success_once"]
    else:
        return ""
    return f"{score['k']} of {score['n']} episodes"


@dataclass
class LiveView:
    """Shows the rows. A context manager; a Schedule calls `update` between its polls."""

    rows: list[TableRow]
    cores: int
    show: bool = True
    every_s: float = 0.5
    console: Console = field(default_factory=lambda: Console(stderr=True))
    _shown: float = 0.0
    _began: float = field(default_factory=time.monotonic)
    _printed: dict[str, str] = field(default_factory=dict)
    _live: Live | None = None
    _states: dict[str, str] = field(default_factory=dict)  # of the jobs, when they were last shown
    _now: list[RowState] = field(default_factory=list)  # of the rows
    _rows_of: dict[str, list[int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Note the rows of each job, so that an update looks at those alone whose jobs have moved."""
        for index, row in enumerate(self.rows):
            for key in row.jobs:
                self._rows_of.setdefault(key, []).append(index)

    def __enter__(self) -> Self:
        if self.show and self.console.is_terminal:
            self._live = Live(console=self.console, auto_refresh=False)
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()

    def update(self, states: dict[str, JobProgress]) -> None:
        """Read the progress of the running jobs and show everything, at most every `every_s` seconds."""
        soon = time.monotonic() - self._shown < self.every_s
        if not self.show or (soon and any(progress.state in (WAITING, RUNNING) for progress in states.values())):
            return
        self._shown = time.monotonic()
        changed = self._look_again(states)
        if self._live:
            self._live.update(self._table(states), refresh=True)
        else:
            self._print_changes(changed)

    def _look_again(self, states: dict[str, JobProgress]) -> list[int]:
        """Bring the rows up to date whose jobs have moved since the last time; returns their numbers."""
        first = not self._now
        changed = set(range(len(self.rows))) if first else set()
        for key, progress in states.items():
            if progress.state == RUNNING:
                progress.fraction, progress.note = progress_of(progress.job)
            elif progress.state == self._states.get(key):
                continue
            self._states[key] = progress.state
            changed.update(self._rows_of.get(key, ()))
        self._now = [row.now(states) for row in self.rows] if first else self._now
        for index in () if first else changed:
            self._now[index] = self.rows[index].now(states)
        return sorted(changed)

    def print_failures(self, failures: Sequence[Failure]) -> None:
        """One line per failed cell, below everything else."""
        if self._live:
            self._live.stop()
        for failure in failures if self.show else ():
            text = f"{failure.cell} failed at {failure.step}: {failure.reason} (log: {failure.log})"
            self.console.print(printable(text), style="red", highlight=False, soft_wrap=True, markup=False)

    def _print_changes(self, changed: list[int]) -> None:
        """A line for every cell that has changed its state."""
        done = sum(now[0] == "done" for now in self._now)
        for index in changed:
            row, (state, _, note, _) = self.rows[index], self._now[index]
            title = " ".join(filter(None, row.title))
            if state in ("waiting", self._printed.get(title)) or row.stored is not None:
                continue
            self._printed[title] = state
            head = f"{clock(self._elapsed())} [{done}/{len(self.rows)}] {title}: {state}"
            text = printable(f"{head}{f', {note}' if note else ''}")
            self.console.print(text, highlight=False, soft_wrap=True, markup=False)

    def _table(self, states: dict[str, JobProgress]) -> Group:
        now = [(row, *found) for row, found in zip(self.rows, self._now, strict=True)]
        table = Table(box=None, pad_edge=False, header_style="bold")
        for title in ("task", "regime", "policy", "size", "seed", "state", "", "", "time"):
            table.add_column(title, no_wrap=True, justify="right" if title in ("seed", "time") else "left")
        for row, state, fraction, note, seconds in visible(now, self.console.height - 4, lambda entry: entry[1]):
            bar = ProgressBar(total=1.0, completed=fraction, width=16) if fraction is not None else ""
            spent = clock(seconds) if seconds else ""
            title = (Text(printable(part)) for part in row.title)
            table.add_row(*title, Text(state, COLOURS.get(state, "cyan")), bar, Text(printable(note)), spent)
        counts = {state: sum(entry[1] == state for entry in now) for state in ("done", "failed")}
        left = clock(seconds_left(states.values(), self.cores))
        failed = f", {counts['failed']} failed" if counts["failed"] else ""
        foot = f"{counts['done']} of {len(now)} done{failed}   {clock(self._elapsed())} elapsed, {left} left"
        return Group(table, Text(foot, "bold"))

    def _elapsed(self) -> float:
        return time.monotonic() - self._began


def visible(rows: list, height: int, state_of: Callable[[tuple], str]) -> list:
    """The rows that fit, in their order: those under way and failed first, then the latest done, then the next."""
    if len(rows) <= height:
        return rows
    rank = {"failed": 1, "done": 2, "waiting": 3}

    def order(index: int) -> tuple[int, int]:
        state = state_of(rows[index])
        return rank.get(state, 0), -index if state == "done" else index  # of the done ones the latest first

    return [rows[index] for index in sorted(sorted(range(len(rows)), key=order)[: max(1, height)])]
