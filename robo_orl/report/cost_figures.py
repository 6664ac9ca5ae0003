"""Cost cell by cell: predicted memory by component with a stroke where it was measured, time and traffic beside it, and
the largest model that fits a card.

The sections say only what the rows say; a row that ran out of memory or was measured without its base shows as that.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from robo_orl.report.layers import figure, label_room, layer
from robo_orl.report.vega import Spec, drawing

WIDTH, STEP = 150, 24
PARTS = {  # a component of a bar -> the parts of a prediction
    "weights": ("parameters", "inputs"),
    "gradients": ("gradients",),
    "optimiser": ("optimizer", "master"),
    "slow copies": ("targets",),
    "activations": ("activations", "temporaries"),
    "buckets": ("buckets",),
}
COLOURS = ("#4c6a85", "#b8863b", "#7a4d7e", "#b03c17", "#5d8a5a", "#8d877b")  # distinct in grey and to most eyes
Row = dict[str, Any]


def cell_figures(rows: Sequence[Row]) -> list[tuple[str, Markup]]:
    """A figure a size of the cost cells (costs.cost_cells) that were measured in one process."""
    rows = ordered(rows)
    parts = [(size, [r for r in rows if r["size"] == size and not r["launched"] and r["predicted"]])
             for size in _sizes(rows)]  # fmt: skip
    return [(size, _memory(size, shown)) for size, shown in parts if shown]


def ordered(rows: Sequence[Row]) -> list[Row]:
    """Cost cells by size and engine, the base of each first."""
    return sorted(rows, key=lambda r: (r["parameters_total"] or 0, r["launched"], r["zero"], r["policy"] != r["base"]))


def _memory(size: str, shown: Sequence[Row]) -> Markup:
    """Predicted memory at the peak, stacked, with a stroke where it was measured."""
    parts = [
        {"policy": row["policy"], "part": name, "place": place, "bytes": size_of, "tip": f"{name}: {in_bytes(size_of)}"}
        for row in shown
        for place, (name, own) in enumerate(PARTS.items())
        if (size_of := sum(row["predicted"]["parts"][part] for part in own))
    ]
    ends = [
        {"policy": row["policy"], "measured": row["peak_memory_bytes"], "beside": _beside(row),
         "end": max(row["predicted"]["peak_bytes"], row["peak_memory_bytes"] or 0)}
        for row in shown
    ]  # fmt: skip
    most = max(row["end"] for row in ends) or 1
    x = {"field": "bytes", "type": "quantitative", "scale": {"domain": [0, most], "nice": False}, "axis": None}
    colour = {"field": "part", "type": "nominal", "legend": None,
              "scale": {"domain": list(PARTS), "range": list(COLOURS)}}  # fmt: skip
    y = _row_axis()
    layers = [
        layer({"type": "bar", "height": 16}, parts, x=x, y=y, color=colour, order={"field": "place"},
              description={"field": "tip"}),
        layer({"type": "tick", "thickness": 2, "height": 22, "color": "var(--ink)"},
              [row for row in ends if row["measured"]], x={**x, "field": "measured"}, y=y),
        layer(_text("left", dx=8, size=11), ends, x={**x, "field": "end"}, y=y, text={"field": "beside"}),
        _names(ends),
    ]  # fmt: skip
    words = "; ".join(f"{r['policy']} {in_bytes(r['predicted']['peak_bytes'])} predicted" for r in shown)
    return drawing(
        figure(WIDTH, STEP * len(shown), layers, names=(_room(ends), 120)), f"Memory at size {size}: {words}"
    )


def _row_axis() -> Spec:
    return {"field": "policy", "type": "nominal", "sort": None, "axis": None, "scale": {"paddingInner": 0}}


def _text(align: str, size: float = 12, **more: Any) -> Spec:
    colour = "var(--ink)" if size == 12 else "var(--muted)"
    return {"type": "text", "align": align, "baseline": "middle", "fontSize": size, "limit": 0, "color": colour, **more}


def _names(rows: Sequence[Row]) -> Spec:
    return layer(_text("right", x=-8), rows, y=_row_axis(), text={"field": "policy"})


def _room(rows: Sequence[Row]) -> float:
    return label_room(row["policy"] for row in rows)


def _beside(row: Row) -> str:
    return "out of memory" if row["oom"] else f"{in_bytes(row['peak_memory_bytes'])}, {in_seconds(row['step_s'])}"


def sentences(rows: Sequence[Row]) -> list[str]:
    """One a size: every policy's time and memory relative to the base, with the quartiles of the ratio and n."""
    made, rows = [], ordered(rows)
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


