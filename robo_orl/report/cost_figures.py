"""Cost cell by cell: predicted memory by component with a stroke where it was measured, time and traffic beside it, and
the largest model that fits a card.

The sections say only what the rows say; a row that ran out of memory or was measured without its base shows as that.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from robo_orl.report.svg import drawing, line, shortened, tag, text

LEFT, WIDTH, STEP = 150.0, 120.0, 22.0
PARTS = {  # a component of a bar -> the parts of a prediction
    "weights": ("parameters", "inputs"),
    "gradients": ("gradients",),
    "optimiser": ("optimizer", "master"),
    "slow copies": ("targets",),
    "activations": ("activations", "temporaries"),
    "buckets": ("buckets",),
}
COLOURS = ("#4c6a85", "#b8863b", "#7a4d7e", "#b03c17", "#5d8a5a", "#8d877b")  # distinct in grey and to most eyes


def cells_section(rows: Sequence[dict[str, Any]]) -> Markup:
    """Every cost cell (costs.cost_cells): a figure a size of those in one process, and a table. Empty without rows."""
    if not rows:
        return Markup("")
    rows = sorted(rows, key=_order)
    figures = [_figure(size, [r for r in rows if r["size"] == size and not r["launched"]]) for size in _sizes(rows)]
    return tag(
        "section",
        tag("h2", "Cost, cell by cell"),
        *(tag("p", sentence, class_="lead") for sentence in sentences(rows)),
        tag(
            "p",
            "Windows are synthetic; times are medians of interleaved steps, ratios are taken within a round. Bars are "
            "predicted memory at the peak, the stroke and the numbers beside them what was measured: memory, step.",
            class_="note",
        ),
        _legend(),
        tag("div", *figures, class_="panels large"),
        _table(rows),
        id="cost-cells",
    )


def largest_section(rows: Sequence[dict[str, Any]]) -> Markup:
    """The largest models (costs.largest_models), a panel a card. Empty without rows."""
    if not rows:
        return Markup("")
    cards = list(dict.fromkeys((row["card"], row["usable_bytes"]) for row in rows))
    most = max([row["backbone_parameters"] or 1 for row in rows])
    panels = [_panel(card, usable, [row for row in rows if row["card"] == card], most) for card, usable in cards]
    first = rows[0]
    note = (
        f"Predicted, on one card without ZeRO or checkpointing: {first['batch_size']} observations a step, "
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
        y = index * STEP
        marks.append(text(LEFT - 8, y + 14, shortened(row["policy"]), "label", "end"))
        if row["depth"] is None:
            marks.append(text(LEFT + 4, y + 14, "none", "tick"))
            continue
        wide = WIDTH * row["backbone_parameters"] / most
        tip = f"{row['policy']}: depth {row['depth']}, {row['peak_bytes'] / 1e9:.3g} GB at the peak"
        marks.append(tag("rect", tag("title", tip), x=LEFT, y=y + 3, width=max(wide, 1.0), height=14.0, class_="room"))
        marks.append(text(LEFT + wide + 6, y + 14, model_in_words(row), "tick"))
    words = "; ".join(f"{row['policy']} {model_in_words(row)}" for row in rows)
    picture = drawing(LEFT + WIDTH + 90, max(1, len(rows)) * STEP, f"Largest model on {card}: {words}", *marks)
    caption = tag("figcaption", f"{card} ", tag("span", f"{usable / 1e9:.3g} GB for tensors", class_="sub"))
    return tag("figure", caption, picture)


def model_in_words(row: dict[str, Any]) -> str:
    """Numbers of the backbone and the depth; "none" where not even the smallest model fits."""
    count = row["backbone_parameters"]
    if count is None:
        return "none"
    return f"{count / 1e9:.3g} B ({row['depth']})" if count >= 1e9 else f"{count / 1e6:.3g} M ({row['depth']})"


def _order(row: dict[str, Any]) -> tuple:
    return row["parameters_total"] or 0, row["launched"], row["zero"], row["policy"] != row["base"]


def _engine(row: dict[str, Any]) -> str:
    if not row["launched"]:
        return "one process"
    return (f"ZeRO-{row['zero']}" if row["zero"] else "DDP") + f", {row['world']} processes"


def sentences(rows: Sequence[dict[str, Any]]) -> list[str]:
    """One a size: every policy's time and memory relative to the base, with the quartiles of the ratio and n."""
    made = []
    for size in _sizes(rows):
        here = [r for r in rows if r["size"] == size and not r["launched"] and r["policy"] != r["base"]]
        compared = [r for r in here if not r["oom"] and r["step_relative"] and r["step_relative_quartiles"]]
        parts = [
            f"{r['policy']} {r['step_relative']:.2f} x the time"
            f" [{r['step_relative_quartiles'][0]:.2f}, {r['step_relative_quartiles'][1]:.2f}]"
            f" and {r['memory_relative']:.2f} x the memory"
            for r in compared
        ]
        if parts:
            steps = min(r["steps"] for r in compared)
            made.append(f"At size {size}, beside {here[0]['base']} (n = {steps} steps, quartiles): {'; '.join(parts)}.")
    return made


