"""The parts that figures are made of, as pieces of Vega-Lite specifications: axes, marks, intervals, bands, names.

The suite report, the leaderboard and the documentation compose the same parts, so that there is one look. A policy is
filled and orange where a trained critic has a say, hollow and blue where none has.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from robo_orl.report.vega import Spec, specification, values

Look = dict[str, tuple[str, bool]]  # policy -> (its shape, whether a trained critic has a say)

SHAPES = {  # in units of a quarter of a mark's pixels, as Vega takes them
    "circle": "M-1.12 0a1.12 1.12 0 1 0 2.24 0a1.12 1.12 0 1 0 -2.24 0Z",
    "square": "M-1 -1H1V1H-1Z",
    "diamond": "M0 -1.4L1.4 0L0 1.4L-1.4 0Z",
    "up": "M0 -1.3L1.3 1H-1.3Z",
    "down": "M0 1.3L1.3 -1H-1.3Z",
    "plus": "M-.45 -1.25H.45V-.45H1.25V.45H.45V1.25H-.45V.45H-1.25V-.45H-.45Z",
    "hexagon": "M-1.25 0L-.62 -1.1H.62L1.25 0L.62 1.1H-.62Z",
    "left": "M-1.3 0L1 1.3V-1.3Z",
    "right": "M1.3 0L-1 1.3V-1.3Z",
    "cross": "M-1.25 -.75L-.75 -1.25L0 -.5L.75 -1.25L1.25 -.75L.5 0L1.25 .75L.75 1.25L0 .5L-.75 1.25L-1.25 .75L-.5 0Z",
    "bar": "M-1.37 -.5H1.37V.5H-1.37Z",
    "pillar": "M-.5 -1.37H.5V1.37H-.5Z",
}

PERCENT = {"scale": {"domain": [0, 1]}, "axis": {"format": "%", "title": None, "values": [0, 0.25, 0.5, 0.75, 1]}}
RATE = {"field": "rate", "type": "quantitative", **PERCENT}
CRITIC = {"field": "critic", "type": "nominal", "legend": None,
          "scale": {"domain": [True, False], "range": ["var(--critic)", "var(--free)"]}}  # fmt: skip
FILL = {"condition": {"test": "datum.critic", "value": "var(--critic)"}, "value": "var(--paper)"}
STROKE = {"condition": {"test": "datum.critic", "value": "var(--critic)"}, "value": "var(--free)"}
SHAPE = {"field": "shape", "type": "nominal", "legend": None,
         "scale": {"domain": list(SHAPES), "range": list(SHAPES.values())}}  # fmt: skip
GAP = 14  # pixels between two names


@dataclass(frozen=True)
class Span:
    """An axis of known ends and length in pixels: what a figure must know to set names beside marks."""

    low: float
    high: float
    pixels: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """Pixels from the low end."""
        low, high, value = (math.log(v) if self.log else v for v in (self.low, self.high, value))
        return self.pixels * (value - low) / (high - low) if high > low else self.pixels / 2

    def value(self, pixels: float) -> float:
        """The value at some pixels from the low end."""
        share = pixels / self.pixels
        if self.log:
            return math.exp(math.log(self.low) + share * math.log(self.high / self.low))
        return self.low + share * (self.high - self.low)

    def ticks(self, most: int = 5) -> list[float]:
        """At most about `most` round values on it."""
        return log_ticks(self.low, self.high, most) if self.log else nice_ticks(self.low, self.high, most)

    def encoding(self, field: str, title: str | None = None, **axis: Any) -> Spec:
        """The position channel of a field along it; axis: properties of the axis."""
        axis.setdefault("values", self.ticks())
        scale = {"domain": [self.low, self.high], "nice": False, "zero": False, **({"type": "log"} if self.log else {})}
        return {"field": field, "type": "quantitative", "scale": scale,
                "axis": {"title": title, "labelOverlap": "greedy", **axis}}  # fmt: skip


def nice_ticks(low: float, high: float, most: int = 5) -> list[float]:
    """At most about `most` round values within low..high."""
    raw = (high - low) / max(most - 1, 1)
    unit = 10 ** math.floor(math.log10(raw)) if raw > 0 else 1.0
    step = next(unit * m for m in (1, 2, 2.5, 5, 10) if unit * m >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(i * step, 10) for i in range(first, math.floor(high / step + 1e-9) + 1)]


def log_ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Round values within low..high for a logarithmic axis: as fine as fits; evenly spaced over a short span."""
    lowest, highest = math.floor(math.log10(low)), math.ceil(math.log10(high))
    for mantissas in ((1, 1.5, 2, 3, 5, 7), (1, 2, 5), (1, 3), (1,)):
        ticks = [m * 10.0**e for e in range(lowest, highest + 1) for m in mantissas if low <= m * 10.0**e <= high]
        if len(ticks) <= most:
            return ticks if len(ticks) > 1 else nice_ticks(low, high, 4)
    return ticks[:: math.ceil(len(ticks) / most)]


def log_span(numbers: Iterable[float], pixels: float, room: float = 1.25) -> Span:
    """A logarithmic axis with a little room around positive numbers."""
    numbers = list(numbers)
    return Span(min(numbers) / room, max(numbers) * room, pixels, log=True)


def rate_span(pixels: float) -> Span:
    """The axis of a rate."""
    return Span(0.0, 1.0, pixels)


def percent(span: Span, field: str = "rate", ticks: Sequence[float] = (0, 0.25, 0.5, 0.75, 1)) -> Spec:
    """The vertical channel of a rate, in percent."""
    return span.encoding(field, None, values=list(ticks), labelExpr="100 * datum.value", domain=False, ticks=False)


