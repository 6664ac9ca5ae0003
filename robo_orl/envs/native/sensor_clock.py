"""The sampling times of robosuite's observables: the number of physics substeps until one of them takes a sample.

The arithmetic is that of robosuite's Observable.update, rounding included: the periods of 10, 20 and 40 Hz are no
multiples of the physics step in floating point (nor, at 40 Hz, in exact numbers).
"""

from __future__ import annotations

from typing import Any

from robo_orl.envs.native.physics_loop import compiled


def skip_unsampled(observables: list[Any], dt: float, limit: int) -> int:
    """The number of substeps of `dt` seconds, `limit` at most, until one of the observables takes a sample.

    observables: those that are enabled. Their timers move by as many substeps.
    """
    timers = {_timer(observable) for observable in observables}
    skipped = min((_unsampled_run(*timer, dt, limit)[0] for timer in timers), default=limit)
    if skipped:
        moved = {timer: _unsampled_run(*timer, dt, skipped) for timer in timers}
        for observable in observables:
            _, observable._time_since_last_sample, observable._sampled = moved[_timer(observable)]
    return skipped


def _timer(observable: Any) -> tuple[float, bool, float, float]:
    """The state of its timer: (seconds since the last one, whether in this period, period, delay)."""
    period, delay = observable._sampling_timestep, observable._current_delay
    return float(observable._time_since_last_sample), bool(observable._sampled), float(period), float(delay)


@compiled
def _unsampled_run(time, sampled, period, delay, dt, limit):  # noqa: ANN001, ANN202  (numbers; numba infers them)
    """(substeps without a sample, `limit` at most, and the timer's (time, sampled) after them)."""
    for count in range(limit):
        later = time + dt
        if not sampled and (period - delay >= later or later >= period):
            return count, time, sampled
        time = later
        if time >= period:
            time, sampled = time % period, False
    return limit, time, sampled
