"""The answer, written from the numbers: where a critic pays, where it does not, and where n cannot tell."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

QUESTION = "When does a critic pay?"


def headline(boards: Sequence[dict[str, Any]], comparisons: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The question, a short answer, and one to three sentences; never more than the comparisons carry."""
    against_bc = [c for c in comparisons if c["critic"] and c["against_control"]]
    if not against_bc:
        return {"question": QUESTION, "short": "Not answered by these results.", "sentences": [_nothing(boards)],
                "compared": 0, "better": 0, "worse": 0, "undecided": 0, "pays": 0}  # fmt: skip
    counts = {word: sum(c["verdict"] == word for c in against_bc) for word in ("better", "worse", "undecided")}
    pays = [c for c in against_bc if beats_every_free(c, comparisons)]
    sentences = [_against_bc(against_bc, counts), _against_free(boards, pays, len(against_bc)), _price(boards)]
    return {"question": QUESTION, "short": _short(pays, counts, len(against_bc)),
            "sentences": [s for s in sentences if s], "compared": len(against_bc), **counts, "pays": len(pays)}  # fmt: skip


def beats_every_free(comparison: dict[str, Any], comparisons: Sequence[dict[str, Any]]) -> bool:
    """Whether a critic policy is better than every policy without a critic on its board, each by Holm's p."""
    same = [c for c in comparisons if c["board"] == comparison["board"] and c["policy"] == comparison["policy"]]
    return all(c["verdict"] == "better" for c in same)


def _short(pays: list[dict], counts: dict[str, int], total: int) -> str:
    if len(pays) == total:
        return f"In {'every one' if total > 1 else 'the one'} of the comparisons made here."
    if pays:
        places = sorted({place(c) for c in pays})
        return f"In {len(pays)} of {total} comparisons: {'; '.join(places)}."
    if counts["better"]:
        return "It beats plain cloning in places, but nowhere every policy without a critic."
    if counts["worse"]:
        return f"Nowhere shown here; in {counts['worse']} of {total} comparisons it lowers success."
    return "Nowhere shown here."


def place(comparison: dict[str, Any]) -> str:
    """The board of a comparison in words."""
    return f"{comparison['task']} on {comparison['regime']} data"


def _against_bc(rows: list[dict], counts: dict[str, int]) -> str:
    n = sorted({c["n"] for c in rows})
    pairs = f"{n[0]}" if len(n) == 1 else f"{n[0]} to {n[-1]}"
    parts = [f"raises success in {_of(counts['better'], len(rows))}", f"lowers it in {counts['worse']}"]
    if counts["undecided"]:
        parts.append(f"and in {counts['undecided']} the {pairs} paired episodes cannot tell the two apart")
    control = " or ".join(sorted({c["against"] for c in rows}))
    verb = ", ".join(parts) if counts["undecided"] else " and ".join(parts)
    return f"Against {control} a trained critic {verb}."


def _of(k: int, total: int) -> str:
    return f"{k} of {total} comparisons" if total > 1 else f"{k} of 1 comparison"


def _against_free(boards: Sequence[dict], pays: list[dict], total: int) -> str:
    """The best critic of each board beside its best policy without one."""
    parts = []
    for board in boards:
        critics, free = _split(board)
        if critics and free:
            parts.append(f"{board['task']} on {board['regime']}{_size(board, boards)}: best with a critic "
                         f"{_result(critics[0])}, best without {_result(free[0])}{_overlap(critics[0], free[0])}")  # fmt: skip
    shown = parts[:3]
    more = f" The other {len(parts) - 3} boards are below." if len(parts) > 3 else ""
    return f"{'; '.join(shown)}.{more}" if shown else ""


def _size(board: dict, boards: Sequence[dict]) -> str:
    return f", size {board['size']}" if len({b["size"] for b in boards}) > 1 else ""


def _split(board: dict) -> tuple[list[dict], list[dict]]:
    return [r for r in board["rows"] if r["critic"]], [r for r in board["rows"] if not r["critic"]]


def _result(row: dict) -> str:
    s = row["success"]
    return f"{row['policy']} {s['k']}/{s['n']} [{100 * s['low']:.0f}, {100 * s['high']:.0f}] %"


def _overlap(first: dict, second: dict) -> str:
    a, b = first["success"], second["success"]
    return " (the intervals overlap)" if a["low"] <= b["high"] and b["low"] <= a["high"] else ""


def _price(boards: Sequence[dict]) -> str:
    rows = [r for b in boards for r in b["rows"] if r["critic"] and r["time_relative"]]
    if not rows:
        return ""
    times = [r["time_relative"] for r in rows]
    memory = [r["memory_relative"] for r in rows if r["memory_relative"]]
    how = "measured in one interleaved run" if all(r["cost_source"] == "interleaved" for r in rows) else (
        "partly from the cells' own clocks, so indicative")  # fmt: skip
    text = f"The critics train in {_range(times)} the time of the control"
    return f"{text}{f' and {_range(memory)} its peak memory' if memory else ''} ({how})."


def _range(values: list[float]) -> str:
    low, high = f"{min(values):.2f}", f"{max(values):.2f}"
    return f"{low}×" if low == high else f"{low} to {high}×"


def _nothing(boards: Sequence[dict]) -> str:
    if not boards:
        return "No cell has finished yet."
    if not any(row["critic"] for board in boards for row in board["rows"]):
        return "No policy here has a trained critic."
    return "No board here holds both a trained critic and a behaviour-cloning control on the same start states."
