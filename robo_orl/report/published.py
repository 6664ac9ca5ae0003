"""Numbers of published work, shipped as facts with their source: shown apart from our own rows, never mixed in."""

from __future__ import annotations

import csv
from importlib.resources import files
from typing import Any

KINDS = {
    "paper": "printed in the paper or its repository",
    "data": "computed from the authors' released runs",
    "third-party": "a transcription of somebody else's run: weak",
    "derived": "counted, not measured",
}


def published() -> dict[str, Any]:
    """Success per source as a table of methods by (task, regime), and memory of critic topologies."""
    tables: dict[tuple[str, str], dict[str, Any]] = {}
    for row in _read("published.csv"):
        about = {key: row[key] for key in ("source", "kind", "protocol")}
        table = tables.setdefault((row["source"], row["protocol"]), {**about, "methods": [], "rows": {}})
        if row["method"] not in table["methods"]:
            table["methods"].append(row["method"])
        table["rows"].setdefault((row["task"], row["regime"]), {})[row["method"]] = float(row["success_percent"])
    for table in tables.values():
        table["rows"] = [{"task": task, "regime": regime, "success_percent": values}
                         for (task, regime), values in table["rows"].items()]  # fmt: skip
    memory = [{**row, "ratio": float(row["ratio"])} for row in _read("memory.csv")]
    return {"kinds": KINDS, "success": list(tables.values()), "memory": memory}


def _read(name: str) -> list[dict[str, str]]:
    text = (files("robo_orl.report") / "published_numbers" / name).read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))
