"""The answer in words: where a critic pays, where it does not, and where n is too small to decide."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from robo_orl.report.boards import Board, PolicyRow
from robo_orl.report.compare import Comparison
from robo_orl.report.costs import CostTable

QUESTION = "When does a critic pay?"


@dataclass(frozen=True)
class Headline:
    """The question, a short answer and a few sentences, with the comparisons of a critic with the control counted.

    pays: comparisons of policies that are better than every policy without a critic.
    """

    question: str
    short: str
    sentences: list[str]
    compared: int
    better: int
    worse: int
    undecided: int
    pays: int


def headline(boards: Sequence[Board], comparisons: Sequence[Comparison], costs: Sequence[CostTable] = ()) -> Headline:
    """The answer, never more than the comparisons carry."""
    against_bc = [c for c in comparisons if c.critic and c.against_control]
    counts = {word: sum(c.verdict == word for c in against_bc) for word in ("better", "worse", "undecided")}
    pays = [c for c in against_bc if beats_every_free(c, comparisons)]
    if against_bc:
        short = _short(pays, counts, len(against_bc))
        compared = [_against_bc(against_bc, counts), _pays(pays, counts)]
        sentences = [*compared, *_best_of_boards(boards), _price(costs, boards)]
    else:
        only_costs = costs and not boards
        short = "Nothing was trained here; this is what it costs." if only_costs else "These results do not say."
        sentences = [] if only_costs else [_nothing(boards)]
    return Headline(QUESTION, short, [s for s in sentences if s], len(against_bc), **counts, pays=len(pays))


def beats_every_free(comparison: Comparison, comparisons: Sequence[Comparison]) -> bool:
    """Whether a critic policy is better than every policy without a critic on its board, each by Holm's p."""
    same = [c for c in comparisons if (c.board, c.policy) == (comparison.board, comparison.policy)]
    return all(c.verdict == "better" for c in same)


def _short(pays: list[Comparison], counts: dict[str, int], total: int) -> str:
    if pays:
        return f"In {len(pays)} of the {total} comparisons made here." if total > 1 else "In the one comparison here."
    if counts["better"]:
        return "Against plain cloning in places; nowhere against every policy without a critic."
    if counts["worse"]:
        return "Not shown in these results; in places it lowers success."
    return "Not shown in these results."


def _against_bc(rows: list[Comparison], counts: dict[str, int]) -> str:
    sizes = sorted({c.n for c in rows})
    n = f"{sizes[0]}" if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"
    control = " or ".join(sorted({c.against for c in rows}))
    total = f"{len(rows)} comparisons" if len(rows) > 1 else "the one comparison"
    if not counts["better"] and not counts["worse"]:
        none = f"In none of the {total}" if len(rows) > 1 else f"In {total}"
        return f"{none} with {control}{' do' if len(rows) > 1 else ' no difference shows:'} " + (
            f"the {n} paired episodes show that a trained critic changes success." if len(rows) > 1
            else f"{n} paired episodes cannot tell a trained critic from it.")  # fmt: skip
    counted = (f"Against {control}, a trained critic succeeds more often in {counts['better']} of {total} "
               f"and less often in {counts['worse']}")  # fmt: skip
    rest = f"; in the other {counts['undecided']}, {n} paired episodes cannot tell" if counts["undecided"] else ""
    return f"{counted}{rest}."


def _pays(pays: list[Comparison], counts: dict[str, int]) -> str:
    if pays:
        places = [f"{c.policy} on {c.task} ({c.regime}, {c.size})" for c in pays]
        more = f" and {len(places) - 4} more" if len(places) > 4 else ""
        return f"Better than every policy without a critic: {', '.join(places[:4])}{more}."
    return "In none of them is it better than every policy without a critic." if counts["better"] else ""


def _best_of_boards(boards: Sequence[Board]) -> list[str]:
    """The best policy with a critic beside the best without: in words for two boards, counted for more."""
    both = [(board, *_split(board)) for board in boards]
    best = [(board, critics[0], free[0]) for board, critics, free in both if critics and free]
    if len(best) <= 2:
        return [_side_by_side(*three) for three in best]
    gaps = [critic.success.rate - free.success.rate for _, critic, free in best]
    apart = sum(_overlap(critic, free) == "the intervals are apart" for _, critic, free in best)
    places = {"ahead of the best without one": sum(g > 0 for g in gaps), "behind it": sum(g < 0 for g in gaps),
              "level with it": sum(g == 0 for g in gaps)}  # fmt: skip
    words = ", ".join(f"{how} on {k}" for how, k in places.items())
    return [f"Over {len(best)} boards the best policy with a critic is {words}; the intervals are apart on {apart}."]


def _side_by_side(board: Board, critic: PolicyRow, free: PolicyRow) -> str:
    place = f"On {board.task} ({board.regime} data)"
    if not critic.success.k and not free.success.k:
        return f"{place} no policy solves a single one of its {critic.success.n} episodes."
    return (f"{place} the best policy with a critic, {_result(critic)}, stands beside the best without, "
            f"{_result(free)}: {_overlap(critic, free)}.")  # fmt: skip


def _split(board: Board) -> tuple[list[PolicyRow], list[PolicyRow]]:
    ours = [r for r in board.rows if not r.reference]
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
