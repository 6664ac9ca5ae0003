"""The points of a learning curve in a run's folder, and the curve that a record holds.

RUN/curve/points.jsonl   one StoredPoint a line, in the order in which they were judged
"""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, ValidationError

from robo_orl.base.files import write_text
from robo_orl.results.container import split_lines
from robo_orl.results.reading import read_text
from robo_orl.results.record import CurvePoint, LearningCurve, Stored

CURVE, POINTS = "curve", "points.jsonl"


class StoredPoint(Stored):
    """A point of one task of a run, with what it was judged by. failed: the reason, where there is no point."""

    step: int = Field(ge=1)
    task: str
    every: int
    episodes: int
    loop: str
    starts_sha256: str | None = None
    held_out_sha256: str | None = None
    point: CurvePoint | None = None
    failed: str = ""

    def judged_like(self, other: StoredPoint) -> bool:
        """True where both points were judged by the same episodes and data."""
        fields = ("episodes", "loop", "starts_sha256", "held_out_sha256")
        return all(getattr(self, name) == getattr(other, name) for name in fields)


def points_file(run: Path) -> Path:
    """The file of a run's points."""
    return run / CURVE / POINTS


def read_points(run: Path) -> list[StoredPoint]:
    """Every point of a run by step and task, the newest of each; a line that is damaged is left out."""
    path = points_file(run)
    lines = split_lines(read_text(path)) if path.exists() else []
    stored = {(point.step, point.task): point for line in lines if (point := _parsed(line)) is not None}
    return [stored[key] for key in sorted(stored)]


def add_point(run: Path, point: StoredPoint) -> None:
    """Keep a point; a reader sees the file before or after it."""
    path = points_file(run)
    before = path.read_text(encoding="utf-8") if path.exists() else ""
    write_text(path, before + point.model_dump_json() + "\n")


def curve_of(run: Path, task: str) -> LearningCurve | None:
    """The learning curve of a run on one task, of the points that were judged as the newest; None without any."""
    stored = [point for point in read_points(run) if point.task == task and point.point is not None]
    if not stored:
        return None
    last = stored[-1]
    return LearningCurve(
        every=last.every,
        episodes=last.episodes,
        loop=last.loop,
        starts_sha256=last.starts_sha256,
        held_out_sha256=last.held_out_sha256,
        points=[point.point for point in stored if point.judged_like(last)],
    )


def _parsed(line: str) -> StoredPoint | None:
    try:
        return StoredPoint.model_validate_json(line)
    except ValidationError:
        return None
