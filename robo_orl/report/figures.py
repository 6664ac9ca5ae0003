"""The figures. Panels are drawn about 350 pixels wide, so that a phone shows one at full size and a desktop several.

A policy keeps one shape everywhere; marks are filled where a trained critic decides and hollow where none does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from markupsafe import Markup

from robo_orl.report.numbers import percent, points, ratio
from robo_orl.report.svg import (
    SHAPES,
    Scale,
    band,
    drawing,
    line,
    log_scale,
    log_ticks,
    marker,
    nice_ticks,
    path,
    shortened,
    spread,
    tag,
    text,
)

Styles = dict[str, tuple[str, str]]  # policy -> (shape, class)


def styles(document: dict[str, Any]) -> Styles:
    """Shape and class of every policy of the report: the same in all figures and tables."""
    critic: dict[str, bool] = {}
    for board in document["boards"]:
        critic |= {row["policy"]: row["critic"] for row in board["rows"]}
    for table in document["cost"]:
        critic = {row["policy"]: bool(row["topology"]) for row in table["rows"]} | critic
    controls = {board["control"] for board in document["boards"]}
    shapes, result, used = list(SHAPES), {}, {True: 0, False: 0}
    for policy in sorted(critic, key=lambda p: (p not in controls, p)):
        kind = critic[policy]
        result[policy] = (shapes[used[kind] % len(shapes)], "critic" if kind else "free")
        used[kind] += 1
    return result


def symbols(look: Styles) -> Markup:
    """Every policy's mark once, for `key_mark` to refer to: tables repeat them hundreds of times."""
    drawn = [tag("symbol", marker(8, 8, *its), id=f"k{i}", viewBox="0 0 16 16") for i, its in enumerate(look.values())]
    return tag("svg", *drawn, width=0, height=0, aria_hidden="true", style="position:absolute")


def key_mark(policy: str, look: Styles) -> Markup:
    """A policy's mark, to stand beside its name; empty for one that no result speaks of."""
    if policy not in look:
        return Markup("")
    return tag("svg", tag("use", href=f"#k{list(look).index(policy)}"), width=16, height=16, aria_hidden="true",
               class_="key")  # fmt: skip


def interval_bar(success: dict[str, Any], kind: str) -> Markup:
    """A success rate with its interval on 0 to 100 %, small enough for a table cell."""
    x = Scale(0, 1, 4, 116)
    words = f"{100 * success['rate']:.0f} %, interval {100 * success['low']:.0f} to {100 * success['high']:.0f} %"
    return drawing(
        120, 14, words, line(4, 7, 116, 7, "track"), line(x(0.5), 4, x(0.5), 10, "track"),
        line(x(success["low"]), 7, x(success["high"]), 7, f"interval {kind}"),
        marker(x(success["rate"]), 7, "circle", kind), class_="cellbar",
    )  # fmt: skip


def stage_bars(stages: Sequence[dict[str, Any]]) -> Markup:
    """One small bar per stage: the share of all episodes that reached it."""
    width, step = 8 * len(stages) + 2, 8
    words = "; ".join(f"{s['name']} {s['k']} of {s['n']}" for s in stages)
    bars = [
        tag("rect", tag("title", f"{s['name']}: {s['k']}/{s['n']}"), x=float(1 + i * step), width=6.0,
            y=20 - 18 * s["k"] / s["n"], height=max(18 * s["k"] / s["n"], 0.5), class_="stagebar")
        for i, s in enumerate(stages)
    ]  # fmt: skip
    return drawing(width, 22, words, line(0, 20.5, width, 20.5, "track"), *bars, class_="cellbar")


def label_room(names: Iterable[str]) -> float:
    """Pixels that the longest of the names takes as a label."""
    return 6.9 * max(len(shortened(name)) for name in names)


