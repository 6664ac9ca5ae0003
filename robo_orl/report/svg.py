"""Inline SVG by hand: scales, axes and marks.

Why not a plotting library: text stays text (searchable, readable by a screen reader), colours are CSS classes (dark
mode and print follow the page), and a figure costs a few kilobytes. plotly would put 4 MB into every report, and
matplotlib would bake colours and glyph outlines in.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup, escape


def tag(name: str, /, *children: Any, **attributes: Any) -> Markup:
    """One element; `class_` becomes class, `_` in a name becomes `-`, numbers are rounded to a tenth of a pixel."""
    shown = [(key.rstrip("_").replace("_", "-"), value) for key, value in attributes.items() if value is not None]
    text = "".join(f' {key}="{escape(_short(value))}"' for key, value in shown)
    inner = Markup("").join(child if isinstance(child, Markup) else escape(child) for child in children)
    return Markup(f"<{name}{text}>{inner}</{name}>")


def _short(value: Any) -> Any:
    return f"{value:.1f}".removesuffix(".0") if isinstance(value, float) else value


@dataclass(frozen=True)
class Scale:
    """Values low..high to pixels start..end, linear or logarithmic."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        low, high, value = (math.log(v) if self.log else v for v in (self.low, self.high, value))
        share = (value - low) / (high - low) if high > low else 0.5
        return self.start + min(max(share, -0.02), 1.02) * (self.end - self.start)


def log_scale(values: Sequence[float], start: float, end: float, room: float = 1.25) -> Scale:
    """A logarithmic scale with a little room around positive `values`."""
    return Scale(min(values) / room, max(values) * room, start, end, log=True)


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


def text(x: float, y: float, words: str, class_: str = "label", anchor: str = "start") -> Markup:
    """A line of text at its baseline."""
    return tag("text", words, x=float(x), y=float(y), class_=class_, text_anchor=None if anchor == "start" else anchor)


def line(x1: float, y1: float, x2: float, y2: float, class_: str) -> Markup:
    """A straight stroke."""
    return tag("line", x1=float(x1), y1=float(y1), x2=float(x2), y2=float(y2), class_=class_)


def path(points: Sequence[tuple[float, float]], class_: str) -> Markup:
    """A polyline through `points`."""
    return tag("polyline", points=" ".join(f"{x:.1f},{y:.1f}" for x, y in points), class_=class_)


def band(points: Sequence[tuple[float, float, float]], class_: str) -> Markup:
    """The area between the lower and the upper edge of (x, low, high) points."""
    edge = [(x, high) for x, _, high in points] + [(x, low) for x, low, _ in reversed(points)]
    return tag("polygon", points=" ".join(f"{x:.1f},{y:.1f}" for x, y in edge), class_=class_)


def shortened(name: str, most: int = 22) -> str:
    """A name with its middle left out where it is longer than `most`: policies differ at the ends."""
    return name if len(name) <= most else f"{name[: most - 10]}…{name[-9:]}"


SHAPES = {
    "circle": "M-4.5 0a4.5 4.5 0 1 0 9 0a4.5 4.5 0 1 0 -9 0Z",
    "square": "M-4 -4H4V4H-4Z",
    "diamond": "M0 -5.6L5.6 0L0 5.6L-5.6 0Z",
    "up": "M0 -5.2L5.2 4H-5.2Z",
    "down": "M0 5.2L5.2 -4H-5.2Z",
    "plus": "M-1.8 -5H1.8V-1.8H5V1.8H1.8V5H-1.8V1.8H-5V-1.8H-1.8Z",
    "hexagon": "M-5 0L-2.5 -4.4H2.5L5 0L2.5 4.4H-2.5Z",
    "left": "M-5.2 0L4 5.2V-5.2Z",
    "right": "M5.2 0L-4 5.2V-5.2Z",
    "cross": "M-5 -3L-3 -5L0 -2L3 -5L5 -3L2 0L5 3L3 5L0 2L-3 5L-5 3L-2 0Z",
    "bar": "M-5.5 -2H5.5V2H-5.5Z",
    "pillar": "M-2 -5.5H2V5.5H-2Z",
}


def marker(x: float, y: float, shape: str, class_: str, tip: str = "") -> Markup:
    """A mark that identifies a policy by its shape, not by its colour alone; `tip` shows on hover."""
    inside = tag("title", tip) if tip else ""
    return tag("path", inside, d=SHAPES[shape], transform=f"translate({x:.1f} {y:.1f})", class_=f"mark {class_}")


def drawing(width: float, height: float, words: str, *children: Markup, class_: str = "") -> Markup:
    """A figure; `words` is its text alternative."""
    return tag(
        "svg", *children, viewBox=f"0 0 {width:g} {height:g}", width=float(width), height=float(height), role="img",
        aria_label=words, class_=class_ or None,
    )  # fmt: skip


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
