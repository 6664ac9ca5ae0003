"""What a critic gains over cloning as demonstrations and parameters grow: a table, and a fit that may say so or not."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numbers_of_results import cells, folder, progress, table, written
from trainings import declared, number

from robo_orl.base.errors import UsageError
from robo_orl.config import split_regime
from robo_orl.results.endpoints import Endpoint
from robo_orl.results.gain_fits import GainCell, GainFit, gain_fit

Place = tuple[int, float, str]  # demonstrations, parameters of the backbone, size


def gains(suite: str, task: str, regime: str, critic: str, control: str, endpoints: Sequence[str]) -> str:
    """How far a suite is, a row per amount of data and size with both arms' trainings, and a sentence per endpoint."""
    if not folder(suite).is_dir():
        return f"None of its cells was run yet: `robo-orl bench --suite {suite}`."
    chosen = [one for one in declared(suite) if one.name in endpoints]
    arms = {policy: _arm(suite, (task, regime, policy), chosen) for policy in (control, critic)}
    places = sorted(arms[control].keys() & arms[critic].keys())
    header = ["demonstrations", "size", *(f"{e.title}, `{written(p)}`" for e in chosen for p in (control, critic))]
    rows = [
        [n, f"{size}, {parameters / 1e6:.1f}M"]
        + [_words(arms[policy][n, parameters, size][i], e) for i, e in enumerate(chosen) for policy in arms]
        for n, parameters, size in places
    ]
    fits = "\n".join(f"- {e.title}: {_fitted(arms, critic, control, places, i)}" for i, e in enumerate(chosen))
    return f"{progress(suite)} were run.\n\n{table(header, rows)}\n\n{fits}"


def _arm(suite: str, row: tuple[str, str, str], endpoints: Sequence[Endpoint]) -> dict[Place, list[list[np.ndarray]]]:
    """Per place and endpoint the trainings in the order of the seeds: the values of their episodes."""
    found: dict[Place, list[list[np.ndarray]]] = {}
    for key in sorted(cells(suite)):
        record, rows = cells(suite)[key]
        if (record.task.name, split_regime(record.regime)[0], record.policy.name) != row:
            continue
        place = (record.data.episodes, float(record.train.parameters["backbone"]), record.size)
        own = found.setdefault(place, [[] for _ in endpoints])
        for values, endpoint in zip(own, endpoints, strict=True):
            values.append(endpoint.values(rows, record.task.horizon))
    return found


def _words(trainings: list[np.ndarray], endpoint: Endpoint) -> str:
    of = " of {}" if endpoint.is_binary else ""
    return ", ".join(number(v, endpoint) + of.format(len(v)) for v in trainings)


def _fitted(arms: dict, critic: str, control: str, places: Sequence[Place], endpoint: int) -> str:
    made = [
        GainCell(p[0], p[1], *(tuple(float(v.mean()) for v in arms[arm][p][endpoint]) for arm in (critic, control)))
        for p in places
    ]
    try:
        fit = gain_fit(made)
    except UsageError as error:
        return str(error)
    return _sentence(fit)


def _sentence(fit: GainFit) -> str:
    return (
        f"the gain is {fit.middle} in the middle, {fit.per_doubling_of_data} more for each doubling of the data,"
        f" {fit.per_doubling_of_size} for each doubling of the size, and the one slope changes by {fit.interaction} for"
        f" each doubling of the other axis; {fit.outcome.kind}: {fit.outcome.reason}."
    )


FUNCTIONS = {"gains": gains}
