"""What grows with the horizon and with the model: series over the boards, and exponents where points suffice."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from typing import Any

from robo_orl.report.contents import Cells
from robo_orl.results.intervals import exponent_fit
from robo_orl.results.record import CostRecord, CostRow, Record

METRICS = {
    "success": "Success",
    "value_error": "Value error, mean |value − return|",
    "cell_time_relative": "Training time relative to the control, by the cells' own clocks",
    "cell_memory_relative": "Peak memory relative to the control, in the cells",
}


def family(task: str) -> str:
    """The leading letters of a task's name: chain1, chain2 and chain2_10hz are one family, lift is another."""
    return re.match(r"[a-z_]*[a-z]|", task.lower()).group() or task


def value_errors(cells: Cells) -> list[dict[str, Any]]:
    """The critics' errors against the Monte-Carlo returns of the data, one row per cell that measured them."""
    rows = []
    for record in cells.records:
        if record.value_errors is not None:
            rows.append({"task": record.task.name, "horizon": record.task.horizon, "regime": record.regime,
                         "policy": record.policy.name, "size": record.size, "seed": record.seed,
                         **record.value_errors.model_dump()})  # fmt: skip
    return sorted(rows, key=lambda r: (r["horizon"], r["task"], r["regime"], r["size"], r["policy"], r["seed"]))


def horizon_trends(boards: Sequence[dict[str, Any]], errors: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Every metric against the horizon, for each way in which it grows while the rest stays as it is.

    More stages of one family at one control rate; the same stages at another control rate; the same with dead time.
    """
    groups = defaultdict(list)
    for board in boards:
        data, stages = (board["regime"], board["size"]), tuple(board["stages"])
        name, rate, dead = family(board["task"]), board["control_hz"], board["padding"]
        waits = f", {dead:g} s dead time" if dead else ""
        groups[f"{name}: more stages at {rate} Hz{waits}", *data].append(board)
        groups[f"{name}, {len(stages)} stages: control rate{waits}", *data].append(board)
        groups[f"{name}, {len(stages)} stages: dead time at {rate} Hz", *data].append(board)
    return _trends("horizon", groups, errors, lambda board: board["horizon"], lambda board: board["task"], METRICS)


def size_trends(boards: Sequence[dict[str, Any]], errors: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Per task and regime with two or more sizes: every metric against the parameters of the policy's backbone."""
    groups = defaultdict(list)
    for board in boards:
        groups[board["task"], board["regime"], ""].append(board)
    metrics = ("success", "value_error")  # time and memory come from interleaved measurements: size_costs
    return _trends("parameters", groups, errors, _backbone, lambda board: board["size"], metrics)


def _backbone(board: dict[str, Any]) -> int:
    """The smallest of the board; 0 where there are references only."""
    return min((row["parameters"]["backbone"] for row in board["rows"] if not row["reference"]), default=0)


def _trends(
    axis: str, groups: dict, errors: Sequence[dict], at: Callable, label: Callable, metrics: Iterable[str]
) -> list[dict[str, Any]]:
    result = []
    for (name, regime, size), boards in sorted(groups.items()):
        if len({at(board) for board in boards}) < 2:
            continue
        for metric in metrics:
            series = _series(metric, sorted(boards, key=at), errors, at, label)
            if any(len(one["points"]) > 1 for one in series):
                result.append({"axis": axis, "of": name, "regime": regime, "size": size, "metric": metric,
                               "title": METRICS[metric], "series": series})  # fmt: skip
    return result


def _series(metric: str, boards: list[dict], errors: Sequence[dict], at: Callable, label: Callable) -> list[dict]:
    points, critic = defaultdict(list), {}
    for board in boards:
        for row in board["rows"]:
            if row["reference"] and at is _backbone:
                continue  # it has no size that could grow
            point = _point(metric, board, row, errors)
            if point is not None:
                critic[row["policy"]] = row["critic"]
                points[row["policy"]].append({"x": at(board), "label": label(board), **point})
    return [{"policy": policy, "critic": critic[policy], "points": found} for policy, found in points.items()]


def _point(metric: str, board: dict, row: dict, errors: Sequence[dict]) -> dict[str, Any] | None:
    if metric == "success":
        return {"value": row["success"]["rate"], **{k: row["success"][k] for k in ("low", "high", "k", "n")}}
    if metric == "value_error":
        here = [e for e in errors if all(e[k] == board[k] for k in ("task", "regime", "size"))]
        mine = [e for e in here if e["policy"] == row["policy"]]
        if not mine:
            return None
        return {"value": sum(e["mean_absolute"] for e in mine) / len(mine), "n": sum(e["n"] for e in mine)}
    if row[metric] is None:
        return None
    return {"value": row[metric], "n": row["seeds"]}


def size_costs(costs: Sequence[CostRecord]) -> list[dict[str, Any]]:
    """Peak memory, throughput and FLOPs against size, relative to the first policy at the smallest size.

    Each size is an interleaved measurement of its own, on the same task, batch and machine; exponents are fitted to
    three sizes or more.
    """
    groups = defaultdict(list)
    for record in costs:
        machine = record.hardware.accelerator or record.hardware.cpu
        groups[record.task.digest, record.batch_size, machine].extend((record, row) for row in record.rows)
    result = []
    for pairs in groups.values():
        if len({row.size for _, row in pairs}) > 1:
            result += _size_costs(pairs)
    return result


def _size_costs(pairs: list[tuple[CostRecord, CostRow]]) -> list[dict[str, Any]]:
    first = pairs[0][0].rows[0].policy
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
                points[row.policy, bool(row.topology)].append(
                    {"x": row.parameters["backbone"], "label": row.size, "value": measure(row), "n": row.steps}
                )
        series = [_fitted(*key, found) for key, found in points.items()]
        if series:
            result.append(
                {
                    "axis": "parameters",
                    "of": pairs[0][0].task.name,
                    "metric": title.lower(),
                    "title": f"{title} relative to {first} at {base.size}",
                    "series": series,
                }
            )
    return result


def _share(value: float | None, base: float | None) -> float | None:
    return value / base if value and base else None


def _fitted(policy: str, critic: bool, points: list[dict]) -> dict[str, Any]:
    points = sorted(points, key=lambda point: point["x"])
    fit = exponent_fit([p["x"] for p in points], [p["value"] for p in points])
    return {"policy": policy, "critic": critic, "points": points, "fit": asdict(fit) if fit else None}


def cell_speeds(records: Sequence[Record]) -> list[dict[str, Any]]:
    """Every cell's own clock and memory: what was observed there, no comparison."""
    return [
        {"cell": r.cell, "task": r.task.name, "regime": r.regime, "policy": r.policy.name, "size": r.size,
         "seed": r.seed, "steps": r.train.steps, "batch_size": r.train.batch_size, "steps_per_s": r.train.steps_per_s,
         "samples_per_s": r.train.samples_per_s, "peak_memory_bytes": r.train.peak_memory_bytes,
         "peak_memory_kind": r.train.peak_memory_kind, "episodes": r.evaluation.episodes,
         "restarts": r.evaluation.restarts, "loop": r.evaluation.loop}
        for r in sorted(records, key=lambda r: (r.task.horizon, r.task.name, r.regime, r.size, r.policy.name, r.seed))
    ]  # fmt: skip
