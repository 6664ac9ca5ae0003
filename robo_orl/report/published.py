"""Numbers of published work, shipped as facts with their source: shown apart from our own rows, never mixed in."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from robo_orl.results.record import TaskRef
from robo_orl.results.verification.tasks import task_of

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


@dataclass(frozen=True)
class PublishedNumber:
    """A published success in percent on one task and kind of data."""

    regime: str
    method: str
    value: float
    source: str
    protocol: str
    kind: str
    kind_words: str


def published_for(task: TaskRef, regime: str | None = None) -> list[PublishedNumber]:
    """What is published on the scene of a task, whatever its time limit; regime: only on this kind of data."""
    definition = task_of(task)
    scene = definition.env if definition is not None else task.name
    return [number for number in _numbers(scene) if regime in (None, number.regime)]


@cache
def _numbers(scene: str) -> tuple[PublishedNumber, ...]:
    return tuple(
        PublishedNumber(row["regime"], method, value, table["source"], table["protocol"], table["kind"],
                        KINDS[table["kind"]])
        for table in published()["success"]
        for row in table["rows"] if row["task"] == scene
        for method, value in row["success_percent"].items()
    )  # fmt: skip


def published_online() -> list[dict[str, Any]]:
    """Published curves after the switch, a series each. budget: environment steps; ours: the method here that is it."""
    series: dict[tuple[str, str, str], dict[str, Any]] = {}
    for row in _read("online.csv"):
        about = {key: row[key] for key in ("source", "kind", "protocol", "task", "regime", "method", "ours")}
        own = series.setdefault(
            (row["source"], row["task"], row["method"]), about | {"budget": int(row["budget"]), "points": []}
        )
        columns = {"value": "success_percent", "low": "low", "high": "high"}
        rates = {name: float(row[column]) / 100 for name, column in columns.items()}
        own["points"].append({"step": int(row["env_steps"]), "k": None, "n": None, **rates})
    return list(series.values())


def _read(name: str) -> list[dict[str, str]]:
    text = (files("robo_orl.report") / "published_numbers" / name).read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))
