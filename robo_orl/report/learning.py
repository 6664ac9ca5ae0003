"""Learning curves of records: what policies do on the way, against steps and against time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from markupsafe import Markup

from robo_orl.report.figures import plot_width
from robo_orl.report.layers import (
    Look,
    Span,
    band,
    curve,
    figure,
    label_room,
    names_at_the_edge,
    percent,
    points,
    styled,
)
from robo_orl.report.vega import drawing
from robo_orl.results.intervals import wilson
from robo_orl.results.record import CurvePoint, Record

METRICS = {
    "success": "Success on start states for tuning",
    "loss": "Held-out loss of the policy",
    "value_error": "Value error, mean |value − return|",
}
AXES = {"step": "training steps", "wall_s": "seconds of training, in each cell's own run"}


@dataclass(frozen=True)
class LearningPoint:
    """The trainings of a policy at one step: the mean over them, and of success k of n with its 95 % interval."""

    step: int
    wall_s: float
    value: float
    trainings: int
    k: int | None = None
    n: int | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class LearningSeries:
    """One policy."""

    policy: str
    points: list[LearningPoint]


@dataclass(frozen=True)
class LearningPanel:
    """One metric of one board."""

    task: str
    regime: str
    size: str
    metric: str
    title: str
    series: list[LearningSeries]


def learning_panels(records: Sequence[Record]) -> list[LearningPanel]:
    """A panel per board and metric of the records that have a learning curve; none without any."""
    boards: dict[tuple[str, str, str], dict[str, list[Record]]] = defaultdict(lambda: defaultdict(list))
    for record in records:
        if record.curve is not None:
            boards[record.task.name, record.regime, record.size][record.policy.name].append(record)
    panels = []
    for (task, regime, size), policies in sorted(boards.items()):
        for metric, title in _metrics(record for own in policies.values() for record in own).items():
            series = [LearningSeries(name, points_of(own, metric)) for name, own in sorted(policies.items())]
            shown = [one for one in series if one.points]
            if shown:
                panels.append(LearningPanel(task, regime, size, metric, title, shown))
    return panels


def _metrics(records: Iterable[Record]) -> dict[str, str]:
    """Metric -> title: those of METRICS, and after the policy's loss the other terms of the losses."""
    terms = {term for record in records for point in record.curve.points for term in point.losses or ()}
    others = {term: f"Held-out {term.replace('/', ' ')}" for term in sorted(terms - {"loss", "actor/loss"})}
    return {name: METRICS[name] for name in ("success", "loss")} | others | {"value_error": METRICS["value_error"]}


def points_of(records: Sequence[Record], metric: str) -> list[LearningPoint]:
    """The points of one policy by step, its trainings together."""
    steps: dict[int, list[CurvePoint]] = defaultdict(list)
    for record in records:
        for point in record.curve.points:
            if value_of(point, metric) is not None:
                steps[point.step].append(point)
    return [_point(step, steps[step], metric) for step in sorted(steps)]


def value_of(point: CurvePoint, metric: str) -> float | None:
    """The value of a metric at a point, None where it was not measured.

    loss: the policy's own, and the sum of an objective that names none; other names are terms of the losses.
    """
    if metric == "success":
        return point.success.rate if point.success else None
    if metric == "value_error":
        return point.value_errors.mean_absolute if point.value_errors else None
    losses = point.losses or {}
    return losses.get("actor/loss", losses.get("loss")) if metric == "loss" else losses.get(metric)


def _point(step: int, points: list[CurvePoint], metric: str) -> LearningPoint:
    wall, value = fmean(p.wall_s for p in points), fmean(value_of(p, metric) for p in points)
    if metric != "success":
        return LearningPoint(step, wall, value, len(points))
    k, n = sum(p.success.k for p in points), sum(p.success.n for p in points)
    return LearningPoint(step, wall, k / n, len(points), k, n, *wilson(k, n))


def learning_figure(panel: dict[str, Any], axis: str, look: Look) -> Markup:
    """A panel against steps or time: a line per policy, of success with its interval as a band."""
    ends = None if panel["metric"] == "success" else _ends(panel)
    return curves_figure(panel["title"], panel["series"], axis, AXES[axis], look, ends)


def curves_figure(
    title: str,
    series: Sequence[dict[str, Any]],
    axis: str,
    axis_title: str,
    look: Look,
    ends: tuple[float, float] | None = None,
) -> Markup:
    """A line per series of {policy, points} against the key `axis` of its points. ends: of the vertical axis; None: it
    is a rate, with its interval as a band."""
    every = [point for one in series for point in one["points"]]
    across = Span(0, max(point[axis] for point in every), plot_width(one["policy"] for one in series))
    success = ends is None
    up = Span(*(ends or (0.0, 1.0)), max(190.0, 14.0 * len(series)))
    x = across.encoding(axis, axis_title, grid=False)
    y = percent(up, "value") if success else up.encoding("value", None, format="~g", domain=False, ticks=False)
    rows = [styled({**point, "tip": _tip(point)}, one["policy"], look) for one in series for point in one["points"]]
    names = [styled({"x": one["points"][-1][axis], "y": one["points"][-1]["value"]}, one["policy"], look)
             for one in series]  # fmt: skip
    layers = [*([band(x, y)] if success else []), curve(x, y), points(x, y), *names_at_the_edge(names, across, up)]
    words = [f"{one['policy']} " + ", ".join(_tip(point) for point in one["points"]) for one in series]
    room = label_room(one["policy"] for one in series)
    return drawing(figure(across.pixels, up.pixels, layers, rows, (0, room)),
                   f"{title} against {axis_title}: {'; '.join(words)}")  # fmt: skip


def _ends(panel: dict[str, Any]) -> tuple[float, float]:
    """The ends of the vertical axis: an error begins at 0, a loss has no zero with a meaning."""
    values = [point["value"] for one in panel["series"] for point in one["points"]]
    if panel["metric"] == "value_error":
        return 0.0, max(values) or 1.0
    room = 0.1 * (max(values) - min(values)) or 0.1 * abs(values[0]) or 1.0
    return min(values) - room, max(values) + room


def _tip(point: dict[str, Any]) -> str:
    if point["k"] is not None:
        return f"step {point['step']}: {point['k']} of {point['n']}"
    return f"step {point['step']}: {point['value']:.3g}"
