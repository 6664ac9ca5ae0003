"""The numbers of the site, once for all of its pages: one script that holds them by column, and CSV files.

A page opened from a folder may load a script beside it, but no CSV file: so the script is what the figures read, and
each figure writes the rows that it shows as CSV when asked to. The CSV files hold the same for people and programs, so
that the script need not be readable: it is packed, which leaves a quarter of it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from robo_orl.base.text import printable
from robo_orl.report.boards import Board
from robo_orl.report.leaderboard.overall import LEVELS, Overall
from robo_orl.report.leaderboard.plots import Figure
from robo_orl.report.leaderboard.rankings import Ranked
from robo_orl.report.leaderboard.table import FlatRow, csv_text
from robo_orl.report.leaderboard.words import family, layout
from robo_orl.report.packed import packed

# What filters and hover values read of a row, beside what each figure names.
READ = (
    "suite", "task", "regime", "size", "topology", "family", "tier", "policy", "critic", "control", "ranked", "board",
    "line", "line_of_tasks", "line_of_sizes", "k", "n", "rate", "low", "high", "shown", "interval", "trained",
)  # fmt: skip

DRAWN_ONLY = ("board", "line", "line_of_tasks", "line_of_sizes", "shown", "interval", "trained")  # words for figures


@dataclass(frozen=True)
class Series:
    """Of every row of every board the episodes solved within each of the board's `decisions`, and what trainings did on
    the way. curves: {"board", "suite", ..., "control", "n", "k": [...]}; learning: one row per training and step."""

    curves: list[FlatRow]
    decisions: dict[str, list[int]]
    learning: list[FlatRow]


def series(divisions: Sequence[Ranked]) -> Series:
    """The curves of all divisions; a board's name holds its size and suite."""
    made = Series([], {}, [])
    for division in divisions:
        seen: set[tuple] = set()
        for board in division.boards:
            title = _title(board, division, made.decisions)
            made.decisions[title] = [0, *board.curve.decisions]
            for row in board.rows:
                key = (board.task_digest, board.regime, row.policy)
                if not (row.reference and key in seen):  # a reference stands on the board of every size
                    made.curves.append(_curve(board, title, division, row.policy))
                seen.add(key)
        made.learning.extend(_learning(division))
    return made


def _title(board: Board, division: Ranked, taken: Mapping[str, Any]) -> str:
    title = f"{board.task} · {board.regime} · {board.size} · {division.division.name}"
    return title if title not in taken else f"{title} · {board.task_digest[:6]}"


def _curve(board: Board, title: str, division: Ranked, policy: str) -> FlatRow:
    row = next(row for row in board.curve.rows if row.policy == policy)
    return {"board": title, "suite": division.division.name, "task": board.task, "regime": board.regime,
            "size": board.size, "horizon": board.horizon, "policy": policy, "control": policy == board.control,
            "n": row.n, "k": [0, *row.k]}  # fmt: skip


def _learning(division: Ranked) -> list[FlatRow]:
    """Success on the way of every training that stored it, on start states for tuning; none of it is a result."""
    return [
        {"board": f"{record.task.name} · {record.regime} · {record.size} · {division.division.name}",
         "policy": record.policy.name, "seed": record.seed, "step": point.step, "k": point.success.k,
         "n": point.success.n}
        for record in division.division.cells.records
        if record.curve is not None
        for point in record.curve.points
        if point.success is not None and point.success.n
    ]  # fmt: skip


def profile_rows(divisions: Sequence[tuple[Ranked, Overall]]) -> list[FlatRow]:
    """The performance profile of every method of every overall ranking: "shares" at LEVELS."""
    return [
        {"suite": made.division.name, "policy": row.standing.row.policy, "size": row.standing.size,
         "family": family(row.standing.records[0].policy.config),
         "topology": layout(row.standing.records[0].policy.config), "tier": row.standing.tier,
         "critic": row.standing.row.critic, "shares": row.profile}
        for made, total in divisions
        for row in total.rows
    ]  # fmt: skip


