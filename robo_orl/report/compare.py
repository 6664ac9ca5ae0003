"""Paired comparisons of policies on the same start states, by every endpoint: difference, interval, exact p value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from robo_orl.report.boards import Board, PolicyRow
from robo_orl.report.contents import Cells
from robo_orl.report.scores import Mean, bootstrapped
from robo_orl.results.endpoints import Endpoint
from robo_orl.results.intervals import TIE, Z95, holm, newcombe_counts, paired_test, two_level_bootstrap
from robo_orl.results.record import Record
from robo_orl.results.trainings import DesignEffect

RESAMPLES = 2_000


@dataclass(frozen=True)
class Episodes:
    """The episodes of a record as arrays, by start state. keys: (n, 2), start and episode; values: endpoint -> (n,)."""

    keys: np.ndarray
    values: dict[str, np.ndarray]


@dataclass(frozen=True)
class Pairs:
    """Two records on their common start states: endpoint -> values (n,) of the opponent, and of the policy."""

    starts: np.ndarray
    opponent: dict[str, np.ndarray]
    policy: dict[str, np.ndarray]


@dataclass(frozen=True)
class Outcomes:
    """The episodes of every record of a report."""

    cells: Cells

    @cached_property
    def _episodes(self) -> dict[str, Episodes]:
        return {}

    def of(self, record: Record) -> Episodes:
        """The episodes of one record."""
        if record.cell not in self._episodes:
            rows = sorted(self.cells.rows[record.cell], key=lambda row: (row.start, row.episode))
            keys = np.array([(row.start, row.episode) for row in rows], dtype=np.int64).reshape(-1, 2)
            values = {e.name: e.values(rows, record.task.horizon) for e in self.cells.endpoints}
            self._episodes[record.cell] = Episodes(keys, values)
        return self._episodes[record.cell]


@dataclass(frozen=True)
class Difference:
    """A policy against an opponent over n pairs of episodes, by one endpoint.

    wins, losses, ties: start states on which the policy's value is higher, lower, equal. difference: (wins - losses)/n
    with its 95 % interval, of success the difference in rate. mean: the difference of the means; None where it is the
    same, for an endpoint that an episode has or has not.
    """

    n: int
    seeds: int
    wins: int
    losses: int
    ties: int
    difference: float
    low: float
    high: float
    p: float
    mean: Mean | None


@dataclass(frozen=True, kw_only=True)
class Comparison(Difference):
    """A `Difference` on a board by one endpoint. p_holm: adjusted for the `family` comparisons (see `comparisons`)."""

    endpoint: str
    board: int
    task: str
    regime: str
    size: str
    policy: str
    critic: bool
    against: str
    against_control: bool
    p_holm: float = 1.0
    family: int = 1
    verdict: str = "undecided"


def comparisons(cells: Cells, boards: Sequence[Board], grouped: Sequence[dict[str, list[Record]]]) -> list[Comparison]:
    """Every trained critic against each policy without one, and every other policy against the board's control.

    By each endpoint of the suite. Holm's correction runs over all comparisons of a critic with a policy without one, on
    all boards of the report, by one kind of endpoint: all deadlines together. The other comparisons with controls are
    a family of their own. References and oracles are compared with the control too, and are no opponents. grouped: the
    records of each board, by policy.
    """
    outcomes, effects, rows, families = Outcomes(cells), cells.effects, [], {}
    for board, policies in zip(boards, grouped, strict=True):
        for opponent, policy in _matches(board):
            pairs = paired_by_seed(outcomes, policies[opponent], policies[policy.policy])
            for endpoint in cells.endpoints if pairs else ():
                row = Comparison(
                    endpoint=endpoint.name, board=board.index, task=board.task, regime=board.regime, size=board.size,
                    policy=policy.policy, critic=policy.critic, against=opponent,
                    against_control=opponent == board.control, **vars(compare(pairs, endpoint, effects[endpoint.name])),
                )  # fmt: skip
                families.setdefault((endpoint.kind, policy.critic), []).append(len(rows))
                rows.append(row)
    for members in families.values():
        for i, p in zip(members, holm([rows[i].p for i in members]), strict=True):
            rows[i] = replace(rows[i], p_holm=p, family=len(members), verdict=verdict(p, rows[i]))
    order = {endpoint.name: place for place, endpoint in enumerate(cells.endpoints)}
    return sorted(
        rows, key=lambda row: (order[row.endpoint], row.board, not row.against_control, row.against, -row.difference)
    )


def _matches(board: Board) -> list[tuple[str, PolicyRow]]:
    """The pairs (opponent, row) that a board compares."""
    opponents = [row.policy for row in board.rows if not (row.critic or row.reference or row.oracle)]
    return [
        (opponent, row)
        for opponent in opponents
        for row in board.rows
        if row.policy != opponent and (row.critic or opponent == board.control)
    ]


def paired_by_seed(outcomes: Outcomes, opponent: Sequence[Record], policy: Sequence[Record]) -> list[Pairs]:
    """The episodes of both from the start states that both were run from: one `Pairs` per training seed of both."""
    by_seed, result = {record.seed: record for record in policy}, []
    for first in sorted(opponent, key=lambda record: record.seed):
        second = by_seed.get(first.seed)
        if second is not None and second.evaluation.starts_sha256 == first.evaluation.starts_sha256:
            result.append(_paired(outcomes.of(first), outcomes.of(second)))
    return [pairs for pairs in result if len(pairs.starts)]


def _paired(first: Episodes, second: Episodes) -> Pairs:
    if np.array_equal(first.keys, second.keys):
        return Pairs(first.keys[:, 0], first.values, second.values)
    left, right = ({tuple(key): i for i, key in enumerate(episodes.keys.tolist())} for episodes in (first, second))
    common = sorted(left.keys() & right.keys())
    i, j = ([places[key] for key in common] for places in (left, right))
    return Pairs(
        first.keys[i, 0], {k: v[i] for k, v in first.values.items()}, {k: v[j] for k, v in second.values.items()}
    )


def compare(seeds: Sequence[Pairs], endpoint: Endpoint, effect: DesignEffect | None = None) -> Difference:
    """The difference (policy - opponent) by one endpoint, and the exact two-sided p of the pooled pairs.

    Newcombe's interval for paired proportions, of success and failure, or of the starts won and lost, on the pooled
    pairs. effect: the design effect of the report's trainings, where some row has three, by which the counts are
    divided: the interval then covers other trainings. Without it, of two seeds: the wider of that and of the two-level
    bootstrap, so that few seeds never look more certain than their episodes.
    """
    first, second = ([getattr(pairs, side)[endpoint.name] for pairs in seeds] for side in ("opponent", "policy"))
    test = paired_test(np.concatenate(first), np.concatenate(second))
    both = int(sum((a * b).sum() for a, b in zip(first, second, strict=True))) if endpoint.is_binary else 0
    counts = (both, test.only_second, test.only_first, test.ties - both)
    factor, quantile = (effect.factor, effect.quantile) if effect else (1.0, Z95)
    low, high = newcombe_counts(*(count / factor for count in counts), z=quantile)
    gaps = [b - a for a, b in zip(first, second, strict=True)]
    if effect is None and len(seeds) > 1:
        signs = [np.sign(np.where(np.abs(gap) > TIE, gap, 0.0)) for gap in gaps]
        _, low_seeds, high_seeds = two_level_bootstrap(signs, RESAMPLES)
        low, high = min(low, low_seeds), max(high, high_seeds)
    return Difference(
        n=test.n, seeds=len(seeds), wins=test.only_second, losses=test.only_first, ties=test.ties,
        difference=test.difference, low=low, high=high, p=test.p,
        mean=None if endpoint.is_binary else bootstrapped(gaps, effect),
    )  # fmt: skip


def verdict(p_holm: float, row: Difference) -> str:
    """better or worse where Holm's p is under 0.05 and the interval excludes zero, otherwise undecided, not equal.

    Both, because p pools the pairs of all training seeds while the interval also covers how far the seeds disagree. The
    mean must have the same sign: a policy that is a little faster on most starts and fails on some is not ahead.
    """
    agrees = row.mean is None or row.mean.mean * row.difference > 0
    if p_holm < 0.05 and (row.low > 0 or row.high < 0) and agrees:
        return "better" if row.difference > 0 else "worse"
    return "undecided"
