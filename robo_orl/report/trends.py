"""Trends with the horizon and with the size of the model: series over the boards, exponents where points suffice."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from robo_orl.report.boards import Board, PolicyRow
from robo_orl.report.ceilings import GainShare, SampleOrder, gain_shares
from robo_orl.report.contents import Cells
from robo_orl.report.costs import CostGroup, cost_groups
from robo_orl.results.cost_record import CostRecord, CostRow
from robo_orl.results.record import Record
from robo_orl.results.regression import ExponentFit, exponent_fit

METRICS = {
    "success": "Success",
    "value_error": "Value error, mean |value − return|",
    "cell_time_relative": "Training time relative to the control, by the cells' own clocks",
    "cell_memory_relative": "Peak memory relative to the control, in the cells",
}


@dataclass(frozen=True)
class Point:
    """A value at x (decisions or parameters), from n frames, seeds or timed steps."""

    x: float
    label: str
    value: float
    n: int


@dataclass(frozen=True)
class SuccessPoint:
    """k of n successes at x, with the interval of the rate."""

    x: float
    label: str
    value: float
    low: float
    high: float
    k: int
    n: int


@dataclass(frozen=True)
class Series:
    """One policy of a trend."""

    policy: str
    critic: bool
    points: list[Point] | list[SuccessPoint]


@dataclass(frozen=True)
class FittedSeries:
    """One policy of a trend of costs, with its exponent where three sizes are there."""

    policy: str
    critic: bool
    points: list[Point]
    fit: ExponentFit | None


@dataclass(frozen=True)
class Trend:
    """One metric of several boards against an axis: horizon or parameters."""

    axis: str
    of: str
    regime: str
    size: str
    metric: str
    title: str
    series: list[Series]


@dataclass(frozen=True)
class CostTrend:
    """One metric of a training step against the parameters of the backbone."""

    axis: str
    of: str
    metric: str
    title: str
    series: list[FittedSeries]


@dataclass(frozen=True)
class ValueErrorRow:
    """The error of one cell's critic against the Monte-Carlo returns of the data (see record.ValueErrors).

    ranking: its order of samples against the simulator's, at all states. share: of the oracle's gain that it realises.
    success_bias, walked_off_bias: of the frames of successes, and of failures that their operator ended.
    own_policy_bias: against what the cell's own policy gets from stored states; own_policy_gain: that over the data's
    returns (see record.OwnPolicyValues).
    """

    task: str
    horizon: int
    regime: str
    policy: str
    size: str
    seed: int
    n: int
    mean_absolute: float
    bias: float
    correlation: float | None
    gamma: float
    ranking: SampleOrder | None = None
    share: GainShare | None = None
    success_bias: float | None = None
    walked_off_bias: float | None = None
    own_policy_bias: float | None = None
    own_policy_gain: float | None = None
    own_policy_states: int | None = None


At = Callable[[Board], float]  # the place of a board on the axis
Label = Callable[[Board], str]


def family(task: str) -> str:
    """The leading letters of a task's name: chain1, chain2 and chain2_10hz are one family, lift is another."""
    return re.match(r"[a-z_]*[a-z]|", task.lower()).group() or task


def value_errors(cells: Cells) -> list[ValueErrorRow]:
    """The critics' errors against the Monte-Carlo returns of the data, one row per cell that measured them."""
    shares = gain_shares(cells)
    rows = [
        ValueErrorRow(
            r.task.name, r.task.horizon, r.regime, r.policy.name, r.size, r.seed, **_value_error(r),
            ranking=SampleOrder(**vars(r.ranking.overall)) if r.ranking else None, share=shares.get(r.cell),
        )
        for r in cells.records
        if r.value_errors is not None
    ]  # fmt: skip
    return sorted(rows, key=lambda r: (r.horizon, r.task, r.regime, r.size, r.policy, r.seed))


def _value_error(record: Record) -> dict[str, float | int | None]:
    errors, own = record.value_errors, record.own_policy
    parts = {name: part.bias for name, part in (errors.by_end or {}).items()}
    return {name: value for name, value in vars(errors).items() if name != "by_end"} | {
        "success_bias": parts.get("success"),
        "walked_off_bias": parts.get("walked_off"),
        "own_policy_bias": own.own.bias if own else None,
        "own_policy_gain": own.gain[0] if own else None,
        "own_policy_states": own.states if own else None,
    }


def horizon_trends(boards: Sequence[Board], errors: Sequence[ValueErrorRow]) -> list[Trend]:
    """Every metric against the horizon, for each way in which it grows while the rest stays as it is.

    More stages of one family at one control rate; the same stages at another control rate; the same with dead time.
    """
    groups = defaultdict(list)
    for board in boards:
        data, stages = (board.regime, board.size), tuple(board.stages)
        name, rate, dead = family(board.task), board.control_hz, board.padding
        waits = f", {dead:g} s dead time" if dead else ""
        groups[f"{name}: more stages at {rate} Hz{waits}", *data].append(board)
        groups[f"{name}, {len(stages)} stages: control rate{waits}", *data].append(board)
        groups[f"{name}, {len(stages)} stages: dead time at {rate} Hz", *data].append(board)
    return _trends("horizon", groups, errors, lambda board: board.horizon, lambda board: board.task, METRICS)