def forest(comparisons: Sequence[dict[str, Any]], limit: float, look: Styles) -> Markup:
    """Differences in success from the control with 95 % intervals, one policy a row, on an axis of +-limit."""
    rows = sorted(comparisons, key=lambda c: -c["difference"])
    left, right, top, step = 24 + label_room(row["policy"] for row in rows), 356, 24, 27
    bottom = top + step * len(rows)
    x = Scale(-limit, limit, left, right)
    parts = [text(x(0) - 8, 12, "← worse", "tick", "end"), text(x(0) + 8, 12, "better →", "tick")]
    for value in nice_ticks(-limit, limit, 5):
        parts.append(line(x(value), top - 4, x(value), bottom, "zero" if value == 0 else "grid"))
        parts.append(text(x(value), bottom + 15, points(value), "tick", "middle"))
    for i, row in enumerate(rows):
        y = top + step * (i + 0.5)
        shape, kind = look[row["policy"]]
        tip = f"{row['policy']}: {points(row['difference'])} points [{points(row['low'])}, {points(row['high'])}]"
        strong = " decided" if row["verdict"] != "undecided" else ""
        parts += [
            text(left - 12, y + 4, shortened(row["policy"]), f"label {kind}{strong}", "end"),
            line(x(row["low"]), y, x(row["high"]), y, f"interval {kind}{strong}"),
            marker(x(row["difference"]), y, shape, kind, tip),
        ]
    words = "; ".join(f"{r['policy']} {points(r['difference'])} points, n {r['n']}, {r['verdict']}" for r in rows)
    parts.append(text((left + right) / 2, bottom + 32, "percentage points of success", "tick", "middle"))
    return drawing(360, bottom + 38, f"Difference in success from {rows[0]['against']}: {words}", *parts)


def success_multiples(trend: dict[str, Any], control: str | None, look: Styles) -> list[tuple[str, Markup]]:
    """One panel per policy: its success along the axis with intervals, over the control's dashed line and band."""
    reference = next((s for s in trend["series"] if s["policy"] == control), None)
    shown = [s for s in trend["series"] if s is not reference] or [reference]
    values = [p["x"] for s in trend["series"] for p in s["points"]]
    return [(series["policy"], _success_panel(trend, series, reference, values, look)) for series in shown]


def _success_panel(trend: dict, series: dict, reference: dict | None, values: list[float], look: Styles) -> Markup:
    x, y = log_scale(values, 40, 250), Scale(0, 1, 140, 12)
    parts = y_axis(y, (0, 0.5, 1), 36, 254, percent)
    parts += _x_axis(x, [p for s in trend["series"] for p in s["points"]], trend["axis"], 140)
    if reference and reference is not series:
        edges = [(x(p["x"]), y(p["low"]), y(p["high"])) for p in reference["points"]]
        parts += [band(edges, "band"), path([(x(p["x"]), y(p["value"])) for p in reference["points"]], "reference")]
    shape, kind = look[series["policy"]]
    parts.append(path([(x(p["x"]), y(p["value"])) for p in series["points"]], f"curve {kind}"))
    for p in series["points"]:
        parts.append(line(x(p["x"]), y(p["low"]), x(p["x"]), y(p["high"]), f"interval {kind}"))
        parts.append(marker(x(p["x"]), y(p["value"]), shape, kind, f"{p['label']}: {p['k']}/{p['n']}"))
    words = ", ".join(f"{p['label']} {p['k']} of {p['n']}" for p in series["points"])
    return drawing(262, 178, f"Success of {series['policy']}: {words}", *parts)


def y_axis(y: Scale, ticks: Sequence[float], left: float, right: float, words: Callable) -> list[Markup]:
    parts = []
    for value in ticks:
        parts.append(line(left, y(value), right, y(value), "grid"))
        parts.append(text(left - 6, y(value) + 4, words(value), "tick", "end"))
    return parts


