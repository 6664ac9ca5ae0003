"""The results of finished jobs as files in steps/, so that no call repeats the work of an earlier one."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from robo_orl.base.errors import RunError, UsageError
from robo_orl.base.files import read_json, write_text
from robo_orl.sweep.jobs import EVALUATE, Job


class Ledger:
    """The results of the jobs of a results folder, by job key."""

    def __init__(self, out: Path, jobs: Iterable[Job]):
        self.folder = out / "steps"
        self.results: dict[str, dict[str, Any]] = {}
        for job in jobs:
            # The rows of an evaluation are part of the record; every other result speaks for itself.
            if job.kind != EVALUATE or (job.output / "episodes.jsonl").exists():
                with suppress(UsageError, RunError):  # a missing or damaged file: its job runs once more
                    self.results[job.key] = read_json(self._file(job))

    def add(self, job: Job, result: dict[str, Any]) -> None:
        """Store a result, on disk first."""
        write_text(self._file(job), json.dumps(result) + "\n")
        self.results[job.key] = result

    def complete(self, jobs: Sequence[Job]) -> bool:
        """True if all of these jobs have results."""
        return all(job.key in self.results for job in jobs)

    def needed(self, jobs: Sequence[Job]) -> list[Job]:
        """Of these jobs, those that have to run so that all have results, in their order.

        A job that has its result runs once more only where another needs its output and the output is gone. The
        returned jobs need only one another.
        """
        by_key = {job.key: job for job in jobs}
        selected: set[str] = set()

        def select(job: Job) -> None:
            selected.add(job.key)
            for key in job.needs:
                if key not in self.results or not by_key[key].output.exists():
                    select(by_key[key])

        for job in jobs:
            if job.key not in self.results:
                select(job)
        return [
            replace(job, needs=tuple(key for key in job.needs if key in selected))
            for key, job in by_key.items()
            if key in selected
        ]

    def _file(self, job: Job) -> Path:
        return self.folder / f"{job.key}.json"
