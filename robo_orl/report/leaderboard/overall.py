"""The overall ranking of a division: methods over all of its rankings, with intervals and places."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr, stdtr

from robo_orl.report.leaderboard.rankings import Method, Ranked, Ranking, Standing, _gaps, _variance, values_of
from robo_orl.results.aggregate import (
    Rank,
    interquartile_mean,
    over_tasks,
    performance_profile,
    probability_of_improvement,
    ranks,
)
from robo_orl.results.endpoints import Endpoint
from robo_orl.results.trainings import DesignEffect, Estimate

LEVELS = tuple(step / 20 for step in range(21))


@dataclass(frozen=True)
class OverallRow:
    """A method over all rankings of a division. means, middles (interquartile means), places: by endpoint.

    improvement: the chance that a run of it succeeds more often than one of the control on a ranking drawn at random;
    None for the control itself and without one.
    """

    standing: Standing
    means: dict[str, Estimate]
    middles: dict[str, Estimate]
    places: dict[str, Rank]
    improvement: float | None
    profile: list[float]

    @property
    def method(self) -> Method:
        """What the method is called."""
        return self.standing.method


@dataclass(frozen=True)
class Overall:
    """The methods that stand on every ranking; `partial`: (method, number of rankings) of the others.

    control: the method that `improvement` refers to.
    """

    rows: list[OverallRow]
    partial: list[tuple[Method, int]]
    rankings: int
    control: Method | None


def overall(made: Ranked) -> Overall:
    """The overall ranking of a division; without rows where it has one ranking only."""
    tables = [{s.method: s for s in ranking.standings} for ranking in made.rankings]
    everywhere = [m for m in made.methods if all(m in table for table in tables)]
    partial = [(m, sum(m in table for table in tables)) for m in made.methods if m not in everywhere]
    if len(tables) < 2 or len(everywhere) < 2:
        return Overall([], partial if len(tables) > 1 else [], len(tables), None)
    endpoints = made.division.cells.endpoints
    control = next((m for m in everywhere if _is_control(m, made.rankings)), None)
    columns = {m: [table[m] for table in tables] for m in everywhere}
    placed = {e.name: _places(made, list(columns.values()), e) for e in endpoints}
    rows = [
        _row(made, columns[m], columns.get(control) if m != control else None,
             {name: own[i] for name, own in placed.items()})
        for i, m in enumerate(everywhere)
    ]  # fmt: skip
    first = endpoints[0].name
    rows.sort(key=lambda row: (row.places[first].place, row.method))
    return Overall(rows, partial, len(tables), control)


def _is_control(method: Method, rankings: Sequence[Ranking]) -> bool:
    return all(ranking.board.control == method[0] and ranking.board.size == method[1] for ranking in rankings)


def _row(made: Ranked, own: list[Standing], control: list[Standing] | None, places: dict[str, Rank]) -> OverallRow:
    endpoints = made.division.cells.endpoints
    values = {e.name: [values_of(made.outcomes, s.records, e) for s in own] for e in endpoints}

    def over(e: Endpoint, **statistic) -> Estimate:
        return over_tasks(values[e.name], made.effects[e.name], binary=e.is_binary, **statistic)

    runs = [np.array([rate.mean() for rate in task]) for task in values[_success(endpoints).name]]
    improvement = None
    if control is not None:
        success = _success(endpoints)
        theirs = [np.array([v.mean() for v in values_of(made.outcomes, s.records, success)]) for s in control]
        improvement = probability_of_improvement(theirs, runs)
    return OverallRow(
        standing=own[0],
        means={e.name: over(e) for e in endpoints},
        middles={e.name: over(e, statistic=interquartile_mean) for e in endpoints},
        places=places,
        improvement=improvement,
        profile=[float(v) for v in performance_profile(np.concatenate(runs), LEVELS)],
    )


def _success(endpoints: Sequence[Endpoint]) -> Endpoint:
    return next((e for e in endpoints if e.kind == "success"), endpoints[0])


def _places(made: Ranked, columns: Sequence[Sequence[Standing]], endpoint: Endpoint) -> list[Rank]:
    """Places by the mean over the rankings, from the p values of all pairs."""
    count, effect = len(columns), made.effects[endpoint.name]
    means = [float(np.mean([s.estimates[endpoint.name].mean for s in own])) for own in columns]
    p = np.ones((count, count))
    for i in range(count):
        for j in range(i + 1, count):
            p[i, j] = p[j, i] = _p(made, columns[i], columns[j], endpoint, effect)
    return ranks(means, p)


def _p(
    made: Ranked, first: Sequence[Standing], second: Sequence[Standing], endpoint: Endpoint, effect: DesignEffect | None
) -> float:
    """Two-sided p of the difference of two methods' means over the rankings.

    Where the spread of trainings is known: Student's t. Else normal, of the paired differences on common starts.
    """
    if effect is not None:
        gap = sum(b.estimates[endpoint.name].mean - a.estimates[endpoint.name].mean
                  for a, b in zip(first, second, strict=True))  # fmt: skip
        variance = sum(_variance(np.concatenate(values_of(made.outcomes, s.records, endpoint)), effect,
                                 endpoint.is_binary) for s in (*first, *second))  # fmt: skip
        return float(2 * stdtr(effect.freedom, -abs(gap) / np.sqrt(variance))) if variance > 0 else float(gap == 0)
    total = variance = 0.0
    for a, b in zip(first, second, strict=True):
        gaps = _common_gaps(made, a, b, endpoint)
        if len(gaps) < 2:
            return 1.0
        total += gaps.mean()
        variance += gaps.var(ddof=1) / len(gaps)
    return float(2 * ndtr(-abs(total) / np.sqrt(variance))) if variance > 0 else float(abs(total) < 1e-12)


def _common_gaps(made: Ranked, first: Standing, second: Standing, endpoint: Endpoint) -> np.ndarray:
    by_seed = {record.seed: record for record in second.records}
    parts = [_gaps(made.outcomes, record, by_seed[record.seed], endpoint.name)
             for record in first.records if record.seed in by_seed]  # fmt: skip
    return np.concatenate(parts) if parts else np.array([])