def _x_axis(x: Scale, points: Sequence[dict[str, Any]], axis: str, bottom: float) -> list[Markup]:
    parts, last = [], -100.0
    for value, label in sorted({(p["x"], p["label"]) for p in points}):
        parts.append(line(x(value), bottom, x(value), bottom + 4, "track"))
        shown = f"{value:g}" if axis == "horizon" else label
        if x(value) - last > 7 * len(shown):
            parts.append(text(x(value), bottom + 17, shown, "tick", "middle"))
            last = x(value)
    title = "decisions until the time-out" if axis == "horizon" else "model size"
    return [*parts, text((x.start + x.end) / 2, bottom + 33, title, "tick", "middle")]


def curves(trend: dict[str, Any], look: Styles) -> Markup:
    """Several policies on logarithmic axes in one panel, named at the right edge."""
    names = [series["policy"] for series in trend["series"]]
    left, right, top, bottom = 44, 345 - label_room(names), 12, max(196, 14 * len(names))
    every = [p for s in trend["series"] for p in s["points"] if p["value"] > 0]
    x, y = log_scale([p["x"] for p in every], left, right, 1.1), log_scale([p["value"] for p in every], bottom, top)
    parts = y_axis(y, log_ticks(y.low, y.high), left, right, "{:g}".format)
    parts += _x_axis(x, every, trend["axis"], bottom)
    shown = [s | {"points": [p for p in s["points"] if p["value"] > 0]} for s in trend["series"]]
    shown = [s for s in shown if s["points"]]
    ends = [y(s["points"][-1]["value"]) for s in shown]
    for series, end, label in zip(shown, ends, spread(ends, 14, top, bottom + 10), strict=True):
        shape, kind = look.get(series["policy"], ("circle", "free"))
        places = [(x(p["x"]), y(p["value"])) for p in series["points"]]
        parts += [path(places, f"curve {kind}"), path([(places[-1][0] + 7, end), (right + 8, label)], "leader")]
        parts += [marker(*at, shape, kind, f"{p['label']}: {p['value']:.3g} (n {p['n']})")
                  for at, p in zip(places, series["points"], strict=True)]  # fmt: skip
        parts.append(text(right + 11, label + 4, shortened(series["policy"]), f"label {kind}"))
    words = [f"{s['policy']} " + ", ".join(f"{p['label']} {p['value']:.3g}" for p in s["points"]) for s in shown]
    return drawing(360, bottom + 40, f"{trend['title']}: {'; '.join(words)}", *parts)


def success_curve(board: dict[str, Any], look: Styles) -> Markup:
    """Success within d decisions: the policies of the curve that have a band, the control dashed, and the deadlines."""
    rows = [row for row in board["curve"]["rows"] if row["low"] is not None]
    decisions = [0, *board["curve"]["decisions"]]
    left, right, top, bottom = 36, 345 - label_room(row["policy"] for row in rows), 12, 196
    x, y = Scale(0, decisions[-1], left, right), Scale(0, 1, bottom, top)
    parts = y_axis(y, (0, 0.25, 0.5, 0.75, 1), left, right, percent)
    for value in nice_ticks(0, decisions[-1], 5):
        parts += [line(x(value), bottom, x(value), bottom + 4, "track"),
                  text(x(value), bottom + 17, f"{value:g}", "tick", "middle")]  # fmt: skip
    parts.append(text((left + right) / 2, bottom + 33, "decisions allowed", "tick", "middle"))
    parts += [line(x(t["decisions"]), top, x(t["decisions"]), bottom, "deadline") for t in board["deadlines"]]
    rates = [[0.0, *(k / row["n"] for k in row["k"])] for row in rows]
    ends = [y(rate[-1]) for rate in rates]
    for row, rate, end, label in zip(rows, rates, ends, spread(ends, 14, top, bottom), strict=True):
        shape, kind = look[row["policy"]]
        is_control = row["policy"] == board["control"] and len(rows) > 2  # of two rows it is the best without a critic
        if not is_control:
            edges = zip(decisions[1:], row["low"], row["high"], strict=True)
            parts.append(band([(x(d), y(low), y(high)) for d, low, high in edges], f"band {kind}"))
        curve = [(x(d), y(value)) for d, value in zip(decisions, rate, strict=True)]
        parts += [path(curve, "reference" if is_control else f"curve {kind}"),
                  path([(right + 2, end), (right + 8, label)], "leader"),
                  marker(right, end, shape, kind, row["policy"]),
                  text(right + 11, label + 4, shortened(row["policy"]), f"label {kind}")]  # fmt: skip
    within = [
        ", ".join(f"{k} within {d}" for d, k in zip(decisions[5::5], row["k"][4::5], strict=True)) for row in rows
    ]
    words = "; ".join(f"{row['policy']}, of {row['n']}: {said}" for row, said in zip(rows, within, strict=True))
    return drawing(360, bottom + 40, f"Success within d decisions on {board['task']}: {words}", *parts)


