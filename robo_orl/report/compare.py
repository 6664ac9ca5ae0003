"""Two policies on the same start states: the difference in success, its interval and an exact p-value."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from robo_orl.report.boards import bootstrapped
from robo_orl.report.contents import Cells
from robo_orl.results.intervals import newcombe_paired, paired_test, two_level_bootstrap
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
        "n": test.n,
        "seeds": len(seeds),
        "wins": test.only_second,
        "losses": test.only_first,
        "difference": test.difference,
        "low": low,
        "high": high,
        "p": test.p,
        "return_difference": bootstrapped(returns),
    }


def verdict(row: dict[str, Any]) -> str:
    """better or worse where Holm's p is under 0.05 and the interval excludes zero, otherwise undecided, not equal.

    Both, because p pools the pairs of all training seeds while the interval also knows how far the seeds disagree.
    """
    if row["p_holm"] < 0.05 and (row["low"] > 0 or row["high"] < 0):
        return "better" if row["difference"] > 0 else "worse"
    return "undecided"
