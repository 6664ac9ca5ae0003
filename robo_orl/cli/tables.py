"""Results as tables on a terminal."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from robo_orl.base.text import printable


def key_values(result: dict[str, Any]) -> None:
    """Print a result as `key  value` lines; entries that hold dictionaries of equal keys become tables below them."""
    console = Console()
    groups = {key: value for key, value in result.items() if _is_group(value)}
    table = Table(show_header=False, box=None, pad_edge=False)
    for key, value in _flat({k: v for k, v in result.items() if k not in groups}):
        table.add_row(Text(_text(key), "dim"), Text(_text(value)))
    console.print(table)
    for name, group in groups.items():
        console.print()
        listing({name: [{"name": key, **row} for key, row in group.items()]})


def _is_group(value: Any) -> bool:
    """True if a value is a dictionary of flat dictionaries with the same keys."""
    if not isinstance(value, dict) or not value or not all(isinstance(row, dict) for row in value.values()):
        return False
    rows = list(value.values())
    flat = not any(isinstance(cell, dict) for row in rows for cell in row.values())
    return flat and all(row.keys() == rows[0].keys() for row in rows)


def listing(kinds: dict[str, list[dict[str, Any]]]) -> None:
    """Print lists of rows with equal keys, one table a kind."""
    console = Console()
    for kind, rows in kinds.items():
        table = Table(title=kind, title_justify="left", box=None, pad_edge=False)
        for column in rows[0] if rows else ():
            widest = max(len(_text(row[column])) for row in rows) if column == "name" else None  # never shortened
            justify = "right" if isinstance(rows[0][column], (int, float)) else "left"
            table.add_column(column.replace("_", " "), justify=justify, overflow="fold", min_width=widest)
        for row in rows:
            table.add_row(*(Text(f"{v:,}" if isinstance(v, int) else _text(v)) for v in row.values()))
        console.print(table)


def search_spaces(result: dict[str, Any]) -> None:
    """Print the values that `robo-orl tune` would try; the policy's own value comes first."""
    rows = [
        {"policy": name, "key": key, "values": list(values), "points": space["points"], "trials": space["trials"]}
        for name, space in result["policies"].items()
        for key, values in space["space"].items()
    ]
    listing({f"{result['suite']}: tuned on {result['task']} {result['regime']}": rows})


def tuned_values(result: dict[str, Any]) -> None:
    """Print the values that a search chose, beside those of the policy files."""
    rows = []
    for name, chosen in result["policies"].items():
        own = result["every_trial"][name][0]
        changed = ", ".join(f"{key}={_text(value)}" for key, value in _flat(chosen["set"])) or "the file as it is"
        rows.append({
            "policy": name, "file": f"{own['k']} of {own['n']}", "best": f"{chosen['k']} of {chosen['n']}",
            "trials": chosen["trials"], "chosen": changed,
        })  # fmt: skip
    listing({f"{result['trials']} trials each, {result['task']} {result['regime']}, start states for tuning": rows})
    Console().print(f"Written: {result['file']}")


def _flat(values: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    lines: list[tuple[str, Any]] = []
    for key, value in values.items():
        nested = isinstance(value, dict) and value
        lines += _flat(value, f"{prefix}{key}.") if nested else [(f"{prefix}{key}", value)]
    return lines


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list):
        return ", ".join(_text(v) for v in value)
    return printable(str(value))
