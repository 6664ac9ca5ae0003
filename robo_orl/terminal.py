"""Plain results as tables on a terminal."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table


def key_values(result: dict[str, Any]) -> None:
    """Print a result as `key  value` lines, nested keys joined by a dot."""
    table = Table(show_header=False, box=None, pad_edge=False)
    for key, value in _flat(result):
        table.add_row(f"[dim]{key}[/]", _text(value))
    Console().print(table)


def listing(kinds: dict[str, list[dict[str, Any]]]) -> None:
    """Print lists of rows with equal keys, one table a kind."""
    console = Console()
    for kind, rows in kinds.items():
        table = Table(title=kind, title_justify="left", box=None, pad_edge=False)
        for column in rows[0] if rows else ():
            table.add_column(column, justify="right" if isinstance(rows[0][column], int) else "left")
        for row in rows:
            table.add_row(*(f"{v:,}" if isinstance(v, int) else str(v) for v in row.values()))
        console.print(table)
        console.print()


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
    return str(value)
