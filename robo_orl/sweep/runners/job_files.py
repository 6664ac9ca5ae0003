"""The files of a job in logs/: its answer, its log, where it runs, and how it ended."""

from __future__ import annotations

import json
import signal
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robo_orl.base.files import write_text
from robo_orl.sweep.job import JobResult


@dataclass(frozen=True)
class JobFiles:
    """The files of the job `key` in the folder `logs`, which all machines of a sweep share."""

    logs: Path
    key: str

    @property
    def answer(self) -> Path:
        """Standard output, the last line being the result."""
        return self.logs / f"{self.key}.json"

    @property
    def log(self) -> Path:
        """Standard error."""
        return self.logs / f"{self.key}.log"

    @property
    def end(self) -> Path:
        """The exit code, written on the machine that ran the job; absent while it runs and after an interruption."""
        return self.logs / f"{self.key}.end"

    @property
    def place(self) -> Path:
        """The machine that runs the job, for the live view."""
        return self.logs / f"{self.key}.place"

    def clear(self) -> None:
        """Forget how an earlier try ended."""
        self.end.unlink(missing_ok=True)
        self.place.unlink(missing_ok=True)

    def write_end(self, code: int) -> None:
        """Note that the job ended by itself."""
        write_text(self.end, json.dumps({"code": code}) + "\n")

    def code(self) -> int | None:
        """The exit code, None where the job has not ended by itself."""
        with suppress(OSError, ValueError, KeyError, TypeError):
            return int(json.loads(self.end.read_text(encoding="utf-8"))["code"])
        return None

    def where(self) -> str:
        """The place that the job noted, "" where it did not."""
        with suppress(OSError):
            return self.place.read_text(encoding="utf-8").strip()
        return ""

    def ended(self) -> JobResult | None:
        """The result of a job that ended by itself, None for any other."""
        code = self.code()
        return None if code is None else self.result(code)

    def result(self, code: int) -> JobResult:
        """The result of a job that ended with this exit code."""
        found = last_json(self.answer)
        if code == 0 and found is not None and "error" not in found:
            return JobResult(found)
        return JobResult(None, _reason(code, found, self.log))


def last_json(path: Path) -> dict[str, Any] | None:
    """The last line of a file that is a JSON object."""
    try:
        lines = path.read_text(errors="replace").strip().splitlines()
    except OSError:
        return None
    for line in reversed(lines):  # a launcher may say something below it
        with suppress(json.JSONDecodeError):
            value = json.loads(line)
            if isinstance(value, dict):
                return value
    return None


def _reason(code: int, result: dict[str, Any] | None, log: Path) -> str:
    """One sentence: the command's own, or the last line of its log, or the signal that ended it."""
    if result and "error" in result:
        return str(result["error"])
    if code < 0:
        name = signal.Signals(-code).name
        return f"It was ended by {name}" + (" (out of memory?)." if name == "SIGKILL" else ".")
    with suppress(OSError):
        lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
        own = [line for line in lines if line.startswith("robo-orl: ")]  # below it a launcher says that a rank failed
        if lines:
            return (own or lines)[-1].removeprefix("robo-orl: ")
    return f"It ended with code {code} and said nothing."
