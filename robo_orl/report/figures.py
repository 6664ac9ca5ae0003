"""The figures of a suite's report. Panels are about 350 pixels wide: a phone shows one at full size, a desktop several.

A policy keeps one shape everywhere; marks are filled where a trained critic decides and hollow where none does.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from markupsafe import Markup

from robo_orl.report.layers import (
    SHAPES,
    STROKE,
    Look,
    Span,
    band,
    curve,
    figure,
    intervals,
    label_room,
    layer,
    log_span,
    names_at_the_edge,
    percent,
    points,
    rate_span,
    reference,
    styled,
    with_n,
)
from robo_orl.report.numbers import points as in_points
from robo_orl.report.numbers import ratio
from robo_orl.report.vega import Spec, drawing

Row = dict[str, Any]


def look_of(document: dict[str, Any]) -> Look:
    """Shape and kind of every policy of the report: the same in all figures and tables."""
    critic: dict[str, bool] = {}
    for board in document["boards"]:
        critic |= {row["policy"]: row["critic"] for row in board["rows"]}
    for table in document["cost"]:
        critic = {row["policy"]: bool(row["topology"]) for row in table["rows"]} | critic
    controls = {board["control"] for board in document["boards"]}
    shapes, result, used = list(SHAPES), {}, {True: 0, False: 0}
    for policy in sorted(critic, key=lambda p: (p not in controls, p)):
        kind = critic[policy]
        result[policy] = (shapes[used[kind] % len(shapes)], kind)
        used[kind] += 1
    return result


def plot_width(names: Iterable[str]) -> float:
    """Pixels of a plot whose lines are named at its right edge."""
    return max(150.0, 300.0 - label_room(names))


# ---------------------------------------------------------------------------------------------- against the control


def forest(comparisons: Sequence[Row], limit: float, look: Look) -> Markup:
    """Differences in success from the control with 95 % intervals, one policy a row, on an axis of +-limit."""
    ordered = sorted(comparisons, key=lambda c: -c["difference"])
    counts = [row["n"] for row in ordered]
    rows = [
        {**styled(row, row["policy"], look), "name": with_n(row["policy"], row["n"], counts),
         "decided": row["verdict"] != "undecided",
         "tip": f"{row['policy']}: {in_points(row['difference'])} points [{in_points(row['low'])}, "
                f"{in_points(row['high'])}]"}
        for row in ordered
    ]  # fmt: skip
    y = {"field": "policy", "type": "nominal", "sort": None, "axis": None}
    span = Span(-limit, limit, max(150.0, 330.0 - label_room(row["name"] for row in rows)))
    sign = "(datum.value > 0 ? '+' : datum.value < 0 ? '−' : '')"
    x = span.encoding("difference", "percentage points of success", grid=True, domain=False, ticks=False,
                      labelExpr=f"{sign} + round(abs(100 * datum.value))")  # fmt: skip
    strong = {"condition": {"test": "datum.decided", "value": 3}, "value": 1.8}
    bold = {"condition": {"test": "datum.decided", "value": 700}, "value": 400}
    ends = {"type": "text", "fontSize": 11, "fill": "var(--muted)", "y": -9}
    zero = [{"at": 0}]
    at_zero = {"field": "at", "type": "quantitative"}
    layers = [
        layer({"type": "rule", "stroke": "var(--ink)", "strokeWidth": 1.2}, zero, x=at_zero),
        layer({**ends, "align": "right", "dx": -8}, zero, x=at_zero, text={"value": "← worse"}),
        layer({**ends, "align": "left", "dx": 8}, zero, x=at_zero, text={"value": "better →"}),
        layer({"type": "rule", "strokeCap": "round"}, x={**x, "field": "low"}, x2={"field": "high"}, y=y, stroke=STROKE,
              strokeWidth=strong),
        points(x, y),
        layer({"type": "text", "align": "right", "fontSize": 12, "limit": 0, "x": -12}, y=y, text={"field": "name"},
              fill=STROKE, fontWeight=bold),
    ]  # fmt: skip
    words = "; ".join(f"{r['policy']} {in_points(r['difference'])} points, n {r['n']}, {r['verdict']}" for r in rows)
    room = label_room(row["name"] for row in rows)
    return drawing(figure(span.pixels, 27 * len(rows), layers, rows, (room, 0)),
                   f"Difference in success from {rows[0]['against']}: {words}")  # fmt: skip


# -------------------------------------------------------------------------------------------------- along an axis


def success_multiples(trend: Row, control: str | None, look: Look) -> list[tuple[str, Markup]]:
    """One panel per policy: its success along the axis with intervals, over the control's dashed line and band."""
    of_control = next((s for s in trend["series"] if s["policy"] == control), None)
    shown = [s for s in trend["series"] if s is not of_control] or [of_control]
    return [(series["policy"], _success_panel(trend, series, of_control, look)) for series in shown]


