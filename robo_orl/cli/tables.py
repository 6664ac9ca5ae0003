"""Results as tables on a terminal."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from robo_orl.base.text import printable


def key_values(result: dict[str, Any]) -> None:
    """Print a result as `key  value` lines; entries that hold rows of equal keys become tables below them."""
    console = Console()
    groups = {key: rows for key, value in result.items() if (rows := _rows_of(value))}
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for key, value in _flat({k: v for k, v in result.items() if k not in groups}):
        table.add_row(Text(_text(key), "dim"), Text(_text(value)))
    console.print(table)
    for name, rows in groups.items():
        console.print()
        listing({name: rows})


def _rows_of(value: Any) -> list[dict[str, Any]]:
    """The rows of a value that is a list, or a dictionary by name, of flat dictionaries with equal keys; else none."""
    if isinstance(value, dict) and value and all(isinstance(row, dict) for row in value.values()):
        value = [{"name": key, **row} for key, row in value.items()]
    if not isinstance(value, list) or not value or not all(isinstance(row, dict) for row in value):
        return []
    flat = not any(isinstance(cell, dict) for row in value for cell in row.values())
    return value if flat and all(row.keys() == value[0].keys() for row in value) else []


LONG = 24  # characters of a text that may stand below its row, where the table is wider than the terminal
GAP = 2


def listing(kinds: dict[str, list[dict[str, Any]]]) -> None:
    """Print lists of rows with equal keys, one table a kind.

    Where a table is wider than the terminal its long texts stand below their row, and nothing is cut off.
    """
    console = Console()
    for kind, rows in kinds.items():
        console.print(Text(_text(kind), "italic"))
        below = _columns_below(rows, console.width)
        columns = [column for column in (rows[0] if rows else ()) if column not in below]
        widths = {column: _width(rows, column) for column in columns}
        if below:
            _print_with_texts_below(console, rows, widths, below)
        elif rows:
            console.print(_table(rows, widths))


def _table(rows: list[dict[str, Any]], widths: dict[str, int]) -> Table:
    """One line a row; long texts are broken, names and numbers never."""
    table = Table(box=None, pad_edge=False)
    for column in widths:
        widest = max(len(_shown(row[column])) for row in rows)
        whole = column == "name" or widest <= LONG
        justify = "right" if _is_number(rows[0][column]) else "left"
        least = widest if whole else None
        table.add_column(column.replace("_", " "), justify=justify, overflow="fold", min_width=least)
    for row in rows:
        table.add_row(*(Text(_shown(row[column])) for column in widths))
    return table


def _print_with_texts_below(
    console: Console, rows: list[dict[str, Any]], widths: dict[str, int], below: list[str]
) -> None:
    """A line a row, and its long texts under it."""
    console.print(Text(_line({column: column.replace("_", " ") for column in widths}, rows[0], widths), "bold"))
    for row in rows:
        console.print(Text(_line({column: _shown(row[column]) for column in widths}, row, widths)), soft_wrap=True)
        for text in (_shown(row[column]) for column in below):
            if text:
                console.print(Padding(Text(text), (0, 0, 0, 4)))


def _line(texts: dict[str, str], row: dict[str, Any], widths: dict[str, int]) -> str:
    padded = (
        text.rjust(widths[column]) if _is_number(row[column]) else text.ljust(widths[column])
        for column, text in texts.items()
    )
    return (" " * GAP).join(padded).rstrip()


def _columns_below(rows: list[dict[str, Any]], width: int) -> list[str]:
    """The columns of long texts, where the rows do not fit the terminal with them."""
    if not rows:
        return []
    widths = {column: _width(rows, column) for column in rows[0]}
    if sum(widths.values()) + GAP * (len(widths) - 1) <= width:
        return []
    texts = [column for column in widths if column != "name" and isinstance(rows[0][column], str)]
    return [column for column in texts if widths[column] > LONG]


def _width(rows: list[dict[str, Any]], column: str) -> int:
    return max(len(column), *(len(_shown(row[column])) for row in rows))


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _shown(value: Any) -> str:
    """A cell of a table."""
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else _text(value)


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
        own, best = (result["every_trial"][name][number] for number in (0, chosen["trial"]))
        changed = ", ".join(f"{key}={_text(value)}" for key, value in _flat(chosen["set"])) or "the file as it is"
        rows.append({
            "policy": name, "file": _score(own), "best": _score(best), "trials": chosen["trials"], "chosen": changed,
        })  # fmt: skip
    by = f"best by {result['endpoint']}"
    listing({f"{result['trials']} trials each, {result['task']} {result['regime']}, tuning starts, {by}": rows})
    Console().print(f"Written: {result['file']}")


def _score(trial: dict[str, Any]) -> str:
    return f"{trial['score']:.3f}, {trial['k']} of {trial['n']}"


def _flat(values: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    lines: list[tuple[str, Any]] = []
    for key, value in values.items():
        nested = isinstance(value, dict) and value
        lines += _flat(value, f"{prefix}{key}.") if nested else [(f"{prefix}{key}", value)]
    return lines


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None or value == {} or value == []:
        return "-"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list):
        return ", ".join(_text(v) for v in value)
    return printable(str(value))
