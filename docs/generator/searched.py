"""The page of tuned policies: what a search chose, and each row beside the same row as its file is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

from numbers_of_results import folder, rows_of, table, written
from trainings import endpoint_of, number, values_of

from robo_orl.report.compare import Difference, Outcomes, compare, paired_by_seed, verdict
from robo_orl.report.contents import load
from robo_orl.results.intervals import holm
from robo_orl.results.record import Record
from robo_orl.sweep.tuned import load_tuned

Row = tuple[str, str, str]  # task, regime, policy


def chosen_values(search: str) -> str:
    """A row per policy of a search: what it chose, and in which trial of how many."""
    rows = []
    for name, chosen in load_tuned(search).policies.items():
        values = ", ".join(f"`{key}` {value}" for key, value in _leaves(chosen.set)) or "its file as it is"
        rows.append(
            [f"`{written(name)}`", values, f"{chosen.trial} of 0 to {chosen.trials - 1}", f"{chosen.k}/{chosen.n}"]
        )
    return table(["policy", "chosen", "trial", "successes on the tuning starts"], rows)


def kept_its_file(search: str) -> int:
    """How many policies of a search keep their file as it is."""
    return sum(not chosen.set for chosen in load_tuned(search).policies.values())


def _leaves(settings: dict[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in settings.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{before}{key}.")
        else:
            yield f"{before}{key}", "the chunk" if value is None else value


def tuned_beside_files(
    tuned: str, files: str, task: str, regime: str, policies: Sequence[str], endpoints: Sequence[str]
) -> str:
    """A row per policy, two columns per endpoint: every training as its file is → tuned, and the difference of means.

    tuned, files: the suites of either. Bold where Holm's correction over all rows of all boards tells them apart and
    the interval that is shown excludes zero.
    """
    chosen = [endpoint_of(tuned, name) for name in endpoints]
    header = ["policy", *(text for one in chosen for text in (one.title, "difference"))]
    rows = []
    for policy in (policy for policy in policies if (task, regime, policy) in differences(tuned, files, endpoints[0])):
        row = [f"`{written(policy)}`"]
        for endpoint in chosen:
            before, after = (values_of(suite, task, regime, policy, endpoint.name) for suite in (files, tuned))
            shown = (", ".join(number(values, endpoint) for values in own) for own in (before, after))
            row += [" → ".join(shown), _difference(tuned, files, (task, regime, policy), endpoint.name)]
        rows.append(row)
    return table(header, rows)


def _difference(tuned: str, files: str, row: Row, endpoint: str) -> str:
    if _rows(files)[row][0].cell == _rows(tuned)[row][0].cell:
        return "the same settings"
    found, told = differences(tuned, files, endpoint)[row]
    if not found.wins + found.losses:
        return "none"
    if found.mean is None:
        return _bold(f"{100 * found.difference:+.0f} [{100 * found.low:+.0f}, {100 * found.high:+.0f}] points", told)
    low, high = found.mean.low, found.mean.high
    return _bold(f"{found.mean.mean:+.3f} [{low:+.3f}, {high:+.3f}]", told if low > 0 or high < 0 else "undecided")


def _bold(text: str, told: str) -> str:
    return text if told == "undecided" else f"**{text}**"


@cache
def differences(tuned: str, files: str, endpoint: str) -> dict[Row, tuple[Difference, str]]:
    """Every row that both suites have: the tuned policy against its file, by the same seeds and start states, and
    better, worse or undecided, with Holm's correction over all of them."""
    one, other = (load(folder(suite)) for suite in (files, tuned))
    outcomes = Outcomes(replace(other, rows=one.rows | other.rows))  # a cell that both have has the same episodes
    chosen, found = endpoint_of(tuned, endpoint), {}
    before, after = _rows(files), _rows(tuned)
    for row in sorted(before.keys() & after.keys()):
        pairs = paired_by_seed(outcomes, before[row], after[row])
        if pairs:
            found[row] = compare(pairs, chosen, one.effects[endpoint])
    corrected = holm([difference.p for difference in found.values()])
    return {
        row: (difference, verdict(p, difference)) for (row, difference), p in zip(found.items(), corrected, strict=True)
    }


def _rows(suite: str) -> dict[Row, list[Record]]:
    return {(task, regime, policy): records for (task, regime, policy, _), records in rows_of(suite).items()}


FUNCTIONS = {f.__name__: f for f in (chosen_values, kept_its_file, tuned_beside_files)}
