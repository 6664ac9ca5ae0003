"""Rankings of one division: a ranking per task and regime, a row per method and size, a place by every endpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy.special import stdtr

from robo_orl.report.boards import Board, PolicyRow, board, group
from robo_orl.report.compare import Outcomes
from robo_orl.report.leaderboard.divisions import Division
from robo_orl.report.verdicts import not_informative
from robo_orl.results.aggregate import Rank, ranks
from robo_orl.results.endpoints import Endpoint
from robo_orl.results.intervals import TIE, sign_test
from robo_orl.results.record import Record
from robo_orl.results.trainings import DesignEffect, Estimate, estimate

Place = tuple[str, str, str]  # task name, task digest, regime
Method = tuple[str, str]  # name of a policy, size


@dataclass(frozen=True)
class Standing:
    """One method on one ranking. episodes: of each training. estimates, places: by name of the endpoint.

    places: empty for a row that is not ranked; `reason` says why. tier: self, or rerun. own_step_s, own_memory: of the
    cells' own clocks.
    """

    row: PolicyRow
    size: str
    records: list[Record]
    episodes: int
    estimates: dict[str, Estimate]
    places: dict[str, Rank]
    tier: str
    origin: str
    reason: str = ""

    @property
    def method(self) -> Method:
        """What a method is called."""
        return self.row.policy, self.size

    @property
    def trainings(self) -> str:
        """'one training', 'two trainings', '3 trainings'."""
        return {1: "one training", 2: "two trainings"}.get(self.row.seeds, f"{self.row.seeds} trainings")


@dataclass(frozen=True)
class Ranking:
    """All methods on one task and regime of a division. board: facts of the task that all its rows share. reasons: size
    -> why success tells nothing about critics there, empty where it does (verdicts.not_informative)."""

    index: int
    board: Board
    standings: list[Standing]
    unranked: list[Standing]
    differ: str
    reasons: dict[str, str]

    @property
    def uninformative(self) -> str:
        """A sentence where success tells nothing about critics at some size; empty where it does at every one."""
        distinct = {reason: [size for size, own in self.reasons.items() if own == reason]
                    for reason in self.reasons.values() if reason}  # fmt: skip
        if not distinct:
            return ""
        parts = [f"{reason} ({', '.join(sizes)})" if len(self.reasons) > 1 else reason
                 for reason, sizes in distinct.items()]  # fmt: skip
        return f"Not informative by success: {'; '.join(parts)}."

    @property
    def episodes(self) -> int:
        """Of each training, the most common number; of equally common ones the largest."""
        counts = [s.episodes for s in self.standings]
        return max(set(counts), key=lambda n: (counts.count(n), n), default=0)


@dataclass(frozen=True)
class Ranked:
    """A division with its rankings, the boards (one a size) under them, and the design effect of each endpoint."""

    division: Division
    rankings: list[Ranking]
    boards: list[Board]
    effects: dict[str, DesignEffect | None]
    outcomes: Outcomes

    def cells_of(self, board: Board, policy: str) -> set[str]:
        """Keys of the cells that a policy's row of a board is from."""
        return {r.cell for r in self.division.cells.records if r.policy.name == policy
                and (r.task.name, r.task.digest, r.regime) == (board.task, board.task_digest, board.regime)
                and r.size in (board.size, "reference")}  # fmt: skip

    @cached_property
    def methods(self) -> list[Method]:
        """Every ranked method, in the order in which rankings show them."""
        return list(dict.fromkeys(s.method for ranking in self.rankings for s in ranking.standings))


def values_of(outcomes: Outcomes, records: Sequence[Record], endpoint: Endpoint) -> list[np.ndarray]:
    """Of each training the values of its episodes, in the order of the start states."""
    return [outcomes.of(record).values[endpoint.name] for record in sorted(records, key=lambda record: record.seed)]


def ranked(division: Division, first: int = 0) -> Ranked:
    """The rankings of a division; their indices go on from `first`."""
    outcomes, endpoints = Outcomes(division.cells), division.cells.endpoints
    grouped = group(division.cells)
    effects = division.cells.effects
    places: dict[Place, list[Board]] = {}
    for index, (key, policies) in enumerate(grouped.items()):
        places.setdefault(key[:3], []).append(board(division.cells, index, key, policies))
    rankings = []
    for place, boards in places.items():
        groups = {made.size: grouped[(*place, made.size)] for made in boards}
        standings = list(_standings(division, outcomes, boards, groups, effects))
        made = _ranking(first + len(rankings), boards[0], standings, endpoints, outcomes, effects)
        rankings.append(replace(made, reasons={b.size: not_informative(b.rows, b.control) for b in boards}))
    boards = sorted((made for own in places.values() for made in own), key=lambda made: made.index)
    return Ranked(division, rankings, boards, effects, outcomes)


def _standings(
    division: Division,
    outcomes: Outcomes,
    boards: Sequence[Board],
    groups: Mapping[str, Mapping[str, list[Record]]],
    effects: Mapping[str, DesignEffect | None],
):
    """Every row of the boards of one place; references once."""
    seen: set[Method] = set()
    for made in boards:
        for row in made.rows:
            size = "reference" if row.reference else made.size
            if (row.policy, size) in seen:
                continue
            seen.add((row.policy, size))
            records = groups[made.size][row.policy]
            episodes = min(record.evaluation.episodes for record in records)
            reason = f"{episodes} episodes a training, the suite asks for {division.minimum}"
            if row.oracle:
                reason = "an oracle, which knows what no policy can know: a bound, and no policy"
            yield Standing(
                row=row, size=size, records=records, episodes=episodes,
                estimates={e.name: estimate(values_of(outcomes, records, e), effects[e.name], e.is_binary)
                           for e in division.cells.endpoints},
                places={}, origin=division.origins[records[0].cell],
                tier="rerun" if all(record.cell in division.reruns for record in records) else "self",
                reason=reason if row.oracle or episodes < division.minimum else "",
            )  # fmt: skip


