"""Failed jobs and their reasons, as files in failures/: what failed twice in the same way is not tried a third time."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

from robo_orl.base.errors import RunError, UsageError
from robo_orl.base.files import read_json, write_text
from robo_orl.sweep.job import Job

MOST = 3  # tries of a job that fails in another way every time
REMEDY = "--retry-failed tries it again"


class Failures:
    """The reasons of the failed tries of each job, by job key, kept from call to call.

    forget: begin anew (--retry-failed).
    """

    def __init__(self, out: Path, forget: bool = False):
        self.folder = out / "failures"
        self.reasons: dict[str, list[str]] = {}
        for path in sorted(self.folder.glob("*.json")):
            if forget:
                path.unlink(missing_ok=True)
                continue
            with suppress(UsageError, RunError, KeyError, TypeError):  # a damaged file: its job is tried
                self.reasons[path.stem] = [str(reason) for reason in read_json(path)["reasons"]]

    def add(self, job: Job, reason: str) -> bool:
        """Store a failed try, on disk first; True where the job is worth another one."""
        reasons = [*self.reasons.get(job.key, ()), reason]
        write_text(self._file(job), json.dumps({"reasons": reasons}) + "\n")
        self.reasons[job.key] = reasons
        return not self.given_up(job)

    def given_up(self, job: Job) -> str:
        """The reason of a job that is not tried again, "" for one that is."""
        reasons = self.reasons.get(job.key, [])
        twice = next((reason for reason in reasons if reasons.count(reason) > 1), "")
        return twice or (reasons[-1] if len(reasons) >= MOST else "")

    def clear(self, job: Job) -> None:
        """Forget the failed tries of a job that succeeded."""
        if self.reasons.pop(job.key, None) is not None:
            self._file(job).unlink(missing_ok=True)

    def _file(self, job: Job) -> Path:
        return self.folder / f"{job.key}.json"
