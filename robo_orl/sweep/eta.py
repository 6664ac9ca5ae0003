"""The time left, from the speed at which each kind of job has gone so far."""

from __future__ import annotations

from collections.abc import Iterable

from robo_orl.sweep.jobs import COSTS, DATA, EVALUATE, TRAIN, VALUE
from robo_orl.sweep.schedule import DONE, RUNNING, WAITING, Progress

MINIMUM_FRACTION = 0.03  # below it, start-up hides the speed
# A kind that has not run yet is taken to go like one that does much the same in the same unit of work.
LIKE = {EVALUATE: DATA, DATA: EVALUATE, COSTS: TRAIN}
VALUE_FRAMES_PER_S = 5000.0  # seconds, whatever the size: not worth waiting for its speed


def seconds_left(states: Iterable[Progress], cores: int) -> float | None:
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


def _speeds(states: list[Progress]) -> dict[str, float]:
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
