"""Every row of every ranking as a flat record: what figures draw, and what the data files hold."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from robo_orl.config import SIZES
from robo_orl.report.leaderboard.rankings import Ranked, Ranking, Standing
from robo_orl.report.leaderboard.words import FAMILIES, TIERS, TOPOLOGIES, family, layout
from robo_orl.report.trends import family as task_family

FlatRow = dict[str, Any]  # column -> text, number or None: JSON and CSV


def flat_rows(divisions: Sequence[Ranked]) -> list[FlatRow]:
    """One record per row of a ranking, those that are not ranked included and marked."""
    return [
        _flat(made, ranking, standing)
        for made in divisions
        for ranking in made.rankings
        for standing in (*ranking.standings, *ranking.unranked)
    ]


def _flat(made: Ranked, ranking: Ranking, s: Standing) -> FlatRow:
    about, config = ranking.board, s.records[0].policy.config
    rate = s.row.success
    interval = s.estimates.get("success")
    low, high = (interval.low, interval.high) if interval else (rate.low, rate.high)
    memory = [r.train.peak_memory_bytes for r in s.records if r.train.peak_memory_bytes]
    seconds = [r.train.step_s_median for r in s.records if r.train.step_s_median]
    waits = f", {about.padding:g} s dead time" if about.padding else ""
    values = {
        "suite": made.division.name,
        "task": about.task,
        "regime": about.regime,
        "size": s.size,
        "policy": s.row.policy,
        "objective": s.row.objective,
        "family": family(config),
        "topology": layout(config),
        "critic": s.row.critic or "library" in config and family(config) != "cloning",
        "control": s.row.policy == about.control,
        "tier": s.tier,
        "folder": s.origin,
        "ranked": not s.reason,
        "beyond_the_suite": s.row.beyond,
        "not_informative": ranking.reasons.get(about.size if s.size == "reference" else s.size, ""),
        "board": f"{about.task} · {about.regime}",
        "line": f"{s.row.policy} {s.size}",
        "line_of_tasks": f"{task_family(about.task)} at {about.control_hz} Hz{waits} · {about.regime}",
        "line_of_sizes": f"{about.task} · {about.regime}",
        "horizon": about.horizon,
        "backbone": s.row.parameters.get("backbone"),
        "parameters": s.row.parameters["total"],
        "k": rate.k,
        "n": rate.n,
        "rate": rate.rate,
        "low": low,
        "high": high,
        "shown": f"{rate.k} of {rate.n}",
        "interval": f"{100 * low:.0f} to {100 * high:.0f} %",
        "trained": s.trainings,
        "trainings": s.row.seeds,
        "episodes": s.episodes,
        "time_relative": s.row.time_relative,
        "memory_relative": s.row.memory_relative,
        "cost_from": s.row.cost_source,
        "step_s": median(seconds) if seconds else None,
        "memory_bytes": median(memory) if memory else None,
        "decision_ms": _decision_ms(made, s),
    }
    for name, estimate in s.estimates.items():
        values |= {f"{name}_mean": estimate.mean, f"{name}_low": estimate.low, f"{name}_high": estimate.high}
        if name in s.places:
            place = s.places[name]
            values |= {f"{name}_place": place.place, f"{name}_best": place.best, f"{name}_worst": place.worst}
    return values


def _decision_ms(made: Ranked, s: Standing) -> float | None:
    """Milliseconds of a decision on one observation, from a cost measurement of this policy and size."""
    rows = [row for cost in made.division.cells.costs for row in cost.rows]
    found = [row.act_s for row in rows if (row.policy, row.size) == s.method and row.act_s]
    return 1000 * found[0] if found else None


def csv_text(rows: Sequence[Mapping[str, Any]], fields: Sequence[str] | None = None) -> str:
    """Rows as CSV (RFC 4180). A text that a spreadsheet would take for a formula gets an apostrophe in front."""
    columns = list(fields or dict.fromkeys(key for row in rows for key in row))
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(columns)
    for row in rows:
        writer.writerow([_cell(row.get(column)) for column in columns])
    return out.getvalue()


def _cell(value: Any) -> Any:
    if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r"):
        return f"'{value}"
    return float(f"{value:.5g}") if isinstance(value, float) else value


# -------------------------------------------------------------------------------------------------------------- filters


def choices(rows: Sequence[FlatRow], tasks: Sequence[str]) -> list[tuple[str, str, list[str]]]:
    """The filters: (column, title, values in their natural order). tasks: names in the order of their pages."""

    def found(column: str) -> list[str]:
        return list(dict.fromkeys(row[column] for row in rows))

    return [
        ("task", "Task", sorted(found("task"), key=lambda t: tasks.index(t) if t in tasks else len(tasks))),
        ("regime", "Regime", found("regime")),
        ("size", "Size", by_size(found("size"))),
        ("topology", "Critic's features", [t for t in TOPOLOGIES if t in found("topology")]),
        ("family", "Objective family", [f for f in FAMILIES if f in found("family")]),
        ("tier", "Tier", [t for t in TIERS if t in found("tier")]),
    ]  # fmt: skip


def by_size(names: Sequence[str] | set[str]) -> list[str]:
    """Sizes in the order of size: by depth, `debug` first, those of other libraries last."""

    def depth(name: str) -> tuple[int, str]:
        if name in SIZES:
            return SIZES[name], name
        digits = name[1:] if name[:1] == "d" else ""
        return (int(digits) if digits.isdigit() else 0 if name == "debug" else 10**6), name

    return sorted(names, key=depth)


def backbone(rows: Sequence[FlatRow], size: str) -> int | None:
    """Parameters of the smallest backbone of a size among the rows."""
    counts = [row["backbone"] for row in rows if row["size"] == size and row["backbone"]]
    return min(counts) if counts else None
