"""What a record keeps of a run that went on to learn: points, warm-up and account, from its online.jsonl."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from robo_orl.results.online_record import Judged, OnlineAccount, OnlinePoint, OnlineRecord, OnlineStart, WarmUpErrors
from robo_orl.sweep.cells import Cell


def rows_of_run(folder: Path) -> dict[str, Any]:
    """The points, the start and the warm-up of a finished run, as JSON, beside what its command answered."""
    rows = [json.loads(line) for line in (folder / "online.jsonl").read_text().splitlines()]
    points = {row["at"]: row for row in rows if row["kind"] == "point"}
    lone = {row["kind"]: row for row in rows if row["kind"] in ("start", "warm_up")}
    return {"rows": {"points": [points[at] for at in sorted(points)], **lone}}


def online_record(cell: Cell, result: dict[str, Any]) -> OnlineRecord:
    """The record of a cell that went on to learn. result: the account, and its `rows`."""
    rows, start = result["rows"], cell.online.start
    return OnlineRecord(
        method=cell.online.method,
        env_steps=cell.online.steps,
        start=OnlineStart(
            run=cell.trained.run_key,
            policy=start.name,
            digest=start.digest(),
            config=start.model_dump(mode="json"),
            judged=Judged(**_judged(rows["start"])),
        ),
        points=[
            OnlinePoint(**{name: row[name] for name in ("at", "env_steps", "updates")}, **_judged(row))
            for row in rows["points"]
        ],
        warm_up=_only(WarmUpErrors, rows["warm_up"]) if "warm_up" in rows else None,
        account=_only(OnlineAccount, result | {"pilot_steps": cell.online.pilot_steps}),
    )


def _judged(row: dict[str, Any]) -> dict[str, Any]:
    same = {name: row[name] for name in ("success", "stages", "discounted_return", "calibration", "seconds")}
    others = {name: {"success": one["success"], "solved": _bits(one)} for name, one in row.get("others", {}).items()}
    return same | {"solved": _bits(row), "others": others}


def _bits(row: dict[str, Any]) -> str:
    solved = set(row["solved"])
    return "".join("1" if start in solved else "0" for start in range(row["success"]["n"]))


def _only(schema: type, values: dict[str, Any]) -> Any:
    return schema.model_validate({name: values[name] for name in schema.model_fields if name in values})