def _ranking(
    index: int,
    about: Board,
    standings: list[Standing],
    endpoints: Sequence[Endpoint],
    outcomes: Outcomes,
    effects: Mapping[str, DesignEffect | None],
) -> Ranking:
    taking_part = [standing for standing in standings if not standing.reason]
    placed: dict[str, list[Rank]] = {}
    for e in endpoints:
        p = p_values(outcomes, [s.records for s in taking_part], e, effects[e.name])
        placed[e.name] = ranks([s.estimates[e.name].mean for s in taking_part], p)
    given = [
        replace(standing, places={name: own[i] for name, own in placed.items()})
        for i, standing in enumerate(taking_part)
    ]
    first = endpoints[0].name
    given.sort(key=lambda s: (s.places[first].place, -s.estimates["success"].mean if "success" in s.estimates else 0,
                              s.row.policy, s.size))  # fmt: skip
    return Ranking(index, about, given, [s for s in standings if s.reason], differ(given, endpoints), {})


def p_values(
    outcomes: Outcomes, groups: Sequence[Sequence[Record]], endpoint: Endpoint, effect: DesignEffect | None
) -> np.ndarray:
    """(methods, methods): the two-sided p of every pair.

    Where the spread of trainings is known: Student's t of the difference of the means, with variances that hold it.
    Else the exact sign test over the start states that both were run from, training seed by training seed; 1 where
    there are none, and where the means point the other way than the starts.
    """
    count = len(groups)
    result = np.ones((count, count))
    values = [values_of(outcomes, records, endpoint) for records in groups]
    for i in range(count):
        for j in range(i + 1, count):
            if effect is not None:
                p = _over_trainings(values[i], values[j], effect, endpoint.is_binary)
            else:
                p = _paired(outcomes, groups[i], groups[j], endpoint)
            result[i, j] = result[j, i] = p
    return result


def _over_trainings(
    first: Sequence[np.ndarray], second: Sequence[np.ndarray], effect: DesignEffect, binary: bool
) -> float:
    a, b = np.concatenate(first), np.concatenate(second)
    gap = abs(float(a.mean() - b.mean()))
    error = np.sqrt(_variance(a, effect, binary) + _variance(b, effect, binary))
    return float(2 * stdtr(effect.freedom, -gap / error)) if error > 0 else float(gap <= TIE)


def _variance(values: np.ndarray, effect: DesignEffect, binary: bool) -> float:
    """Of a mean; of outcomes with one success and one failure added (Agresti and Caffo, American Statistician 54)."""
    n = len(values) / effect.factor
    if binary:
        rate = (values.mean() * n + 1) / (n + 2)
        return rate * (1 - rate) / (n + 2)
    return float(values.var(ddof=1)) / n


def _paired(outcomes: Outcomes, first: Sequence[Record], second: Sequence[Record], endpoint: Endpoint) -> float:
    by_seed = {record.seed: record for record in second}
    gaps = []
    for record in first:
        other = by_seed.get(record.seed)
        if other is not None and other.evaluation.starts_sha256 == record.evaluation.starts_sha256:
            gaps.append(_gaps(outcomes, record, other, endpoint.name))
    if not gaps:
        return 1.0
    gap = np.concatenate(gaps)
    wins, losses = int((gap > TIE).sum()), int((gap < -TIE).sum())
    return sign_test(wins, losses) if gap.sum() * (wins - losses) > 0 else 1.0


def _gaps(outcomes: Outcomes, first: Record, second: Record, name: str) -> np.ndarray:
    """second - first on the start states of both."""
    a, b = outcomes.of(first), outcomes.of(second)
    if np.array_equal(a.keys, b.keys):
        return b.values[name] - a.values[name]
    places = {tuple(key): i for i, key in enumerate(b.keys.tolist())}
    pairs = [(i, places[key]) for i, key in enumerate(map(tuple, a.keys.tolist())) if key in places]
    return np.array([b.values[name][j] - a.values[name][i] for i, j in pairs])


def differ(standings: Sequence[Standing], endpoints: Sequence[Endpoint]) -> str:
    """A sentence about the first places by the endpoints, and about the row whose place changes most."""
    if len(standings) < 2:
        return ""
    leaders = {e.title: [s.row.policy for s in standings if s.places[e.name].place == 1] for e in endpoints}
    informative = {title: names for title, names in leaders.items() if len(names) < len(standings)}
    if not informative:
        return "Every row has the same value by every endpoint."
    parts = [f"{_few(names)} by {title}" for title, names in informative.items()]
    first, last = endpoints[0], next((e for e in endpoints if e.name == "success"), endpoints[-1])
    mover = max(standings, key=lambda s: abs(s.places[first.name].place - s.places[last.name].place))
    a, b = mover.places[first.name].place, mover.places[last.name].place
    moves = f" The largest move: {mover.row.policy} is {a} by {first.title} and {b} by {last.title}." if a != b else ""
    same = len({tuple(names) for names in informative.values()}) == 1
    if same:
        return f"First by every endpoint: {_few(next(iter(informative.values())))}.{moves}"
    return f"First: {', '.join(parts)}.{moves}"


def _few(names: Sequence[str]) -> str:
    distinct = list(dict.fromkeys(names))
    return (
        " and ".join(distinct) if len(distinct) <= 2 else f"{distinct[0]}, {distinct[1]} and {len(distinct) - 2} more"
    )
