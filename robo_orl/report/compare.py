"""Paired comparisons of policies on the same start states: difference in success, interval and exact p value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from robo_orl.report.boards import Board, Mean, bootstrapped
from robo_orl.report.contents import Cells
from robo_orl.results.intervals import holm, newcombe_paired, paired_test, two_level_bootstrap
from robo_orl.results.record import EpisodeRow, Record

RESAMPLES = 2_000
Pair = tuple[EpisodeRow, EpisodeRow]  # (opponent, policy) from the same start state


@dataclass(frozen=True)
class Difference:
    """A policy against an opponent over n pairs of episodes. difference: in success, policy - opponent."""

    n: int
    seeds: int
    wins: int
    losses: int
    difference: float
    low: float
    high: float
    p: float
    return_difference: Mean


@dataclass(frozen=True)
class Comparison:
    """A `Difference` on a board. p_holm: adjusted for the `family` comparisons with the same opponent."""

    board: int
    task: str
    regime: str
    size: str
    policy: str
    critic: bool
    against: str
    against_control: bool
    n: int
    seeds: int
    wins: int
    losses: int
    difference: float
    low: float
    high: float
    p: float
    return_difference: Mean
    p_holm: float = 1.0
    family: int = 1
    verdict: str = "undecided"


def comparisons(cells: Cells, boards: Sequence[Board], grouped: Sequence[dict[str, list[Record]]]) -> list[Comparison]:
    """Every policy against the board's control, and every trained critic against each policy without one.

    References are compared with the control too, and are no opponents. Holm's correction runs over the comparisons with
    the same opponent, across all boards of the report. grouped: the records of each board, by policy.
    """
    pairs = zip(boards, grouped, strict=True)
    rows = [row for board, policies in pairs for row in _of_board(cells, board, policies)]
    result = []
    for opponent in dict.fromkeys(row.against for row in rows):
        family = [row for row in rows if row.against == opponent]
        for row, p in zip(family, holm([row.p for row in family]), strict=True):
            word = verdict(p, row.difference, row.low, row.high)
            result.append(replace(row, p_holm=p, family=len(family), verdict=word))
    return sorted(result, key=lambda row: (row.board, not row.against_control, row.against, -row.difference))


def _of_board(cells: Cells, board: Board, policies: dict[str, list[Record]]) -> list[Comparison]:
    """The comparisons of one board, not yet corrected."""
    rows = []
    for opponent in (row.policy for row in board.rows if not row.critic and not row.reference):
        against_control = opponent == board.control
        for row in board.rows:
            if row.policy == opponent or not (against_control or row.critic):
                continue
            difference = compare(paired_by_seed(cells, policies[opponent], policies[row.policy]))
            if difference:
                place = (board.index, board.task, board.regime, board.size, row.policy, row.critic)
                rows.append(Comparison(*place, opponent, against_control, **vars(difference)))
    return rows


def paired_by_seed(cells: Cells, opponent: Sequence[Record], policy: Sequence[Record]) -> list[list[Pair]]:
    """The episodes of both from the start states that both were run from: one list per training seed of both."""
    by_seed, result = {record.seed: record for record in policy}, []
    for first in sorted(opponent, key=lambda record: record.seed):
        second = by_seed.get(first.seed)
        if second is None or second.evaluation.starts_sha256 != first.evaluation.starts_sha256:
            continue
        left, right = _by_start(cells.rows[first.cell]), _by_start(cells.rows[second.cell])
        result.append([(left[key], right[key]) for key in sorted(left.keys() & right.keys())])
    return [pairs for pairs in result if pairs]


def _by_start(rows: Sequence[EpisodeRow]) -> dict[tuple[int, int], EpisodeRow]:
    return {(row.start, row.episode): row for row in rows}


def compare(seeds: list[list[Pair]]) -> Difference | None:
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
    returns = bootstrapped([[b.discounted_return - a.discounted_return for a, b in pairs] for pairs in seeds])
    return Difference(
        n=test.n, seeds=len(seeds), wins=test.only_second, losses=test.only_first, difference=test.difference,
        low=low, high=high, p=test.p, return_difference=returns,
    )  # fmt: skip


def verdict(p_holm: float, difference: float, low: float, high: float) -> str:
    """better or worse where Holm's p is under 0.05 and the interval excludes zero, otherwise undecided, not equal.

    Both, because p pools the pairs of all training seeds while the interval also covers how far the seeds disagree.
    """
    if p_holm < 0.05 and (low > 0 or high < 0):
        return "better" if difference > 0 else "worse"
    return "undecided"
