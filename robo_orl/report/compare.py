"""Two policies on the same start states: the difference in success, its interval and an exact p-value."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from typing import Any

from robo_orl.report.boards import bootstrapped
from robo_orl.report.contents import Cells
from robo_orl.results.intervals import paired_test, two_level_bootstrap, wilson
from robo_orl.results.record import EpisodeRow, Record

RESAMPLES = 2_000
Pair = tuple[EpisodeRow, EpisodeRow]  # (opponent, policy) from the same start state


def paired_by_seed(cells: Cells, opponent: Sequence[Record], policy: Sequence[Record]) -> list[list[Pair]]:
    """The episodes of both from the start states that both were run from: one list per training seed of both."""
    ours, result = {record.seed: record for record in policy}, []
    for first in sorted(opponent, key=lambda record: record.seed):
        second = ours.get(first.seed)
        if second is None or second.evaluation.starts_sha256 != first.evaluation.starts_sha256:
            continue
        left, right = _by_start(cells.rows[first.cell]), _by_start(cells.rows[second.cell])
        result.append([(left[key], right[key]) for key in sorted(left.keys() & right.keys())])
    return [pairs for pairs in result if pairs]


def _by_start(rows: Sequence[EpisodeRow]) -> dict[tuple[int, int], EpisodeRow]:
    return {(row.start, row.episode): row for row in rows}


def compare(seeds: list[list[Pair]]) -> dict[str, Any] | None:
    """Wins, losses, difference (policy - opponent) with its 95 % interval, the exact two-sided p of the pooled pairs,
    and the difference in discounted return, which separates policies where success saturates. None without pairs.

    One training seed: Newcombe's interval for paired proportions. Several: the wider of that, on the pooled pairs, and
    of the two-level bootstrap (seeds, then episodes), so that few seeds never look more certain than their episodes.
    """
    outcomes = [[(a.success_once, b.success_once) for a, b in pairs] for pairs in seeds]
    pooled = [pair for pairs in outcomes for pair in pairs]
    if not pooled:
        return None
    test = paired_test([a for a, _ in pooled], [b for _, b in pooled])
    low, high = newcombe_paired(pooled)
    if len(seeds) > 1:
        _, low_seeds, high_seeds = two_level_bootstrap(
            [[float(b) - float(a) for a, b in pairs] for pairs in outcomes], RESAMPLES
        )
        low, high = min(low, low_seeds), max(high, high_seeds)
    returns = [[b.discounted_return - a.discounted_return for a, b in pairs] for pairs in seeds]
    return {
        "n": test["n"],
        "seeds": len(seeds),
        "wins": test["only_second"],
        "losses": test["only_first"],
        "difference": test["difference"],
        "low": low,
        "high": high,
        "p": test["p"],
        "return_difference": bootstrapped(returns),
    }


def newcombe_paired(pairs: Sequence[tuple[bool, bool]]) -> tuple[float, float]:
    """95 % interval of p_second - p_first on paired outcomes (Newcombe, Statistics in Medicine 1998, method 10).

    Built from the two Wilson intervals, so that it keeps a width where every episode of both succeeded.
    """
    n = len(pairs)
    both = sum(a and b for a, b in pairs)
    only_second, only_first = sum(b and not a for a, b in pairs), sum(a and not b for a, b in pairs)
    neither = n - both - only_second - only_first
    p2, p1 = (both + only_second) / n, (both + only_first) / n
    (l2, u2), (l1, u1) = wilson(both + only_second, n), wilson(both + only_first, n)
    phi = _phi(both, only_second, only_first, neither)
    below = (p2 - l2) ** 2 - 2 * phi * (p2 - l2) * (u1 - p1) + (u1 - p1) ** 2
    above = (u2 - p2) ** 2 - 2 * phi * (u2 - p2) * (p1 - l1) + (p1 - l1) ** 2
    difference = p2 - p1
    return max(-1.0, difference - sqrt(max(below, 0.0))), min(1.0, difference + sqrt(max(above, 0.0)))


def _phi(both: int, only_second: int, only_first: int, neither: int) -> float:
    """The correlation of the 2 x 2 table with Newcombe's continuity correction; 0 where a margin is empty."""
    margins = (both + only_second) * (only_first + neither) * (both + only_first) * (only_second + neither)
    if margins == 0:
        return 0.0
    cross, n = both * neither - only_second * only_first, both + only_second + only_first + neither
    corrected = max(cross - n / 2, 0.0) if cross > 0 else cross
    return corrected / sqrt(margins)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction (Scandinavian Journal of Statistics 1979), in the order given."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted, highest = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(order):
        highest = max(highest, min(1.0, p_values[i] * (len(p_values) - rank)))
        adjusted[i] = highest
    return adjusted


def verdict(row: dict[str, Any]) -> str:
    """better or worse where Holm's p is under 0.05 and the interval excludes zero, otherwise undecided, not equal.

    Both, because p pools the pairs of all training seeds while the interval also knows how far the seeds disagree.
    """
    if row["p_holm"] < 0.05 and (row["low"] > 0 or row["high"] < 0):
        return "better" if row["difference"] > 0 else "worse"
    return "undecided"
