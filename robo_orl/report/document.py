"""report.json: every number of the report, computed from records and episode rows; the page only shows it."""

from __future__ import annotations

from typing import Any

from robo_orl import __version__
from robo_orl.report.boards import board, group
from robo_orl.report.compare import compare, paired_by_seed, verdict
from robo_orl.report.contents import Cells
from robo_orl.report.costs import attach, cost_tables, pareto_front
from robo_orl.report.headline import headline
from robo_orl.report.published import published
from robo_orl.report.trends import cell_speeds, horizon_trends, size_costs, size_trends, value_errors
from robo_orl.results.intervals import holm
from robo_orl.results.record import Record

REPORT_VERSION = 1


def document(cells: Cells) -> dict[str, Any]:
    """The whole report as a JSON value; floats carry six significant digits, exactly as the page prints them."""
    grouped = group(cells)
    boards = [board(cells, key, policies) for key, policies in grouped.items()]
    for index, one in enumerate(boards):
        attach(one, cells.costs)
        one["index"], one["pareto"], one["absent"] = index, pareto_front(one["rows"]), _absent(cells, one)
    comparisons = _comparisons(cells, boards, list(grouped.values()))
    errors, costs = value_errors(cells), cost_tables(cells.costs)
    return rounded({
        "report_version": REPORT_VERSION,
        "headline": headline(boards, comparisons, costs),
        "suites": _suites(cells),
        "boards": boards,
        "comparisons": comparisons,
        "horizon": horizon_trends(boards, errors),
        "size": size_trends(boards, errors) + size_costs(cells.costs),
        "cost": costs,
        "value_errors": errors,
        "absent": [cell.model_dump() for cell in cells.absent],
        "superseded": cells.superseded,
        "cells": cell_speeds(cells.records),
        "origin": origin(cells),
        "published": published(),
    })  # fmt: skip


def _comparisons(cells: Cells, boards: list[dict], grouped: list[dict[str, list[Record]]]) -> list[dict[str, Any]]:
    """Every policy against the board's control, and every trained critic against each policy without one.

    References are compared with the control too, and are nobody's opponent.

    Holm's correction runs over the comparisons with the same opponent, across all boards of the report.
    """
    rows = []
    for one, policies in zip(boards, grouped, strict=True):
        critic = {row["policy"]: row["critic"] for row in one["rows"]}
        references = {row["policy"] for row in one["rows"] if row["reference"]}
        for opponent in [name for name, learned in critic.items() if not learned and name not in references]:
            against_control = opponent == one["control"]
            for name in critic:
                if name != opponent and (against_control or critic[name]):
                    found = compare(paired_by_seed(cells, policies[opponent], policies[name]))
                    if found:
                        rows.append({"board": one["index"], "task": one["task"], "regime": one["regime"],
                                     "size": one["size"], "policy": name, "critic": critic[name], "against": opponent,
                                     "against_control": against_control, **found})  # fmt: skip
    for opponent in {row["against"] for row in rows}:
        same = [row for row in rows if row["against"] == opponent]
        for row, p in zip(same, holm([row["p"] for row in same]), strict=True):
            row["p_holm"], row["family"] = p, len(same)
            row["verdict"] = verdict(row)
    return sorted(rows, key=lambda r: (r["board"], not r["against_control"], r["against"], -r["difference"]))


def _absent(cells: Cells, board: dict[str, Any]) -> list[dict[str, Any]]:
    """The cells that a board lacks."""
    return [{"policy": cell.policy, "seed": cell.seed, "state": cell.state, "reason": cell.reason}
            for cell in cells.absent
            if (cell.task, cell.regime) == (board["task"], board["regime"])
            and cell.size in (board["size"], "reference")]  # fmt: skip


def _suites(cells: Cells) -> list[dict[str, Any]]:
    parts = [*cells.records, *cells.costs] + ([cells.manifest] if cells.manifest else [])
    names = sorted({(part.suite.name, part.suite.version) for part in parts})
    asked = len(cells.manifest.cells) if cells.manifest else len(cells.records)
    wall = cells.manifest.wall_s if cells.manifest else None
    return [{"name": n, "version": v, "cells_asked": asked, "cells_done": len(cells.records), "wall_s": wall}
            for n, v in names]  # fmt: skip


def origin(cells: Cells) -> dict[str, Any]:
    """What ran and on what: distinct values over all records, so that a mixture of machines or versions shows."""
    parts = [*cells.records, *cells.costs]
    versions: dict[str, set[str]] = {}
    for part in parts:
        for package, version in part.versions.items():
            versions.setdefault(package, set()).add(version)
    hardware = {part.hardware.model_dump_json(): part.hardware.model_dump() for part in parts}
    code = {part.code.model_dump_json(): part.code.model_dump() for part in parts}
    data = {(record.data.sha256, record.data.filter): {
                "task": record.task.name, "regime": record.regime, **record.data.model_dump()}
            for record in cells.records}  # fmt: skip
    dates = sorted(part.created for part in parts)
    return {
        "report_made_with": __version__,
        "versions": {package: sorted(found) for package, found in sorted(versions.items())},
        "hardware": list(hardware.values()),
        "code": list(code.values()),
        "loops": sorted({record.evaluation.loop for record in cells.records}),
        "starts": {record.task.name: record.evaluation.starts_sha256 for record in cells.records},
        "tasks": {record.task.name: record.task.digest for record in cells.records},
        "data": list(data.values()),
        "first": dates[0] if dates else None,
        "last": dates[-1] if dates else None,
    }


def rounded(value: Any) -> Any:
    """`value` with every float at six significant digits."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(item) for item in value]
    return value
