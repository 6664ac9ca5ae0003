"""How far a running job is, read from the files that it writes anyway."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

from robo_orl.sweep.jobs import DATA, EVALUATE, TRAIN, Job

TAIL_BYTES = 4096


def look(job: Job) -> tuple[float, str]:
    """(fraction done, what to say about it); (0, "") where nothing can be seen yet."""
    with suppress(OSError, ValueError, KeyError):  # half-written lines and missing files: nothing to be seen yet
        if job.kind == TRAIN:
            return _training(job)
        if job.kind == EVALUATE:
            return _evaluation(job)
        if job.kind == DATA:
            return _data(job)
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


def _data(job: Job) -> tuple[float, str]:
    """The finished episodes, which wait beside the file until all are there."""
    done = sum(1 for _ in job.output.with_name(f".{job.output.name}.shards").glob("[0-9]*.hdf5"))
    return min(1.0, done / job.total), f"{done} of {job.total} recorded" if done else ""


def _tail(path: Path) -> list[str]:
    """The last whole lines of a growing file."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - TAIL_BYTES))
        text = file.read().decode(errors="replace")
    return text[: text.rindex("\n")].splitlines()
