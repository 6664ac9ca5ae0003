"""cost.html: what training steps cost, from the rows of a cost grid: memory by component, time beside it, predictions.

The page says only what the rows say; a row that ran out of memory or was measured without its base shows as that.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from markupsafe import Markup

from robo_orl.report.svg import drawing, line, tag, text
from robo_orl.results.store import write_text

PARTS = {  # what a bar is made of -> the parts of a prediction, and a class of its colour
    "weights": ("parameters", "inputs"),
    "gradients": ("gradients",),
    "optimiser": ("optimizer", "master"),
    "slow copies": ("targets",),
    "activations": ("activations", "temporaries"),
    "buckets": ("buckets",),
}
COLOURS = ("#4c6a85", "#b8863b", "#7a4d7e", "#b03c17", "#5d8a5a", "#8d877b")  # told apart in grey and by most eyes


def write_cost_page(rows: Sequence[dict[str, Any]], out: Path) -> Path:
    """Write out/cost.html from the rows of measure/grid.py; returns its path."""
    path = out / "cost.html"
    write_text(path, page(rows))
    return path


def page(rows: Sequence[dict[str, Any]]) -> str:
    """The page as text."""
    rows = sorted(rows, key=_order)
    style = (files("robo_orl.report") / "templates" / "style.css").read_text(encoding="utf-8") + STYLE
    figures = [_figure(size, [r for r in rows if r["size"] == size and not is_launched(r)]) for size in _sizes(rows)]
    body = [
        tag("h1", "What a critic costs"),
        *(tag("p", sentence, class_="lead") for sentence in sentences(rows)),
        tag("p", "Windows are synthetic; times are medians of interleaved steps, ratios are taken within a round."),
        _legend(),
        tag("div", *figures, class_="panels large"),
        tag("h2", "Every cell"),
        _table(rows),
    ]
    head = tag("head", tag("meta", charset="utf-8"), tag("title", "What a critic costs"), tag("style", Markup(style)))
    main = tag("main", *body)
    return f'<!doctype html>\n<html lang="en">{head}<body>{main}</body></html>\n'


def is_launched(row: dict[str, Any]) -> bool:
    """Whether a row was measured under a launcher; rows from before plain DDP had a row have ZeRO's alone."""
    return row.get("launched", row["zero"] > 0)


def _order(row: dict[str, Any]) -> tuple:
    return row["parameters_total"], is_launched(row), row["zero"], row["policy"] != row["base"]


def _engine(row: dict[str, Any]) -> str:
    if not is_launched(row):
        return "one process"
    processes = f", {row['world']} processes" if row.get("world") else ""
    return (f"ZeRO-{row['zero']}" if row["zero"] else "DDP") + processes


def sentences(rows: Sequence[dict[str, Any]]) -> list[str]:
    """One a size: every policy's time and memory relative to the base, with the quartiles of the ratio and n."""
    told = []
    for size in _sizes(rows):
        here = [r for r in rows if r["size"] == size and not is_launched(r) and r["policy"] != r["base"]]
        parts = [
            f"{r['policy']} {r['step_relative']:.2f} x the time"
            f" [{r['step_relative_quartiles'][0]:.2f}, {r['step_relative_quartiles'][1]:.2f}]"
            f" and {r['memory_relative']:.2f} x the memory"
            for r in here
            if not r["oom"] and r["step_relative"] and r.get("step_relative_quartiles")
        ]
        if parts:
            steps = min(r["steps"] for r in here if not r["oom"])
            told.append(f"At size {size}, beside {here[0]['base']} (n = {steps} steps, quartiles): {'; '.join(parts)}.")
    return told


