"""The leaderboard for a terminal of 80 columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from robo_orl.base.text import printable_values
from robo_orl.report.numbers import percent, plain, ratio, short


def table(made: dict[str, Any]) -> Group:
    """Every board of a report (report.json's value) as a compact table, with the answer in one line above."""
    made = printable_values(made)
    answer = Text.assemble((made["headline"]["question"], "bold"), " ", made["headline"]["short"])
    parts: list[Any] = [answer, *[_board(board) for board in made["boards"]]]
    if not made["boards"]:  # a grid of costs alone
        parts += [_costs(one) for one in made["cost"]]
    if made["absent"]:
        failed = sum(cell["state"] == "failed" for cell in made["absent"])
        parts.append(Text(f"Without a record: {len(made['absent'])} cells, {failed} of them failed.", style="yellow"))
    if made["superseded"]:
        left_out = f"Left out: {made['superseded']} record(s) of settings that the suite no longer asks for."
        parts.append(Text(left_out, style="yellow"))
    beyond = sum(suite["cells_beyond"] for suite in made["suites"])
    if beyond:
        parts.append(Text(f"Beyond the suite: {beyond} record(s) of cells that it does not ask for.", style="yellow"))
    marked = [
        f"{r['policy']} on {b['task']}: {', '.join(r['marks'])}"
        for b in made["boards"]
        for r in b["rows"]
        if r["marks"]
    ]
    if marked:
        parts.append(Text(f"Not like the other rows: {'; '.join(marked)}.", style="yellow"))
    return Group(*parts)


def _board(board: dict[str, Any]) -> Table:
    trials = ["trials"] if board["tuning"] else []
    columns = ("k/n", "success % [95 %]", "length", "return", "time", "memory", *trials)
    made = _of_policies(f"{board['task']} · {board['regime']} · {board['size']}", 20, columns)
    for row in board["rows"]:
        s, name = row["success"], Text(row["policy"], style="bold" if row["critic"] else "")
        made.add_row(
            name.append(" ◆" if row["critic"] else "", style="bold"),
            f"{s['k']}/{s['n']}",
            f"{percent(s['rate'])} [{percent(s['low'])}, {percent(s['high'])}]",
            _or_dash(row["length"]["median"], plain),
            _or_dash(row["discounted_return"]["mean"], short),
            ("~" if row["cost_source"] == "cells" else "") + _or_dash(row["time_relative"], ratio),
            _or_dash(row["memory_relative"], ratio),
            *(_or_dash(row["trials"], plain) for _ in trials),
        )
    clocks = " (~ by its own cell's clock)" if any(row["cost_source"] == "cells" for row in board["rows"]) else ""
    relative = f"; time, memory: relative to {board['control']}{clocks}" if board["control"] else ""
    tuned = f"; trials: of its tuning, {board['tuning']}" if trials else ""
    made.caption = Text(f"◆ trained critic; length: median of successes{relative}{tuned}")
    return made


def _costs(cost: dict[str, Any]) -> Table:
    title = f"{cost['task']} · size {', '.join(cost['sizes'])} · {cost['batch_size']} observations"
    made = _of_policies(title, 32, ("step time", "memory", "FLOPs"))
    for row in cost["rows"]:
        ratios = (row["step_relative"], row["memory_relative"], row["flops_relative"])
        made.add_row(Text(row["policy"]), *(_or_dash(value, ratio) for value in ratios))
    made.caption = Text(f"relative to {cost['reference']}, measured in turns")
    return made


def _of_policies(title: str, width: int, columns: Sequence[str]) -> Table:
    """A line per policy, whose name takes at most `width` characters, and its numbers."""
    made = Table(
        title=Text(title), title_justify="left", title_style="bold", box=None, pad_edge=False, padding=(0, 1, 0, 0)
    )
    made.caption_justify = "left"
    made.add_column("policy", overflow="fold", max_width=width)
    for name in columns:
        made.add_column(name, justify="right", no_wrap=True)
    return made


def _or_dash(value: float | None, style: Any) -> str:
    return "–" if value is None else style(value)