def styled(row: Mapping[str, Any], policy: str, look: Look) -> dict[str, Any]:
    """A row of a figure with the shape and kind of its policy."""
    shape, critic = look.get(policy, ("circle", False))
    return {**row, "policy": policy, "shape": shape, "critic": critic}


def layer(mark: str | Spec, rows: Sequence[Mapping[str, Any]] | None = None, **encoding: Any) -> Spec:
    """One layer; rows: its own data, else the figure's."""
    return {"mark": mark, "encoding": encoding} | ({} if rows is None else {"data": values(rows)})


def points(x: Spec, y: Spec) -> Spec:
    """The marks of policies, whose "tip" shows on hover."""
    mark = {"type": "point", "size": 64, "opacity": 1, "strokeWidth": 1.7}
    return layer(mark, x=x, y=y, fill=FILL, stroke=STROKE, shape=SHAPE, description={"field": "tip"})


def curve(x: Spec, y: Spec, rows: Sequence[Mapping[str, Any]] | None = None) -> Spec:
    """A line per policy."""
    return layer({"type": "line", "strokeWidth": 1.7}, rows, x=x, y=y, detail={"field": "policy"}, stroke=STROKE)


def reference(x: Spec, y: Spec, rows: Sequence[Mapping[str, Any]]) -> Spec:
    """The dashed line of what the others are seen against."""
    mark = {"type": "line", "stroke": "var(--muted)", "strokeWidth": 1.4, "strokeDash": [4, 3]}
    return layer(mark, rows, x=x, y=y)


def band(x: Spec, y: Spec, rows: Sequence[Mapping[str, Any]] | None = None) -> Spec:
    """The area between "low" and "high" of every policy."""
    fill = {"condition": {"test": "datum.critic", "value": "var(--critic)"}, "value": "var(--free)"}
    return layer({"type": "area", "opacity": 0.13}, rows, x=x, y={**y, "field": "low"}, y2={"field": "high"},
                 detail={"field": "policy"}, fill=fill)  # fmt: skip


def intervals(x: Spec, y: Spec, rows: Sequence[Mapping[str, Any]] | None = None) -> Spec:
    """An upright bar from "low" to "high"."""
    mark = {"type": "rule", "strokeWidth": 1.8, "strokeCap": "round"}
    return layer(mark, rows, x=x, y={**y, "field": "low"}, y2={"field": "high"}, stroke=STROKE)


def names_at_the_edge(
    ends: Sequence[Mapping[str, Any]], across: Callable[[float], float], height: Span, beyond: float = 0.0
) -> list[Spec]:
    """The names of policies right of a figure, apart from each other, each joined to the end of its line.

    ends: styled rows with "x" and "y" in values, and "name" where it is more than the policy's; across: x -> pixels;
    height: the vertical axis. beyond: pixels that the names stand right of, where a line runs on behind the last end.
    """
    tops = [height.pixels - height(row["y"]) for row in ends]
    right = max(beyond, *(across(row["x"]) for row in ends))
    rows = [
        {
            **row,
            "name": row.get("name", row["policy"]),
            "from": across(row["x"]) + 6,
            "to": right + 15,
            "end": top,
            "label": label,
        }
        for row, top, label in zip(ends, tops, spread(tops, GAP, 0, height.pixels), strict=True)
    ]
    pixel = {"type": "quantitative", "scale": None}
    leader = {"type": "rule", "stroke": "var(--track)", "strokeDash": [1, 3]}
    text = {"type": "text", "align": "left", "baseline": "middle", "fontSize": 12, "limit": 0}
    return [
        layer(leader, rows, x={"field": "from", **pixel}, x2={"field": "to"}, y={"field": "end", **pixel},
              y2={"field": "label"}),
        layer({**text, "dx": 3}, rows, x={"field": "to", **pixel}, y={"field": "label", **pixel},
              text={"field": "name"}, fill=STROKE),
    ]  # fmt: skip


def with_n(policy: str, n: int, others: Sequence[int]) -> str:
    """A policy's name, with its number of episodes where that is not the most common one of `others`."""
    usual = max(set(others), key=lambda count: (others.count(count), count))
    return policy if n == usual else f"{policy} (n = {n})"


def figure(
    width: float,
    height: float,
    layers: Sequence[Spec],
    rows: Sequence[Mapping[str, Any]] = (),
    names: tuple[float, float] = (0, 0),
) -> Spec:
    """A whole figure of layers over `rows`. names: pixels of the names left and right of it, which a reader's font may
    draw a tenth wider than the one that the figure was laid out with."""
    left, right = (5 + 0.1 * room for room in names)
    padding = {"left": left, "right": right, "top": 5, "bottom": 5}
    return specification(values(rows), width=width, height=height, padding=padding, layer=list(layers))


def label_room(names: Iterable[str]) -> float:
    """Pixels that the longest of the names takes as a label."""
    return 6.9 * max(map(len, names))


def spread(positions: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Positions nearest to `positions` that are at least `gap` apart within low..high: labels that do not overlap."""
    order = sorted(range(len(positions)), key=lambda i: positions[i])
    placed = [min(max(positions[i], low), high) for i in order]
    for i in range(1, len(placed)):
        placed[i] = max(placed[i], placed[i - 1] + gap)
    ceiling = high
    for i in reversed(range(len(placed))):
        placed[i] = min(placed[i], ceiling)
        ceiling = placed[i] - gap
    result = [0.0] * len(positions)
    for position, i in zip(placed, order, strict=True):
        result[i] = position
    return result
