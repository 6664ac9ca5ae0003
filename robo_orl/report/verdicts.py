"""The verdict of every endpoint on every board: the critics that are ahead of every policy without one.

Here stands the rule for boards that cannot answer, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from robo_orl.report.boards import Board, PolicyRow, value
from robo_orl.report.compare import Comparison
from robo_orl.results.endpoints import Endpoint

FLOOR, CEILING, GAP = 0.10, 0.90, 0.15


@dataclass(frozen=True)
class Leader:
    """The row with the highest mean of an endpoint."""

    policy: str
    value: float


@dataclass(frozen=True)
class EndpointVerdict:
    """One endpoint on one board. ahead: the critics with the verdict "better" against every policy without one.

    critic, free: the leaders with a critic and without. uninformative: the reason for which the endpoint cannot answer
    on this board, empty where it can.
    """

    endpoint: str
    ahead: list[str]
    critic: Leader
    free: Leader
    uninformative: str


@dataclass(frozen=True)
class BoardVerdict:
    """The verdicts of a board that has policies with a critic and without.

    without: the policies without one, which a critic must all be ahead of. trainings: the fewest of any row,
    but of the floor, which one training is enough for.
    """

    board: int
    task: str
    regime: str
    size: str
    without: list[str]
    trainings: int
    endpoints: list[EndpointVerdict]
    agreement: str


def verdicts(
    boards: Sequence[Board], comparisons: Sequence[Comparison], endpoints: Sequence[Endpoint]
) -> list[BoardVerdict]:
    """The verdicts of every board on which a critic can be compared with a policy without one."""
    result = []
    for board in boards:
        ours = [row for row in board.rows if not row.reference]
        critics, free = [r for r in ours if r.critic], [r for r in ours if not r.critic and not r.oracle]
        here = [c for c in comparisons if c.board == board.index and c.critic]
        if not here:
            continue
        made = [
            EndpointVerdict(
                endpoint.name,
                ahead([c for c in here if c.endpoint == endpoint.name], [row.policy for row in critics]),
                _leader(critics, endpoint),
                _leader(free, endpoint),
                uninformative(board, endpoint),
            )
            for endpoint in endpoints
        ]
        place = (board.index, board.task, board.regime, board.size, [row.policy for row in free])
        trainings = min(row.seeds for row in ours if not row.floor)
        result.append(BoardVerdict(*place, trainings, made, agreement(made, endpoints)))
    return result


def ahead(comparisons: Sequence[Comparison], policies: Sequence[str]) -> list[str]:
    """The policies that are better than each of their opponents, in the order given."""
    words = {policy: [c.verdict for c in comparisons if c.policy == policy] for policy in policies}
    return [policy for policy, own in words.items() if own and all(word == "better" for word in own)]


def uninformative(board: Board, endpoint: Endpoint) -> str:
    """The reason for which an endpoint cannot answer on a board; empty where it can.

    Success by `not_informative`. The other endpoints are left out only where every row is at the floor: speed still
    tells policies apart that all succeed.
    """
    if endpoint.kind == "success":
        return not_informative(board.rows, board.control)
    if endpoint.kind == "stages":
        return ""
    policies = [row for row in board.rows if not row.oracle]
    rates = [value(row, endpoint) if endpoint.kind == "deadline" else row.success.rate for row in policies]
    return f"no row reaches {100 * FLOOR:.0f} %" if max(rates, default=0.0) < FLOOR else ""


def not_informative(rows: Sequence[PolicyRow], control: str | None) -> str:
    """The reason for which success on a board tells nothing about critics; empty where it does.

    Cloning, the control, must be between 10 and 90 %, and an oracle, which knows what no policy can know, 15 points
    above it: else there is nothing to win. A board without an oracle may have it; nobody has looked.
    """
    of_control = next((row for row in rows if row.policy == control), None)
    oracles = [row for row in rows if row.oracle]
    if of_control is None:
        return "no cloning was run"
    rate = of_control.success.rate
    if rate < FLOOR:
        return f"cloning is at the floor: {of_control.policy} is below {100 * FLOOR:.0f} %"
    if rate > CEILING:
        return f"cloning is at the ceiling: {of_control.policy} is above {100 * CEILING:.0f} %"
    if not oracles:
        return "no oracle was measured"
    if max(row.success.rate for row in oracles) < rate + GAP:
        return f"no oracle is {100 * GAP:.0f} points above {of_control.policy}"
    return ""


def agreement(made: Sequence[EndpointVerdict], endpoints: Sequence[Endpoint]) -> str:
    """A sentence about where the endpoints of a board agree or differ."""
    titles = {endpoint.name: endpoint.title for endpoint in endpoints}
    having = [one for one in made if one.ahead]
    if not having:
        return "no critic is ahead by any endpoint"
    words = listed([titles[one.endpoint] for one in having])
    if len(having) < len(made):
        others = [one for one in made if not one.ahead and not one.uninformative]
        return f"a critic is ahead by {words}{' only' if others else '; the others cannot answer'}"
    common = set.intersection(*(set(one.ahead) for one in made))
    return f"{listed(sorted(common))} by every endpoint" if common else "another critic by each endpoint"


def _leader(rows: Sequence[PolicyRow], endpoint: Endpoint) -> Leader:
    best = max(rows, key=lambda row: value(row, endpoint))
    return Leader(best.policy, value(best, endpoint))


def listed(words: Sequence[str]) -> str:
    """One, two and three."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