def _sizes(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(row["size"] for row in rows))


def table_rows(rows: Sequence[Row]) -> list[tuple[Row, list[str]]]:
    """Every cost cell with its cells of the table, as text; without any where it ran out of memory."""
    rows = ordered(rows)
    plain = {(row["policy"], row["size"]): row for row in rows if row["launched"] and row["zero"] == 0}
    return [(row, [] if row["oom"] else _cells(row, plain.get((row["policy"], row["size"])))) for row in rows]


def engine(row: Row) -> str:
    """One process, or the kind of several."""
    if not row["launched"]:
        return "one process"
    return (f"ZeRO-{row['zero']}" if row["zero"] else "DDP") + f", {row['world']} processes"


def _cells(row: Row, plain: Row | None) -> list[str]:
    """plain: the row of the same policy and size under DDP, where there is one."""
    measured, predicted = row["peak_memory_bytes"], (row["predicted"] or {}).get("peak_bytes")
    beside = ""
    if row["zero"] and plain is not None and not plain["oom"]:
        beside = f"{row['step_s'] / plain['step_s']:.3f}, {measured / plain['peak_memory_bytes']:.3f}"
    return [
        in_seconds(row["step_s"]),
        f"{row['step_relative']:.3f}" if row["step_relative"] else "measured alone",
        in_bytes(measured),
        f"{row['memory_relative']:.3f}" if row["memory_relative"] else "",
        beside,
        in_bytes(predicted) if predicted else "",
        f"{predicted / measured - 1:+.1%}" if predicted else "",
        in_bytes(max(row["sent_bytes_per_step"])) if row["sent_bytes_per_step"] else "",
    ]


# ---------------------------------------------------------------------------------------------- the largest that fits


def largest_figures(rows: Sequence[Row]) -> list[tuple[str, int, Markup]]:
    """The largest models (costs.largest_models): of every card its name, its usable bytes and a figure."""
    cards = dict.fromkeys((row["card"], row["usable_bytes"]) for row in rows)
    most = max([row["backbone_parameters"] or 1 for row in rows], default=1)
    return [(card, usable, _largest(card, [row for row in rows if row["card"] == card], most))
            for card, usable in cards]  # fmt: skip


def _largest(card: str, rows: Sequence[Row], most: int) -> Markup:
    bars = [
        {"policy": row["policy"], "count": row["backbone_parameters"] or 0, "words": model_in_words(row),
         "tip": row["depth"] and f"{row['policy']}: depth {row['depth']}, {row['peak_bytes'] / 1e9:.3g} GB at the peak"}
        for row in rows
    ]  # fmt: skip
    x = {"field": "count", "type": "quantitative", "scale": {"domain": [0, most], "nice": False}, "axis": None}
    y = _row_axis()
    layers = [
        layer({"type": "bar", "height": 14, "color": "var(--free)"}, [b for b in bars if b["count"]], x=x, y=y,
              description={"field": "tip"}),
        layer(_text("left", dx=6, size=11), bars, x=x, y=y, text={"field": "words"}),
        _names(bars),
    ]  # fmt: skip
    words = "; ".join(f"{row['policy']} {model_in_words(row)}" for row in rows)
    return drawing(
        figure(WIDTH, STEP * len(rows), layers, names=(_room(bars), 60)), f"Largest model on {card}: {words}"
    )


def model_in_words(row: Row) -> str:
    """Numbers of the backbone and the depth; "none" where not even the smallest model fits."""
    count = row["backbone_parameters"]
    if count is None:
        return "none"
    return f"{count / 1e9:.3g} B ({row['depth']})" if count >= 1e9 else f"{count / 1e6:.3g} M ({row['depth']})"


def in_bytes(count: float) -> str:
    """Bytes in GB or MB."""
    return f"{count / 1e9:.3g} GB" if count >= 1e9 else f"{count / 1e6:.3g} MB"


def in_seconds(seconds: float) -> str:
    """Seconds or milliseconds."""
    return f"{seconds:.3g} s" if seconds >= 1 else f"{seconds * 1e3:.3g} ms"