def _success_panel(trend: Row, series: Row, control: Row | None, look: Look) -> Markup:
    every = [point for one in trend["series"] for point in one["points"]]
    x, y = (
        along(trend["axis"], every, log_span([p["x"] for p in every], 215)),
        percent(rate_span(128), "value", (0, 0.5, 1)),
    )
    rows = [styled({**p, "tip": f"{p['label']}: {p['k']}/{p['n']}"}, series["policy"], look) for p in series["points"]]
    under = []
    if control and control is not series:
        behind = [{**p, "policy": control["policy"], "critic": False} for p in control["points"]]
        under = [band(x, y, behind), reference(x, y, behind)]
    words = ", ".join(f"{p['label']} {p['k']} of {p['n']}" for p in series["points"])
    return drawing(figure(215, 128, [*under, curve(x, y), intervals(x, y), points(x, y)], rows),
                   f"Success of {series['policy']}: {words}")  # fmt: skip


def along(axis: str, every: Sequence[Row], span: Span) -> Spec:
    """The horizontal channel of a trend: ticks at its points, with the names of sizes."""
    labels = {p["x"]: f"{p['x']:g}" if axis == "horizon" else p["label"] for p in every}
    title = "decisions until the time-out" if axis == "horizon" else "model size"
    return span.encoding("x", title, values=sorted(labels), grid=False, labelExpr=_words(labels))


def _words(labels: dict[float, str]) -> str:
    """The expression that names each tick."""
    names = ",".join(f"{place!r}:{str(label)!r}" for place, label in labels.items())
    return f"({{{names}}})[datum.value] || ''"


def curves(trend: Row, look: Look) -> Markup:
    """Several policies on logarithmic axes in one panel, named at the right edge."""
    shown = [s | {"points": [p for p in s["points"] if p["value"] > 0]} for s in trend["series"]]
    shown = [s for s in shown if s["points"]]
    every = [p for s in shown for p in s["points"]]
    names = [series["policy"] for series in shown]
    across = log_span([p["x"] for p in every], plot_width(names), 1.25)
    up = log_span([p["value"] for p in every], max(190.0, 14.0 * len(names)))
    x, y = along(trend["axis"], every, across), up.encoding("value", None, format="~g", domain=False, ticks=False)
    rows = [styled({**p, "tip": f"{p['label']}: {p['value']:.3g} (n {p['n']})"}, s["policy"], look)
            for s in shown for p in s["points"]]  # fmt: skip
    ends = [styled({"x": s["points"][-1]["x"], "y": s["points"][-1]["value"]}, s["policy"], look) for s in shown]
    layers = [curve(x, y), points(x, y), *names_at_the_edge(ends, across, up)]
    words = [f"{s['policy']} " + ", ".join(f"{p['label']} {p['value']:.3g}" for p in s["points"]) for s in shown]
    return drawing(figure(across.pixels, up.pixels, layers, rows, (0, label_room(names))),
                   f"{trend['title']}: {'; '.join(words)}")  # fmt: skip