def _sizes(rows: Sequence[dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(row["size"] for row in rows))


def _legend() -> Markup:
    keys = [
        tag("span", tag("i", style=f"background:{colour}"), name) for name, colour in zip(PARTS, COLOURS, strict=True)
    ]
    return tag("p", *keys, " | measured", class_="components")


def _figure(size: str, rows: Sequence[dict[str, Any]]) -> Markup:
    """Predicted memory at the peak, stacked, with a stroke where it was measured."""
    shown = [row for row in rows if row["predicted"]]
    peaks = [max(row["predicted"]["peak_bytes"], row["peak_memory_bytes"] or 0) for row in shown]
    left, width, step = 150.0, 130.0, 24.0
    marks = [
        mark for index, row in enumerate(shown) for mark in _bar(row, index * step, left, width / max([1, *peaks]))
    ]
    words = "; ".join(f"{r['policy']} {_bytes(r['predicted']['peak_bytes'])} predicted" for r in shown)
    picture = drawing(left + width + 110, max(1, len(shown)) * step, f"Memory at size {size}: {words}", *marks)
    return tag("figure", tag("figcaption", f"size {size}"), picture)


def _bar(row: dict[str, Any], y: float, left: float, per_byte: float) -> list[Markup]:
    marks, x = [text(left - 8, y + 15, shortened(row["policy"]), "label", "end")], left
    for (name, parts), colour in zip(PARTS.items(), COLOURS, strict=True):
        size = sum(row["predicted"]["parts"][part] for part in parts)
        title = tag("title", f"{name}: {_bytes(size)}")
        marks.append(tag("rect", title, x=x, y=y + 3, width=size * per_byte, height=16.0, fill=colour))
        x += size * per_byte
    measured = row["peak_memory_bytes"]
    if measured:
        marks.append(line(left + measured * per_byte, y, left + measured * per_byte, y + 22, "measured"))
    beside = "out of memory" if row["oom"] else f"{_bytes(measured)}, {_seconds(row['step_s'])}"
    return [*marks, text(max(x, left) + 8, y + 15, beside, "tick")]


def _table(rows: Sequence[dict[str, Any]]) -> Markup:
    columns = (
        "policy", "size", "engine", "step", "x base", "memory", "x base", "x plain DDP: step, memory", "predicted",
        "error", "sent a step",
    )  # fmt: skip
    head = tag("tr", *(tag("th", c, scope="col", class_="text" if c == "engine" else None) for c in columns))
    plain = {(row["policy"], row["size"]): row for row in rows if row["launched"] and row["zero"] == 0}
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
        _bytes(measured), f"{row['memory_relative']:.3f}" if row["memory_relative"] else "", beside,
        _bytes(predicted) if predicted else "", f"{predicted / measured - 1:+.1%}" if predicted else "",
        _bytes(max(row["sent_bytes_per_step"])) if row["sent_bytes_per_step"] else "",
    ]  # fmt: skip
    return tag("tr", *first, *(tag("td", cell) for cell in cells))


def _bytes(count: float) -> str:
    return f"{count / 1e9:.3g} GB" if count >= 1e9 else f"{count / 1e6:.3g} MB"


def _seconds(seconds: float) -> str:
    return f"{seconds:.3g} s" if seconds >= 1 else f"{seconds * 1e3:.3g} ms"
