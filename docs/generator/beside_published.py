"""Our rows of the suite robomimic beside published ones on the same scenes and kinds of data: never ranked together."""

from __future__ import annotations

from numbers_of_results import cells, progress, table, written

from robo_orl.config.presets import load_task
from robo_orl.report.published import KINDS, published
from robo_orl.sweep.cells import expand, load_suite

SUITE = "robomimic"


def robomimic_table(regime: str) -> str:
    """A row per task and policy that was run: data, limit, k of n of each training with its interval."""
    rows = []
    for (task, kind, policy, size, seed), (found, _) in sorted(cells(SUITE).items()) if _has_records() else ():
        if kind != regime:
            continue
        data, score = found.data, found.evaluation.success_once
        source = f"official `{data.official.path}`" if data.official else "scripted"
        rows.append([
            f"`{load_task(task).env}`", f"`{written(policy)}`", f"{size}, seed {seed}",
            f"{score.k} of {score.n} [{100 * score.low:.0f}, {100 * score.high:.0f}] %", f"{found.task.horizon:,}",
            f"{source}, {data.success.k} of {data.success.n} succeed, {data.frames:,} frames",
        ])  # fmt: skip
    return table(["task", "policy", "training", "success", "limit", "data"], rows) if rows else "Not run yet."


def published_table(regime: str) -> str:
    """Published success in percent on the five scenes and this kind of data, a row per method with its source."""
    scenes = list(dict.fromkeys(cell.task.env for cell in expand(load_suite(SUITE))))
    columns, values = [], {}
    for source in published()["success"]:
        for row in (row for row in source["rows"] if row["regime"] == regime and row["task"] in scenes):
            for method, percent in row["success_percent"].items():
                column = (method, source["source"], source["protocol"], source["kind"])
                columns += [] if column in columns else [column]
                values[column, row["task"]] = f"{percent:g}"
    rows = [
        [method, *(values.get((column, scene), "") for scene in scenes), f"{source}; {protocol}; {kind}: {KINDS[kind]}"]
        for column in columns
        for method, source, protocol, kind in [column]
    ]
    return table(["published, not run here", *(f"`{scene}`" for scene in scenes), "source"], rows)


def _has_records() -> bool:
    return not progress(SUITE).startswith("none")


FUNCTIONS = {"robomimic_table": robomimic_table, "published_table": published_table}
