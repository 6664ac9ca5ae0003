"""The answer in words: by which endpoint a critic pays, where it does not, and where the boards cannot tell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from robo_orl.base.text import number_word
from robo_orl.report.boards import Board, PolicyRow
from robo_orl.report.compare import Comparison
from robo_orl.report.costs import CostTable
from robo_orl.report.verdicts import BoardVerdict, EndpointVerdict, listed
from robo_orl.results.endpoints import Endpoint

QUESTION = "When does a critic pay?"
TRAININGS = 3  # of a row, that a claim needs: one training moves by up to a third of the episodes


@dataclass(frozen=True)
class Tally:
    """One endpoint over all boards. boards: those on which it can answer; ahead: those with a critic that is ahead of
    every policy without one. The other counts are of the comparisons of a critic with the control."""

    endpoint: str
    boards: int
    ahead: int
    compared: int
    better: int
    worse: int
    undecided: int


@dataclass(frozen=True)
class Headline:
    """The question, a short answer, a few sentences, and the counts behind them."""

    question: str
    short: str
    sentences: list[str]
    tallies: list[Tally]


def headline(
    boards: Sequence[Board],
    comparisons: Sequence[Comparison],
    verdicts: Sequence[BoardVerdict],
    endpoints: Sequence[Endpoint],
    costs: Sequence[CostTable] = (),
) -> Headline:
    """The answer by every endpoint, never more than the comparisons carry."""
    if not verdicts:
        only_costs = costs and not boards
        short = "Nothing was trained here; this is what it costs." if only_costs else "These results do not say."
        return Headline(QUESTION, short, [] if only_costs else [_nothing(boards)], [])
    kinds: dict[str, list[Endpoint]] = {}
    for endpoint in endpoints:
        kinds.setdefault(endpoint.kind, []).append(endpoint)
    sentences = [_of_kind(group, verdicts) for group in kinds.values()]
    sentences += [_against_control(comparisons, kinds), _cannot_answer(verdicts), _few_controls(verdicts)]
    sentences += [*_beside(boards), _trainings(verdicts), _price(costs, boards)]
    tallies = [_tally(endpoint, comparisons, verdicts) for endpoint in endpoints]
    return Headline(QUESTION, _short(kinds, verdicts), [s for s in sentences if s], tallies)


def _of(verdict: BoardVerdict, endpoints: Sequence[Endpoint]) -> list[EndpointVerdict]:
    """The verdicts of a board by some endpoints that can answer there."""
    names = [endpoint.name for endpoint in endpoints]
    return [one for one in verdict.endpoints if one.endpoint in names and not one.uninformative]


def _counts(group: Sequence[Endpoint], verdicts: Sequence[BoardVerdict]) -> tuple[int, int]:
    """The boards on which some endpoints can answer, and those with a critic ahead by one of them."""
    answers = [_of(verdict, group) for verdict in verdicts]
    return sum(map(bool, answers)), sum(any(one.ahead for one in made) for made in answers)


def _words(group: Sequence[Endpoint]) -> str:
    return {"deadline": "a deadline", "success": "success within the limit"}.get(group[0].kind, group[0].title)


def _short(kinds: dict[str, list[Endpoint]], verdicts: Sequence[BoardVerdict]) -> str:
    counted = {_words(group): _counts(group, verdicts) for group in kinds.values()}
    if not any(ahead for _, ahead in counted.values()):
        return "Not shown in these results."
    parts = [f"by {words} on {ahead or 'none'} of {boards}" for words, (boards, ahead) in counted.items() if boards]
    parts[0] = parts[0].removesuffix(f" of {counted[_first(counted)][0]}") + _board_count(counted[_first(counted)][0])
    return f"{listed(parts).capitalize()}{_lead(verdicts)}."


def _first(counted: dict[str, tuple[int, int]]) -> str:
    return next(words for words, (boards, _) in counted.items() if boards)


def _board_count(boards: int) -> str:
    return f" of {boards} board{'' if boards == 1 else 's'}"


def _lead(verdicts: Sequence[BoardVerdict]) -> str:
    """What the boards on which a critic is ahead rest on; nothing where no board has fewer trainings than a claim."""
    fewest = min(v.trainings for v in verdicts if any(one.ahead and not one.uninformative for one in v.endpoints))
    if fewest < TRAININGS:
        return f": a lead, from {number_word(fewest)} training{'' if fewest == 1 else 's'} a row"
    return f", with {number_word(fewest)} trainings a row there" if _fewer(verdicts) else ""


def _fewer(verdicts: Sequence[BoardVerdict]) -> list[BoardVerdict]:
    """The boards with a row of fewer trainings than a claim needs."""
    return [verdict for verdict in verdicts if verdict.trainings < TRAININGS]


def _of_kind(group: Sequence[Endpoint], verdicts: Sequence[BoardVerdict]) -> str:
    """'By return, a critic is ahead of every policy without one on 2 of 4 boards: bcq on chain1 (mg), ...'"""
    boards, ahead = _counts(group, verdicts)
    shares = listed([endpoint.percent for endpoint in group])
    words = f"success within {shares} % of the limit" if group[0].kind == "deadline" else _words(group)
    if not boards:  # of success `_cannot_answer` says it with the reasons
        return "" if group[0].kind == "success" else f"By {words} no board can answer."
    claim = f"By {words}, a critic is ahead of every policy without one on {ahead or 'none'}{_board_count(boards)}"
    return f"{claim}{_places(group, verdicts)}."


def _places(group: Sequence[Endpoint], verdicts: Sequence[BoardVerdict]) -> str:
    sizes = len({verdict.size for verdict in verdicts}) > 1
    places = []
    for verdict in verdicts:
        for one, endpoint in ((one, e) for e in group for one in _of(verdict, [e]) if one.ahead):
            within = f" within {endpoint.percent} %" if endpoint.kind == "deadline" else ""
            where = f"{verdict.regime}, {verdict.size}" if sizes else verdict.regime
            places.append(f"{listed(one.ahead)} on {verdict.task} ({where}){within}")
    more = f" and {len(places) - 4} more" if len(places) > 4 else ""
    return f": {'; '.join(places[:4])}{more}" if places else ""


def _against_control(comparisons: Sequence[Comparison], kinds: dict[str, list[Endpoint]]) -> str:
    """The comparisons with plain cloning alone, by every endpoint but the deadlines."""
    rows = [c for c in comparisons if c.critic and c.against_control]
    controls = listed(sorted({c.against for c in rows})) if rows else ""
    parts = []
    for endpoint in (group[0] for kind, group in kinds.items() if kind != "deadline"):
        own = [c.verdict for c in rows if c.endpoint == endpoint.name]
        if own:
            parts.append(f"by {endpoint.title} better in {own.count('better')} of {len(own)} and worse in "
                         f"{own.count('worse')}")  # fmt: skip
    return f"Against {controls} alone, a critic is {'; '.join(parts)}; the others are undecided." if parts else ""


def _cannot_answer(verdicts: Sequence[BoardVerdict]) -> str:
    """The boards on which success cannot answer, by the reason."""
    reasons: dict[str, list[BoardVerdict]] = {}
    for verdict in verdicts:
        for one in verdict.endpoints:
            if one.endpoint == "success" and one.uninformative:
                reasons.setdefault(one.uninformative, []).append(verdict)
    count = sum(map(len, reasons.values()))
    parts = [f"{reason} ({_where(boards)})" for reason, boards in reasons.items()]
    return f"Success cannot answer on {count}{_board_count(len(verdicts))}: {'; '.join(parts)}." if reasons else ""


def _few_controls(verdicts: Sequence[BoardVerdict]) -> str:
    """The boards on which "every policy without a critic" is one policy."""
    alone = [verdict for verdict in verdicts if len(verdict.without) == 1]
    if not alone:
        return ""
    return (f"Only plain cloning stands against the critics on {_where(alone)}: filtered and conditioned cloning were "
            "not run.")  # fmt: skip


def _where(verdicts: Sequence[BoardVerdict]) -> str:
    """The boards by name, where they are few."""
    names = [f"{verdict.task} ({verdict.regime})" for verdict in verdicts]
    return listed(names) if len(names) <= 4 else f"{len(names)} boards"


def _trainings(verdicts: Sequence[BoardVerdict]) -> str:
    """The limit of what a row of one training says, and the boards that have such rows."""
    fewer = _fewer(verdicts)
    if not fewer:
        return ""
    trained = "one training" if min(verdict.trainings for verdict in fewer) == 1 else "two trainings"
    where = f"On {_where(fewer)} a" if len(fewer) < len(verdicts) else "A"
    return (f"{where} row is {trained} of its policy: the intervals hold the luck of the episodes, not of another "
            "training; a claim needs three.")  # fmt: skip


def _tally(endpoint: Endpoint, comparisons: Sequence[Comparison], verdicts: Sequence[BoardVerdict]) -> Tally:
    own = [c.verdict for c in comparisons if c.critic and c.against_control and c.endpoint == endpoint.name]
    counts = (own.count(word) for word in ("better", "worse", "undecided"))
    return Tally(endpoint.name, *_counts([endpoint], verdicts), len(own), *counts)


def _beside(boards: Sequence[Board]) -> list[str]:
    """The success of the best policy with a critic beside that of the best without, where there are two boards."""
    both = [(board, *_split(board)) for board in boards]
    best = [(board, critics[0], free[0]) for board, critics, free in both if critics and free]
    return [_side_by_side(*three) for three in best] if len(best) <= 2 else []


def _side_by_side(board: Board, critic: PolicyRow, free: PolicyRow) -> str:
    place = f"On {board.task} ({board.regime} data)"
    if not critic.success.k and not free.success.k:
        return f"{place} no policy solves a single one of its {critic.success.n} episodes."
    return (f"{place} the best policy with a critic, {_result(critic)}, stands beside the best without, "
            f"{_result(free)}: {_overlap(critic, free)}.")  # fmt: skip


def _split(board: Board) -> tuple[list[PolicyRow], list[PolicyRow]]:
    ours = sorted((r for r in board.rows if not r.reference and not r.oracle), key=lambda row: -row.success.rate)
    return [r for r in ours if r.critic], [r for r in ours if not r.critic]


def _result(row: PolicyRow) -> str:
    s = row.success
    return f"{row.policy} with {s.k}/{s.n} [{100 * s.low:.0f},\u00a0{100 * s.high:.0f}]\u00a0%"


def _overlap(first: PolicyRow, second: PolicyRow) -> str:
    a, b = first.success, second.success
    return "the intervals overlap" if a.low <= b.high and b.low <= a.high else "the intervals are apart"


def _price(costs: Sequence[CostTable], boards: Sequence[Board]) -> str:
    """The cost of a critic in a training step: by the interleaved measurements, else by the cells' own clocks."""
    prices = [_price_of(table) for table in costs if any(row.topology for row in table.rows)]
    if prices:
        return f"A training step with a critic takes {'; '.join(prices)}."
    times = [r.time_relative for b in boards for r in b.rows if r.critic and r.time_relative]
    if not times:
        return ""
    return f"Training with a critic took {_range(times)} the time of the control by the cells' own clocks: indicative."


def _price_of(table: CostTable) -> str:
    rows = [row for row in table.rows if row.topology]
    memory = [row.memory_relative for row in rows if row.memory_relative]
    peak = f" and {_range(memory)} the peak memory" if memory else ""
    steps = min(row.steps for row in rows)
    cheap, dear = (end(rows, key=lambda row: row.step_relative) for end in (min, max))
    time = f"{cheap.step_relative:.2f}× ({cheap.policy}) to {dear.step_relative:.2f}× ({dear.policy})"
    if len(rows) == 1:
        time = _range([cheap.step_relative])
    size = f"{table.reference} at size {', '.join(table.sizes)}"
    return f"{time} the time{peak} of {size} (interleaved, n = {steps} steps a row)"


def _range(values: list[float]) -> str:
    low, high = f"{min(values):.2f}", f"{max(values):.2f}"
    return f"{low}×" if low == high else f"{low} to {high}×"


def _nothing(boards: Sequence[Board]) -> str:
    if not boards:
        return "No cell has finished yet."
    if not any(row.critic for board in boards for row in board.rows):
        return "No policy here has a trained critic."
    return "No board here holds both a trained critic and a behaviour-cloning control on the same start states."
