"""What a critic gains over cloning as demonstrations and parameters grow: a table, and a fit that may say so or not."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from horizon import drawn
from numbers_of_results import cells, folder, progress, table, written
from panels import rate_panel
from trainings import declared, endpoint_of, number

from robo_orl.base.errors import UsageError
from robo_orl.config import split_regime
from robo_orl.results.endpoints import Endpoint
from robo_orl.results.gain_fits import GainCell, GainFit, gain_fit
from robo_orl.results.trainings import design_effect

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


def gain_figure(suite: str, task: str, regime: str, critic: str, controls: Sequence[str], endpoint: str) -> str:
    """Success by an endpoint against demonstrations, a panel per size, the critic and its controls with 95 % bands.

    Bands hold another training where places have three of them, else other episodes of the same one.
    """
    if not folder(suite).is_dir():
        return ""
    chosen = endpoint_of(suite, endpoint)
    arms = {policy: _arm(suite, (task, regime, policy), [chosen]) for policy in (*controls, critic)}
    effect = design_effect([own[0] for arm in arms.values() for own in arm.values()])
    sizes = sorted({(parameters, size) for arm in arms.values() for _, parameters, size in arm})
    look = {policy: ("circle", policy == critic) for policy in arms}
    return drawn(
        [
            rate_panel(
                {p: {n: own[0] for (n, _, of), own in arm.items() if of == size} for p, arm in arms.items()},
                look, "demonstrations", chosen, effect, f"{chosen.title}, size {size}, percent",
            )
            for _, size in sizes
        ]
    )  # fmt: skip


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
    """The fit over all places; where one size has more trainings than another, what it says by itself too."""
    made = {
        p: GainCell(p[0], p[1], *(tuple(float(v.mean()) for v in arms[arm][p][endpoint]) for arm in (critic, control)))
        for p in places
    }
    try:
        sentences = [_sentence(gain_fit(list(made.values())))]
    except UsageError as error:
        return str(error)
    fewest = min(_trainings(cell) for cell in made.values())
    for _, size in sorted({(parameters, size) for _, parameters, size in places}):
        own = [cell for (_, _, of), cell in made.items() if of == size]
        if min(map(_trainings, own)) > fewest:
            sentences.append(f"At size {size} alone, {min(map(_trainings, own))} trainings: {_sentence(gain_fit(own))}")
    return " ".join(sentences)


def _trainings(cell: GainCell) -> int:
    return min(len(cell.critic), len(cell.control))


def _sentence(fit: GainFit) -> str:
    slopes = f"{fit.per_doubling_of_data} more for each doubling of the data"
    if fit.per_doubling_of_size:
        slopes += (
            f", {fit.per_doubling_of_size} for each doubling of the size, and the one slope changes by"
            f" {fit.interaction} for each doubling of the other axis"
        )
    return f"the gain is {fit.middle} in the middle, {slopes}; {fit.outcome.kind}: {fit.outcome.reason}."


FUNCTIONS = {f.__name__: f for f in (gains, gain_figure)}