def tradeoff(board: dict[str, Any], look: Styles, span: Sequence[float]) -> Markup | None:
    """Success against training time relative to the control; the line joins what no other policy beats in both."""
    rows = [row for row in board["rows"] if row["time_relative"]]
    if len(rows) < 2:
        return None
    left, right, top, bottom = 36, 345 - label_room(row["policy"] for row in rows), 12, max(196, 14 * len(rows))
    x, y = log_scale([*span, 1.0], left + 8, right - 8, 1.06), Scale(0, 1, bottom, top)
    parts = y_axis(y, (0, 0.25, 0.5, 0.75, 1), left, right, percent)
    for value in log_ticks(x.low, x.high, 5):
        parts += [line(x(value), bottom, x(value), bottom + 4, "track"),
                  text(x(value), bottom + 17, f"{value:g}×", "tick", "middle")]  # fmt: skip
    title = f"training time relative to {board['control']}"
    parts.append(text((left + right) / 2, bottom + 33, title, "tick", "middle"))
    best = sorted((row for row in rows if row["policy"] in board["pareto"]), key=lambda row: row["time_relative"])
    parts.append(path(_steps([(x(r["time_relative"]), y(r["success"]["rate"])) for r in best], right), "front"))
    heights, across = [y(row["success"]["rate"]) for row in rows], _side_by_side([x(r["time_relative"]) for r in rows])
    for row, at, height, label in zip(rows, across, heights, spread(heights, 14, top, bottom), strict=True):
        (shape, kind), s = look[row["policy"]], row["success"]
        parts += [
            path([(at + 7, height), (right + 8, label)], "leader"),
            line(at, y(s["low"]), at, y(s["high"]), f"interval {kind}"),
            marker(at, height, shape, kind, f"{row['policy']}: {row['time_relative']:.2f}×, {s['k']}/{s['n']}"),
            text(right + 11, label + 4, shortened(row["policy"]), f"label {kind}"),
        ]
    words = [f"{r['policy']} {ratio(r['time_relative'])}, {r['success']['k']} of {r['success']['n']}" for r in rows]
    return drawing(360, bottom + 40, f"Success against training time on {board['task']}: {'; '.join(words)}", *parts)


def _side_by_side(values: Sequence[float]) -> list[float]:
    """Positions with those that coincide (within 3 pixels) drawn 7 pixels apart around where they belong."""
    result = list(values)
    order = sorted(range(len(values)), key=lambda i: values[i])
    while order:
        crowd = [i for i in order if values[i] - values[order[0]] < 3]
        for place, i in enumerate(sorted(crowd)):
            result[i] = values[i] + 7 * (place - (len(crowd) - 1) / 2)
        order = order[len(crowd) :]
    return result


def _steps(points: list[tuple[float, float]], right: float) -> list[tuple[float, float]]:
    """The staircase of a Pareto front: level until the next policy that succeeds more often."""
    stairs: list[tuple[float, float]] = []
    for point in points:
        if stairs:
            stairs.append((point[0], stairs[-1][1]))
        stairs.append(point)
    return [*stairs, (right, stairs[-1][1])] if stairs else []