def success_curve(board: Row, look: Look) -> Markup:
    """Success within d decisions: the policies of the curve that have a band, the control dashed, and the deadlines."""
    drawn = [row for row in board["curve"]["rows"] if row["low"] is not None]
    decisions = board["curve"]["decisions"]
    names = [with_n(row["policy"], row["n"], [r["n"] for r in board["curve"]["rows"]]) for row in drawn]
    across, up = Span(0, decisions[-1], plot_width(names)), rate_span(190)
    x, y = across.encoding("d", "decisions allowed", grid=False), percent(up)
    lines = {row["policy"]: _steps_of(row, decisions, look) for row in drawn}
    behind = board["control"] if len(drawn) > 2 else None  # of two rows it is the best without a critic
    front = [line for policy, own in lines.items() if policy != behind for line in own]
    deadlines = [{"d": t["decisions"]} for t in board["deadlines"]]
    rule = {"type": "rule", "stroke": "var(--muted)", "strokeDash": [1, 4]}
    ends = [{**own[-1], "x": own[-1]["d"], "y": own[-1]["rate"], "name": name}
            for own, name in zip(lines.values(), names, strict=True)]  # fmt: skip
    layers = [
        layer(rule, deadlines, x=x),
        band(x, y, [row for row in front if row["d"]]),
        *([reference(x, y, lines[behind])] if behind else []),
        curve(x, y, front),
        points(x, y) | {"data": {"values": ends}},
        *names_at_the_edge(ends, across, up),
    ]
    said = [", ".join(f"{k} within {d}" for d, k in list(zip(decisions, row["k"], strict=True))[4::5]) for row in drawn]
    words = "; ".join(f"{row['policy']}, of {row['n']}: {part}" for row, part in zip(drawn, said, strict=True))
    return drawing(figure(across.pixels, up.pixels, layers, names=(0, label_room(names))),
                   f"Success within d decisions on {board['task']}: {words}")  # fmt: skip


def _steps_of(row: Row, decisions: Sequence[int], look: Look) -> list[Row]:
    start = {"d": 0, "rate": 0.0}
    places = [{"d": d, "rate": k / row["n"], "low": low, "high": high}
              for d, k, low, high in zip(decisions, row["k"], row["low"], row["high"], strict=True)]  # fmt: skip
    return [styled({**place, "tip": row["policy"]}, row["policy"], look) for place in (start, *places)]


# ------------------------------------------------------------------------------------------------ against the cost


def tradeoff(board: Row, look: Look, ratios: Sequence[float]) -> Markup | None:
    """Success against training time relative to the control; the line joins what no other policy beats in both.

    ratios: of all boards, so that their axes agree. Marks that coincide stand side by side.
    """
    measured = [row for row in board["rows"] if row["time_relative"]]
    if len(measured) < 2:
        return None
    names = [with_n(row["policy"], row["success"]["n"], [r["success"]["n"] for r in measured]) for row in measured]
    across = log_span([*ratios, 1.0], plot_width(names), 1.12)
    up = rate_span(max(190.0, 14.0 * len(measured)))
    places = side_by_side([across(row["time_relative"]) for row in measured])
    rows = []
    for row, place in zip(measured, places, strict=True):
        s = row["success"]
        tip = f"{row['policy']}: {row['time_relative']:.2f}×, {s['k']}/{s['n']}"
        rate = {"rate": s["rate"], "low": s["low"], "high": s["high"]}
        rows.append(styled({**rate, "time": across.value(place), "tip": tip}, row["policy"], look))
    x = across.encoding("time", f"training time relative to {board['control']}", grid=False,
                        labelExpr="format(datum.value, '~g') + '×'")  # fmt: skip
    y = percent(up)
    best = sorted((r for r in measured if r["policy"] in board["pareto"]), key=lambda row: row["time_relative"])
    front = [{"time": row["time_relative"], "rate": row["success"]["rate"]} for row in best]
    front += [{"time": across.high, "rate": front[-1]["rate"]}] if front else []
    stairs = {"type": "line", "interpolate": "step-after", "stroke": "var(--muted)", "strokeWidth": 1.1, "opacity": 0.8}
    ends = [{**row, "x": row["time"], "y": row["rate"], "name": name} for row, name in zip(rows, names, strict=True)]
    named = names_at_the_edge(ends, across, up, beyond=across.pixels)
    layers = [layer(stairs, front, x=x, y=y), intervals(x, y), points(x, y), *named]
    said = [f"{r['policy']} {ratio(r['time_relative'])}, {r['success']['k']} of {r['success']['n']}" for r in measured]
    return drawing(figure(across.pixels, up.pixels, layers, rows, (0, label_room(names))),
                   f"Success against training time on {board['task']}: {'; '.join(said)}")  # fmt: skip


def side_by_side(places: Sequence[float]) -> list[float]:
    """Positions with those that coincide (within 3 pixels) drawn 7 pixels apart around where they belong."""
    result = list(places)
    order = sorted(range(len(places)), key=lambda i: places[i])
    while order:
        crowd = [i for i in order if places[i] - places[order[0]] < 3]
        for place, i in enumerate(sorted(crowd)):
            result[i] = places[i] + 7 * (place - (len(crowd) - 1) / 2)
        order = order[len(crowd) :]
    return result