def script(rows: Sequence[FlatRow], profiles: Sequence[FlatRow], lines: Series, drawn: Sequence[Figure]) -> str:
    """A script that gives a page the promise `sharedReady`: tables by column, and the specification of each figure."""
    fields = dict.fromkeys((*READ, *(field for figure in drawn for field in (figure.needs, *figure.fields))))
    places = [key for row in rows for key in row if key.endswith(("_place", "_best", "_worst"))]
    known = [field for field in (*fields, *dict.fromkeys(places)) if any(field in row for row in rows)]
    value = {
        "rows": by_column(rows, known),
        "profiles": by_column(profiles),
        "curves": by_column(lines.curves),
        "learning": by_column(lines.learning),
        "levels": LEVELS,
        "decisions": lines.decisions,
        "figures": {f.name: {"spec": f.spec, "needs": f.needs, "fields": f.fields} for f in drawn},
    }
    return packed(_as_json(value), "sharedReady", "JSON.parse")


def by_column(rows: Sequence[FlatRow], fields: Sequence[str] | None = None) -> dict[str, Any]:
    """Rows as {"length", "columns"}: a column is its values, or [distinct values, place of each row among them]."""
    names = fields or dict.fromkeys(key for row in rows for key in row)
    columns = {}
    for name in names:
        values = [row.get(name) for row in rows]
        if any(isinstance(value, str | bool) for value in values):
            distinct = list(dict.fromkeys(values))
            columns[name] = [distinct, [distinct.index(value) for value in values]]
        else:
            columns[name] = values
    return {"length": len(rows), "columns": columns}


def _as_json(value: Any) -> str:
    """JSON without a control character."""
    return json.dumps(_rounded(value), ensure_ascii=False, separators=(",", ":"))


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        short = float(f"{value:.4g}")
        return int(short) if short.is_integer() else short
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(item) for item in value]
    return printable(value) if isinstance(value, str) else value


# ------------------------------------------------------------------------------------------------------------ CSV files


def csv_files(rows: Sequence[FlatRow], profiles: Sequence[FlatRow], lines: Series,
              totals: Sequence[tuple[Ranked, Overall]]) -> dict[str, str]:  # fmt: skip
    """Name -> text of every data file."""
    files = {
        "results.csv": csv_text([{k: v for k, v in row.items() if k not in DRAWN_ONLY} for row in rows]),
        "overall.csv": csv_text(overall_rows(totals)),
        "curves.csv": csv_text([_wide(row, lines.decisions[row["board"]]) for row in lines.curves]),
    }
    if profiles:
        levels = [{f"at_least_{100 * level:g}": share for level, share in zip(LEVELS, row["shares"], strict=True)}
                  for row in profiles]  # fmt: skip
        named = ("suite", "policy", "size")
        files["profiles.csv"] = csv_text(
            [{name: row[name] for name in named} | own for row, own in zip(profiles, levels, strict=True)]
        )
    if lines.learning:
        files["learning.csv"] = csv_text(lines.learning)
    return files


def _wide(row: FlatRow, decisions: Sequence[int]) -> FlatRow:
    """A curve as one line: its episodes solved within each percentage of the limit."""
    about = {name: row[name] for name in ("suite", "task", "regime", "size", "policy", "horizon", "n")}
    shares = [f"k_within_{round(100 * d / row['horizon'])}_percent" for d in decisions[1:]]
    return about | dict(zip(shares, row["k"][1:], strict=True))


def overall_rows(totals: Sequence[tuple[Ranked, Overall]]) -> list[FlatRow]:
    """The overall rankings as flat records."""
    rows = []
    for made, total in totals:
        for row in total.rows:
            value: FlatRow = {"suite": made.division.name, "policy": row.method[0], "size": row.method[1]}
            for name, mean in row.means.items():
                middle, place = row.middles[name], row.places[name]
                value |= {f"{name}_place": place.place, f"{name}_best": place.best, f"{name}_worst": place.worst,
                          f"{name}_mean": mean.mean, f"{name}_low": mean.low, f"{name}_high": mean.high,
                          f"{name}_iqm": middle.mean, f"{name}_iqm_low": middle.low,
                          f"{name}_iqm_high": middle.high}  # fmt: skip
            rows.append(value | {"better_than_control": row.improvement, "trainings": row.standing.row.seeds})
    return rows