def _sizes(rows: Sequence[dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(row["size"] for row in rows))


def _legend() -> Markup:
    keys = [
        tag("span", tag("i", style=f"background:{colour}"), name) for name, colour in zip(PARTS, COLOURS, strict=True)
    ]
    return tag("p", *keys, " | measured", class_="legend")


def _figure(size: str, rows: Sequence[dict[str, Any]]) -> Markup:
    """Predicted memory at the peak, stacked, with a stroke where it was measured."""
    shown = [row for row in rows if row["predicted"]]
    most = max([r["predicted"]["peak_bytes"] for r in shown] + [r.get("peak_memory_bytes") or 0 for r in shown] + [1])
    left, width, step = 150.0, 300.0, 24.0
    marks: list[Markup] = []
    for index, row in enumerate(shown):
        y, x = index * step, left
        marks.append(text(left - 8, y + 15, row["policy"], "label", "end"))
        for (name, parts), colour in zip(PARTS.items(), COLOURS, strict=True):
            size_of = sum(row["predicted"]["parts"][part] for part in parts)
            wide = width * size_of / most
            title = tag("title", f"{name}: {size_of / 1e6:.4g} MB")
            marks.append(tag("rect", title, x=x, y=y + 3, width=wide, height=16.0, fill=colour))
            x += wide
        measured = row.get("peak_memory_bytes")
        if measured:
            at = left + width * measured / most
            marks.append(line(at, y, at, y + 22, "measured"))
        told = "out of memory" if row["oom"] else f"{(measured or row['predicted']['peak_bytes']) / 1e6:.4g} MB"
        marks.append(text(max(x, left) + 8, y + 15, told, "tick"))
    words = "; ".join(f"{r['policy']} {r['predicted']['peak_bytes'] / 1e6:.4g} MB predicted" for r in shown)
    picture = drawing(left + width + 90, max(1, len(shown)) * step, f"Memory at size {size}: {words}", *marks)
    return tag("figure", tag("figcaption", f"size {size}"), picture)


def _table(rows: Sequence[dict[str, Any]]) -> Markup:
    columns = (
        "policy", "size", "engine", "step", "x base", "memory", "x base", "x plain DDP: step, memory", "predicted",
        "error", "sent a step",
    )  # fmt: skip
    head = tag("tr", *(tag("th", column, scope="col") for column in columns))
    plain = {(row["policy"], row["size"]): row for row in rows if is_launched(row) and row["zero"] == 0}
    body = [_row(row, plain.get((row["policy"], row["size"]))) for row in rows]
    return tag("div", tag("table", tag("thead", head), tag("tbody", *body)), class_="scroll")


def _row(row: dict[str, Any], plain: dict[str, Any] | None) -> Markup:
    """plain: the row of the same policy and size under DDP, where there is one."""
    first = [tag("th", row["policy"], scope="row"), tag("td", row["size"]), tag("td", _engine(row), class_="text")]
    if row["oom"]:
        return tag("tr", *first, tag("td", "out of memory"), *(tag("td") for _ in range(7)))
    measured, predicted = row["peak_memory_bytes"], (row["predicted"] or {}).get("peak_bytes")
    beside = ""
    if row["zero"] and plain is not None and not plain["oom"]:
        beside = f"{row['step_s'] / plain['step_s']:.3f}, {measured / plain['peak_memory_bytes']:.3f}"
    cells = [
        f"{row['step_s'] * 1e3:.4g} ms",
        f"{row['step_relative']:.3f}" if row["step_relative"] else "measured alone",
        f"{measured / 1e6:.4g} MB", f"{row['memory_relative']:.3f}", beside,
        f"{predicted / 1e6:.4g} MB" if predicted else "", f"{predicted / measured - 1:+.1%}" if predicted else "",
        f"{max(row['sent_bytes_per_step']) / 1e6:.4g} MB" if row.get("sent_bytes_per_step") else "",
    ]  # fmt: skip
    return tag("tr", *first, *(tag("td", cell) for cell in cells))


STYLE = """
main { padding-bottom: 4rem; }
.measured { stroke: var(--ink); stroke-width: 2; }
.legend span { margin-right: 1.2rem; white-space: nowrap; }
.legend i { display: inline-block; width: .8em; height: .8em; margin-right: .4em; }
figure .label, figure .tick { fill: currentColor; font-size: 12px; }
"""
