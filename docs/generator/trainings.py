"""Rows of several trainings: every training's number, and the interval that holds what another training would score."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numbers_of_results import cells, folder, rows_of, table, written

from robo_orl.report.ceilings import gain_share
from robo_orl.results.endpoints import Endpoint, endpoints_of
from robo_orl.results.store import read_manifest
from robo_orl.results.trainings import DesignEffect, design_effect, estimate


def trainings(suite: str, task: str, regime: str, policies: Sequence[str], endpoints: Sequence[str]) -> str:
    """A row per policy, a column per endpoint: the number of every training, and the mean with its interval.

    Counts are successes; returns are means over the episodes. Policies that were not run have no row.
    """
    chosen = [endpoint for endpoint in declared(suite) if endpoint.name in endpoints]
    rows = {policy: _values(suite, task, regime, policy, chosen) for policy in policies}
    rows = {policy: values for policy, values in rows.items() if values[0]}
    made = []
    effects = [design_effect([values[index] for values in rows.values()]) for index in range(len(chosen))]
    for policy, values in rows.items():
        entries = [entry(own, one, effect) for one, own, effect in zip(chosen, values, effects, strict=True)]
        made.append([f"`{written(policy)}`", *entries])
    return table(["policy", *(endpoint.title for endpoint in chosen)], made)


def entry(own: Sequence[np.ndarray], endpoint: Endpoint, effect: DesignEffect | None) -> str:
    """'48, 82, 61 [45, 78] %': the number of every training, and the mean's interval, over trainings where there are
    three. effect: of all rows that this one stands beside."""
    made = estimate(own, effect if len(own) > 2 else None, endpoint.is_binary)
    numbers = ", ".join(number(values, endpoint) for values in own)
    if endpoint.is_binary:
        return f"{numbers} [{100 * made.low:.0f}, {100 * made.high:.0f}] %"
    return f"{numbers} [{max(made.low, 0):.3f}, {made.high:.3f}]"


def each(suite: str, task: str, regime: str, policy: str, endpoint: str, size: str | None = None) -> str:
    """'48, 82 and 61': the counts of every training, or its mean returns; of one size where there are several."""
    chosen = endpoint_of(suite, endpoint)
    (own,) = _values(suite, task, regime, policy, [chosen], size)
    words = [number(v, chosen) for v in own]
    return f"{', '.join(words[:-1])} and {words[-1]}" if len(words) > 1 else words[0]


def values_of(suite: str, task: str, regime: str, policy: str, endpoint: str) -> list[np.ndarray]:
    """The values of every training's episodes."""
    return _values(suite, task, regime, policy, [endpoint_of(suite, endpoint)])[0]


def number(values: np.ndarray, endpoint: Endpoint) -> str:
    """What a training has over its episodes: a count of successes, or the mean."""
    return f"{values.sum():.0f}" if endpoint.is_binary else f"{values.mean():.3f}"


def declared(suite: str) -> list[Endpoint]:
    """The endpoints by which a suite is judged."""
    return endpoints_of(read_manifest(folder(suite)).config)


def endpoint_of(suite: str, name: str) -> Endpoint:
    """One of them."""
    (chosen,) = [one for one in declared(suite) if one.name == name]
    return chosen


def _values(
    suite: str, task: str, regime: str, policy: str, endpoints: Sequence[Endpoint], size: str | None = None
) -> list[list[np.ndarray]]:
    """Per endpoint, per training in the order of the seeds: the values of its episodes."""
    keys = [key for key in sorted(cells(suite)) if key[:3] == (task, regime, policy) and size in (None, key[3])]
    held = [cells(suite)[key] for key in keys]
    return [[endpoint.values(rows, record.task.horizon) for record, rows in held] for endpoint in endpoints]


def oracle_shares(
    suite: str, task: str, regime: str, policies: Sequence[str], base: str, oracle: str, endpoint: str
) -> str:
    """A row per policy: for every training the share that it has of what an oracle gains over a base, by an endpoint.

    The base and the oracle are those of the same seed; intervals are over the start states, which all three share.
    """
    chosen = endpoint_of(suite, endpoint)
    rows = []
    for policy in policies:
        held = [key for key in sorted(cells(suite)) if key[:3] == (task, regime, policy)]
        words = [
            _share([cells(suite).get((*key[:2], name, *key[3:])) for name in (base, policy, oracle)], chosen)
            for key in held
        ]
        if words:
            rows.append([f"`{written(policy)}`", *words])
    width = max(map(len, rows))
    rows = [row + [""] * (width - len(row)) for row in rows]
    return table(["policy", *(f"training {n}" for n in range(1, width))], rows)


def _share(arms: Sequence[tuple | None], endpoint: Endpoint) -> str:
    if None in arms:
        return "no oracle yet"
    by_start = [
        dict(zip(((r.start, r.seed) for r in rows), endpoint.values(rows, record.task.horizon), strict=True))
        for record, rows in arms
    ]
    shared = sorted(set.intersection(*map(set, by_start)))
    gain, _, _, share, low, high = gain_share(*(np.array([values[s] for s in shared]) for values in by_start))
    if share is None:
        return f"the oracle gains {gain:.2f}: no share"
    bounds = ("..." if bound is None else f"{bound:.2f}" for bound in (low, high))
    return f"{share:.2f} [{', '.join(bounds)}]"


def trained(suite: str) -> str:
    """'3', or '1 to 3': the trainings of a row of a suite."""
    counts = sorted({len(row) for row in rows_of(suite).values()})
    return " to ".join(str(count) for count in dict.fromkeys((counts[0], counts[-1]))) if counts else ""


FUNCTIONS = {f.__name__: f for f in (trainings, each, oracle_shares, trained)}