def size_trends(boards: Sequence[Board], errors: Sequence[ValueErrorRow]) -> list[Trend]:
    """Per task and regime with two or more sizes: every metric against the parameters of the policy's backbone."""
    groups = defaultdict(list)
    for board in boards:
        groups[board.task, board.regime, ""].append(board)
    metrics = ("success", "value_error")  # time and memory come from interleaved measurements: size_costs
    return _trends("parameters", groups, errors, _backbone, lambda board: board.size, metrics)


def _backbone(board: Board) -> int:
    """The smallest of the board; 0 where there are references only."""
    return min((row.parameters["backbone"] for row in board.rows if not row.reference), default=0)


def _trends(
    axis: str,
    groups: dict[tuple[str, str, str], list[Board]],
    errors: Sequence[ValueErrorRow],
    at: At,
    label: Label,
    metrics: Iterable[str],
) -> list[Trend]:
    result = []
    for (name, regime, size), boards in sorted(groups.items()):
        if len({at(board) for board in boards}) < 2:
            continue
        for metric in metrics:
            series = _series(metric, sorted(boards, key=at), errors, at, label)
            if any(len(one.points) > 1 for one in series):
                result.append(Trend(axis, name, regime, size, metric, METRICS[metric], series))
    return result


def _series(
    metric: str, boards: Sequence[Board], errors: Sequence[ValueErrorRow], at: At, label: Label
) -> list[Series]:
    points, critic = defaultdict(list), {}
    for board in boards:
        for row in board.rows:
            if row.reference and at is _backbone:
                continue  # it has no size that could grow
            point = _point(metric, board, row, errors, at(board), label(board))
            if point is not None:
                critic[row.policy] = row.critic
                points[row.policy].append(point)
    return [Series(policy, critic[policy], own) for policy, own in points.items()]


def _point(
    metric: str, board: Board, row: PolicyRow, errors: Sequence[ValueErrorRow], x: float, label: str
) -> Point | SuccessPoint | None:
    if metric == "success":
        s = row.success
        return SuccessPoint(x, label, s.rate, s.low, s.high, s.k, s.n)
    if metric == "value_error":
        place = (board.task, board.regime, board.size, row.policy)
        own = [error for error in errors if (error.task, error.regime, error.size, error.policy) == place]
        if not own:
            return None
        mean = sum(error.mean_absolute for error in own) / len(own)
        return Point(x, label, mean, sum(error.n for error in own))
    value = getattr(row, metric)
    return None if value is None else Point(x, label, value, row.seeds)


def size_costs(costs: Sequence[CostRecord]) -> list[CostTrend]:
    """Peak memory, throughput and FLOPs against size, relative to the first policy at the smallest size.

    Each size is an interleaved measurement of its own, on the same task, batch and machine; exponents are fitted to
    three sizes or more.
    """
    groups = defaultdict(list)
    for group in cost_groups(costs):
        groups[group.task.digest, group.batch_size, group.hardware].extend((group, row) for row in group.compared())
    result = []
    for pairs in groups.values():
        if len({row.size for _, row in pairs}) > 1:
            result += _size_costs(pairs)
    return result


def _size_costs(pairs: list[tuple[CostGroup, CostRow]]) -> list[CostTrend]:
    first = pairs[0][0].base
    base = min((row for _, row in pairs if row.policy == first), key=lambda row: row.parameters["backbone"])
    metrics = {
        "Peak memory": lambda row: _share(row.peak_memory_bytes, base.peak_memory_bytes),
        "Throughput": lambda row: base.step_s / row.step_s,
        "FLOPs per sample": lambda row: _share(row.flops_per_sample, base.flops_per_sample),
    }
    result = []
    for title, measure in metrics.items():
        points = defaultdict(list)
        for _, row in pairs:
            if measure(row):
                point = Point(row.parameters["backbone"], row.size, measure(row), row.steps)
                points[row.policy, bool(row.topology)].append(point)
        series = [_fitted(policy, critic, own) for (policy, critic), own in points.items()]
        if series:
            words = f"{title} relative to {first} at {base.size}"
            result.append(CostTrend("parameters", pairs[0][0].task.name, title.lower(), words, series))
    return result


def _share(value: float | None, base: float | None) -> float | None:
    return value / base if value and base else None


def _fitted(policy: str, critic: bool, points: list[Point]) -> FittedSeries:
    points = sorted(points, key=lambda point: point.x)
    return FittedSeries(policy, critic, points, exponent_fit([p.x for p in points], [p.value for p in points]))
