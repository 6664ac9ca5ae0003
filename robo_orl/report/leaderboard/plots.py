"""The figures of the leaderboard as Vega-Lite specifications over the rows of its rankings (table.py).

The page gives each the rows that its filters leave; fronts and lines are computed from those by the specification, so
that what is drawn is what is shown.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from robo_orl.report.layers import CRITIC, PERCENT, RATE
from robo_orl.report.vega import Spec, specification

ROWS = {"name": "rows"}  # given by the page


@dataclass(frozen=True)
class Figure:
    """A figure with its caption. fields: the columns of its numbers as CSV; needs: a field that some row must have."""

    name: str
    title: str
    caption: str
    spec: Spec
    fields: tuple[str, ...]
    needs: str

    @property
    def file(self) -> str:
        """The data file that holds its numbers."""
        return f"{self.name}.csv.gz" if self.name in ("profiles", "curves", "learning") else "results.csv.gz"


def tooltip(*more: tuple[str, str, str | None]) -> list[dict[str, Any]]:
    """What hovering over a row shows: who, where, and the counts."""
    fields = [("policy", "policy", None), ("size", "size", None), ("board", "on", None), ("shown", "success", None),
              ("interval", "95 %", None), *more, ("trained", "trainings", None)]  # fmt: skip
    return [
        {"field": field, "title": title, "type": "nominal" if style is None else "quantitative",
         **({"format": style} if style else {})}
        for field, title, style in fields
    ]  # fmt: skip


def against_cost(name: str, title: str, axis: str, field: str, style: str, more: str = "") -> Figure:
    """Success against a cost, a panel per ranking, with the front that no other row beats in both."""
    x = {"field": field, "type": "quantitative", "title": axis, "scale": {"type": "log", "nice": False, "padding": 14},
         "axis": {"format": style, "tickCount": 4, "labelOverlap": True}}  # fmt: skip
    tip = tooltip((field, axis, style))
    front = {"filter": "datum.front"}
    order = [{"field": field}, {"field": "rate", "order": "descending"}]
    layers = [
        {"transform": [front], "mark": {"type": "line", "interpolate": "step-after", "stroke": "var(--muted)",
                                        "strokeWidth": 1.2, "opacity": 0.8},
         "encoding": {"x": x, "y": RATE}},
        {"mark": {"type": "rule", "opacity": 0.35},
         "encoding": {"x": x, "y": {"field": "low", "type": "quantitative", **PERCENT}, "y2": {"field": "high"},
                      "color": CRITIC}},
        {"mark": {"type": "point", "filled": True, "size": 62, "opacity": 1, "strokeWidth": 1.6},
         "encoding": {"x": x, "y": RATE, "color": CRITIC,
                      "shape": {"condition": {"test": "datum.control", "value": "diamond"}, "value": "circle"},
                      "tooltip": tip}},
        {"transform": [front, {"window": [{"op": "row_number", "as": "turn"}], "groupby": ["board"], "sort": order}],
         "mark": {"type": "text", "limit": 400, "dy": {"expr": "datum.turn % 2 ? -10 : 13"},  # neighbours do not meet
                  "align": {"expr": "datum.right ? 'right' : 'left'"},
                                        "dx": {"expr": "datum.right ? -5 : 5"}},
         "encoding": {"x": x, "y": RATE, "text": {"field": "policy"},
                      "color": CRITIC}},
    ]  # fmt: skip
    transform = [
        {"filter": f"isValid(datum.{field}) && datum.{field} > 0"},
        {"window": [{"op": "max", "field": "rate", "as": "best"}], "frame": [None, 0], "ignorePeers": True,
         "groupby": ["board"], "sort": order},
        {"window": [{"op": "lag", "field": "best", "as": "before"}], "groupby": ["board"], "sort": order},
        {"calculate": "!isValid(datum.before) || datum.rate > datum.before", "as": "front"},
        {"joinaggregate": [{"op": "min", "field": field, "as": "least"}, {"op": "max", "field": field, "as": "most"}],
         "groupby": ["board"]},
        {"calculate": f"(log(datum.{field}) - log(datum.least)) / (log(datum.most / datum.least) || 1) > 0.6",
         "as": "right"},
    ]  # fmt: skip
    fields = ("board", "policy", "size", field, "k", "n", "rate", "low", "high")
    return Figure(name, title, more.strip(), _panels(layers, transform), fields, field)


def _panels(layers: list[Spec], transform: list[Spec]) -> Spec:
    return specification(
        ROWS, transform=transform, columns=2, spacing={"row": 84, "column": 52}, bounds="flush",
        facet={"field": "board", "type": "nominal", "title": None, "sort": None},
        spec={"width": 330, "height": 210, "layer": layers},
        resolve={"scale": {"x": "independent"}},
    )  # fmt: skip


def along(name: str, title: str, axis: str, field: str, group: str, line: str, caption: str) -> Figure:
    """Success along the horizon or the size: a panel per group of rankings, a line per value of `line`."""
    x = {"field": field, "type": "quantitative", "title": axis, "scale": {"type": "log", "nice": False, "padding": 14},
         "axis": {"format": "~s", "tickCount": 4, "labelOverlap": True}}  # fmt: skip
    tip = tooltip((field, axis, "~s"))
    layers = [
        {"mark": {"type": "line", "opacity": 0.75, "strokeWidth": 1.6},
         "encoding": {"x": x, "y": RATE, "detail": {"field": line}, "color": CRITIC,
                      "strokeDash": {"condition": {"test": "datum.control", "value": [4, 3]}, "value": [1, 0]}}},
        {"mark": {"type": "rule", "opacity": 0.3},
         "encoding": {"x": x, "y": {"field": "low", "type": "quantitative", **PERCENT}, "y2": {"field": "high"},
                      "color": CRITIC}},
        {"mark": {"type": "point", "filled": True, "size": 55, "opacity": 1},
         "encoding": {"x": x, "y": RATE, "color": CRITIC, "tooltip": tip}},
        {"transform": [{"window": [{"op": "rank", "as": "last"}], "groupby": [group, line],
                        "sort": [{"field": field, "order": "descending"}]}, {"filter": "datum.last == 1"},
                       {"window": [{"op": "row_number", "as": "height"}], "groupby": [group, "critic"],
                        "sort": [{"field": "rate", "order": "descending"}]},
                       {"filter": "datum.height == 1 || datum.control"}],
         "mark": {"type": "text", "align": "left", "dx": 8, "limit": 400, "fontSize": 11},
         "encoding": {"x": x, "y": RATE, "text": {"field": "policy"}, "color": CRITIC}},
    ]  # fmt: skip
    transform = [
        {"filter": f"isValid(datum.{field}) && datum.{field} > 0"},
        {"joinaggregate": [{"op": "distinct", "field": field, "as": "places"}], "groupby": [group, line]},
        {"filter": "datum.places > 1"},
    ]
    spec = _panels(layers, transform)
    spec["facet"]["field"] = group
    spec["spec"]["width"] = 300
    return Figure(name, title, caption, spec, (group, "policy", field, "k", "n", "rate", "low", "high"), field)


def profiles() -> Figure:
    """Performance profiles: the share of runs whose success is at least tau."""
    encoding = {
        "x": {"field": "tau", "type": "quantitative", "title": "success of at least", "axis": {"format": "%"}},
        "y": {"field": "share", "type": "quantitative", "axis": {"format": "%", "title": "share of runs"},
              "scale": {"domain": [0, 1]}},
        "detail": {"field": "policy"}, "color": CRITIC,
        "tooltip": [{"field": "policy", "title": "policy"},
                    {"field": "tau", "title": "success of at least", "type": "quantitative", "format": ".0%"},
                    {"field": "share", "title": "share of runs", "type": "quantitative", "format": ".0%"}],
    }  # fmt: skip
    spec = specification(
        {"name": "profiles"}, width=420, height=230,
        layer=[{"mark": {"type": "line", "interpolate": "step-before", "opacity": 0.7, "strokeWidth": 1.6},
                "encoding": encoding},
               {"mark": {"type": "point", "size": 60, "opacity": 0}, "encoding": encoding}],
    )  # fmt: skip
    caption = (
        "The share of a policy's runs (a training on a task) whose success is at least as high as the value below: a "
        "curve further up is better, one that stays up to the right is reliable. Hover to see whose curve it is."
    )
    return Figure(
        "profiles", "Performance profiles", caption, spec, ("suite", "policy", "size", "tau", "share"), "share"
    )


def curves() -> Figure:
    """Success within d decisions of one policy beside the control, a panel per ranking."""
    layers = [
        {"mark": {"type": "line", "strokeWidth": 1.8},
         "encoding": {
             "x": {"field": "decisions", "type": "quantitative", "title": "decisions allowed"},
             "y": {"field": "share", "type": "quantitative", **PERCENT}, "detail": {"field": "policy"},
             "color": {"condition": {"test": "datum.own", "value": "var(--critic)"}, "value": "var(--muted)"},
             "strokeDash": {"condition": {"test": "datum.own", "value": [1, 0]}, "value": [4, 3]}}},
        {"mark": {"type": "point", "size": 50, "opacity": 0},
         "encoding": {
             "x": {"field": "decisions", "type": "quantitative"}, "y": {"field": "share", "type": "quantitative"},
             "tooltip": [{"field": name, "type": "nominal"} for name in ("policy", "decisions", "k", "n")]}},
    ]  # fmt: skip
    caption = "The share of episodes solved within so many decisions. Dashed: the control."
    return Figure("curves", "Success within d decisions", caption, _panels(layers, []),
                  ("board", "policy", "decisions", "k", "n"), "share")  # fmt: skip


def learning() -> Figure:
    """Success on the way, a panel per ranking and a line per training."""
    encoding = {
        "x": {"field": "step", "type": "quantitative", "title": "training steps", "axis": {"format": "~s"}},
        "y": {"field": "share", "type": "quantitative", **PERCENT}, "detail": {"field": "seed"},
        "tooltip": [{"field": name, "type": "nominal"} for name in ("seed", "step", "k", "n")],
    }  # fmt: skip
    layers = [
        {"mark": {"type": "line", "strokeWidth": 1.6, "stroke": "var(--critic)", "opacity": 0.8}, "encoding": encoding},
        {"mark": {"type": "point", "filled": True, "size": 40, "fill": "var(--critic)"}, "encoding": encoding},
    ]
    caption = (
        "Episodes solved on start states for tuning, a line per training. The last checkpoint is the result, whatever "
        "the curve says."
    )
    fields = ("board", "policy", "seed", "step", "k", "n")
    return Figure("learning", "Success on the way", caption, _panels(layers, []), fields, "share")


def figures() -> list[Figure]:
    """Every figure of the front page, in its order."""
    clock = " Where a ratio was not measured in turns with the control it is by the cells' own clocks: indicative."
    return [
        along("horizon", "Success against the horizon", "decisions until the time-out", "horizon", "line_of_tasks",
              "line", "A line per policy over tasks of one family that differ in their limit of decisions. Dashed: "
              "the control. Names: the control, and the highest with and without a critic; the others show on hover. "
              "Bars are 95 % intervals."),
        along("size", "Success against the size of the model", "parameters of the backbone", "backbone",
              "line_of_sizes", "policy", "A line per policy on one task over sizes of its backbone. Bars are 95 % "
              "intervals."),
        against_cost("memory", "Success against memory", "peak memory of training, relative to the control",
                     "memory_relative", ".3~f", clock),
        against_cost("step_time", "Success against the time of a training step", "median seconds of a training step",
                     "step_s", ".2~r", " Seconds are those of the cells' own clocks, beside whatever else ran on the "
                     "machine: indicative, and no comparison across machines."),
        against_cost("training_time", "Success against training time", "training time relative to the control",
                     "time_relative", ".3~f", clock),
        against_cost("latency", "Success against inference latency", "median milliseconds of a decision",
                     "decision_ms", ".2~r", " Measured beside the training step, on one observation."),
        profiles(),
    ]  # fmt: skip
