"""cost.html: what training steps cost, from the rows of a cost grid: memory by component, time beside it, predictions,
and the largest model that fits a card.

The page says only what the rows say; a row that ran out of memory or was measured without its base shows as that.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from markupsafe import Markup

from robo_orl.base.files import write_text
from robo_orl.report.svg import drawing, line, shortened, tag, text
from robo_orl.results.store import open_results

LEFT, WIDTH, STEP = 150.0, 120.0, 22.0


def section(rows: Sequence[dict[str, Any]]) -> Markup:
    """Heading, note and panels; empty without rows."""
    if not rows:
        return Markup("")
    cards = list(dict.fromkeys((row["card"], row["usable_bytes"]) for row in rows))
    most = max([row["largest"]["backbone_parameters"] for row in rows if row["largest"]] + [1])
    panels = [_panel(card, usable, [row for row in rows if row["card"] == card], most) for card, usable in cards]
    first = rows[0]
    note = (
        f"Predicted, on one card without ZeRO or checkpointing: {first['batch']} observations a step, "
        f"{first['precision']}. Numbers are those of the policy's backbone, which is what acts; a layout that keeps "
        "other backbones beside it has room for a smaller one. The dial is the depth, in brackets."
    )
    return tag(
        "section", tag("h2", "The largest model that fits"), tag("p", note, class_="note"),
        tag("div", *panels, class_="panels large"), id="largest",
    )  # fmt: skip


def _panel(card: str, usable: int, rows: Sequence[dict[str, Any]], most: int) -> Markup:
    marks: list[Markup] = []
    for index, row in enumerate(rows):
        y, found = index * STEP, row["largest"]
        marks.append(text(LEFT - 8, y + 14, shortened(row["policy"]), "label", "end"))
        if found is None:
            marks.append(text(LEFT + 4, y + 14, "none", "tick"))
            continue
        wide = WIDTH * found["backbone_parameters"] / most
        tip = f"{row['policy']}: depth {found['depth']}, {found['peak_bytes'] / 1e9:.3g} GB at the peak"
        marks.append(tag("rect", tag("title", tip), x=LEFT, y=y + 3, width=max(wide, 1.0), height=14.0, class_="room"))
        marks.append(text(LEFT + wide + 6, y + 14, told(found), "tick"))
    words = "; ".join(f"{row['policy']} {told(row['largest']) if row['largest'] else 'none'}" for row in rows)
    picture = drawing(LEFT + WIDTH + 90, max(1, len(rows)) * STEP, f"Largest model on {card}: {words}", *marks)
    caption = tag("figcaption", f"{card} ", tag("span", f"{usable / 1e9:.3g} GB for tensors", class_="sub"))
    return tag("figure", caption, picture)


def told(found: dict[str, Any]) -> str:
    """Numbers of the backbone and the depth."""
    count = found["backbone_parameters"]
    return f"{count / 1e9:.3g} B ({found['depth']})" if count >= 1e9 else f"{count / 1e6:.3g} M ({found['depth']})"


PARTS = {  # what a bar is made of -> the parts of a prediction, and a class of its colour
    "weights": ("parameters", "inputs"),
    "gradients": ("gradients",),
    "optimiser": ("optimizer", "master"),
    "slow copies": ("targets",),
    "activations": ("activations", "temporaries"),
    "buckets": ("buckets",),
}
COLOURS = ("#4c6a85", "#b8863b", "#7a4d7e", "#b03c17", "#5d8a5a", "#8d877b")  # told apart in grey and by most eyes


ROWS, LARGEST = "cost_cells", "cost_largest"  # folders of a results folder, a JSON file a row


def build_cost_page(results: Path, out: Path) -> Path | None:
    """Write out/cost.html from the rows in `results`; its path, or None where there are none."""
    costs = open_results(results).costs
    rows, largest = (list(costs.get(kind, {}).values()) for kind in (ROWS, LARGEST))
    if not rows and not largest:
        return None
    path = out / "cost.html"
    write_text(path, page(rows, largest))
    return path


def page(rows: Sequence[dict[str, Any]], largest: Sequence[dict[str, Any]] = ()) -> str:
    """The page as text. rows: of cost/measure/grid.py; largest: see cost_largest.py."""
    rows = sorted(rows, key=_order)
    style = (files("robo_orl.report") / "templates" / "style.css").read_text(encoding="utf-8") + STYLE
    figures = [_figure(size, [r for r in rows if r["size"] == size and not is_launched(r)]) for size in _sizes(rows)]
    body = [
        tag("h1", "What a critic costs"),
        *(tag("p", sentence, class_="lead") for sentence in sentences(rows)),
        tag(
            "p",
            "Windows are synthetic; times are medians of interleaved steps, ratios are taken within a round. Bars are "
            "predicted memory at the peak, the stroke and the numbers beside them what was measured: memory, step.",
        ),
        _legend(),
        tag("div", *figures, class_="panels large"),
        section(largest),
        tag("section", tag("h2", "Every cell"), _table(rows)),
    ]
    head = tag(
        "head", tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"), tag("title", "What a critic costs"),
        tag("link", rel="icon", href="data:,"), tag("style", Markup(style)),
    )  # fmt: skip
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
    left, width, step = 150.0, 130.0, 24.0
    marks: list[Markup] = []
    for index, row in enumerate(shown):
        y, x = index * step, left
        marks.append(text(left - 8, y + 15, shortened(row["policy"]), "label", "end"))
        for (name, parts), colour in zip(PARTS.items(), COLOURS, strict=True):
            size_of = sum(row["predicted"]["parts"][part] for part in parts)
            wide = width * size_of / most
            title = tag("title", f"{name}: {_bytes(size_of)}")
            marks.append(tag("rect", title, x=x, y=y + 3, width=wide, height=16.0, fill=colour))
            x += wide
        measured = row.get("peak_memory_bytes")
        if measured:
            at = left + width * measured / most
            marks.append(line(at, y, at, y + 22, "measured"))
        told = "out of memory" if row["oom"] else f"{_bytes(measured)}, {_seconds(row['step_s'])}"
        marks.append(text(max(x, left) + 8, y + 15, told, "tick"))
    words = "; ".join(f"{r['policy']} {_bytes(r['predicted']['peak_bytes'])} predicted" for r in shown)
    picture = drawing(left + width + 110, max(1, len(shown)) * step, f"Memory at size {size}: {words}", *marks)
    return tag("figure", tag("figcaption", f"size {size}"), picture)


def _table(rows: Sequence[dict[str, Any]]) -> Markup:
    columns = (
        "policy", "size", "engine", "step", "x base", "memory", "x base", "x plain DDP: step, memory", "predicted",
        "error", "sent a step",
    )  # fmt: skip
    head = tag("tr", *(tag("th", c, scope="col", class_="text" if c == "engine" else None) for c in columns))
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
        _seconds(row["step_s"]),
        f"{row['step_relative']:.3f}" if row["step_relative"] else "measured alone",
        _bytes(measured), f"{row['memory_relative']:.3f}", beside,
        _bytes(predicted) if predicted else "", f"{predicted / measured - 1:+.1%}" if predicted else "",
        _bytes(max(row["sent_bytes_per_step"])) if row.get("sent_bytes_per_step") else "",
    ]  # fmt: skip
    return tag("tr", *first, *(tag("td", cell) for cell in cells))


def _bytes(count: float) -> str:
    return f"{count / 1e9:.3g} GB" if count >= 1e9 else f"{count / 1e6:.3g} MB"


def _seconds(seconds: float) -> str:
    return f"{seconds:.3g} s" if seconds >= 1 else f"{seconds * 1e3:.3g} ms"


STYLE = """
main { padding-bottom: 4rem; }
.measured { stroke: var(--ink); stroke-width: 2; }
h1 { font-size: clamp(2rem, 6vw, 3.4rem); }
.room { fill: var(--free); }
.legend span { margin-right: 1.2rem; white-space: nowrap; }
.legend i { display: inline-block; width: .8em; height: .8em; margin-right: .4em; }
figure .label, figure .tick { fill: currentColor; font-size: 12px; }
"""
