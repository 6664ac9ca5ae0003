"""When robosuite's observables take a sample: how many physics substeps may pass before one of them has to look.

The arithmetic is that of robosuite's Observable.update, rounding included: the periods of 10, 20 and 40 Hz are no
multiples of the physics step in floating point (nor, at 40 Hz, in exact numbers).
"""

from __future__ import annotations

from typing import Any

from robo_orl.envs.native.osc_loop import compiled


def pass_quietly(observables: list[Any], dt: float, limit: int) -> int:
    """How many substeps of `dt` seconds pass, `limit` at most, before one of the observables takes a sample.

    observables: those that are enabled. Their timers move by as many substeps.
    """
    timers = {_timer(observable) for observable in observables}
    quiet = min((_quiet_run(*timer, dt, limit)[0] for timer in timers), default=limit)
    if quiet:
        moved = {timer: _quiet_run(*timer, dt, quiet) for timer in timers}
        for observable in observables:
            _, observable._time_since_last_sample, observable._sampled = moved[_timer(observable)]
    return quiet


def _timer(observable: Any) -> tuple[float, bool, float, float]:
    """What decides its next samples: (seconds since the last one, whether in this period, period, delay)."""
    period, delay = observable._sampling_timestep, observable._current_delay
    return float(observable._time_since_last_sample), bool(observable._sampled), float(period), float(delay)


@compiled
def _quiet_run(time, sampled, period, delay, dt, limit):  # noqa: ANN001, ANN202  (numbers; numba infers them)
    """(substeps without a sample, `limit` at most, and the timer's (time, sampled) after them)."""
    for count in range(limit):
        later = time + dt
        if not sampled and (period - delay >= later or later >= period):
            return count, time, sampled
        time = later
        if time >= period:
            time, sampled = time % period, False
    return limit, time, sampled
