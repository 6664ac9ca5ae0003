"""What a report is made of: the records of a results folder, their episode rows, and the cells that are not there."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from robo_orl.base.errors import UsageError
from robo_orl.results.record import CostRecord, EpisodeRow, Manifest, PlannedCell, Record
from robo_orl.results.store import open_results


@dataclass(frozen=True)
class Cells:
    """Everything a report reads; `rows` is keyed by Record.cell; `absent` are cells that were asked for and failed or
    have not run."""

    records: list[Record]
    rows: dict[str, list[EpisodeRow]]
    costs: list[CostRecord] = field(default_factory=list)
    manifest: Manifest | None = None
    superseded: int = 0  # records of settings that the suite no longer asks for

    @property
    def absent(self) -> list[PlannedCell]:
        """The cells that were asked for and have no record, whatever the manifest believes."""
        return [cell for cell in self.manifest.cells if cell.cell not in self.rows] if self.manifest else []


def load(results: Path) -> Cells:
    """Read a working folder or a container; a folder without records or a manifest is a UsageError."""
    stored = open_results(results)
    found = [(record, cell.rows(record)) for cell in stored.cells for record in [cell.record()]]
    manifest, costs = stored.manifest, stored.cost_records
    asked = [cost for cost in costs if not manifest or manifest.costs is None or cost.key in manifest.costs]
    if manifest and (manifest.config.get("evaluation") or {}).get("starts") == "tuning":
        raise UsageError(
            f"{results} holds trials of `robo-orl tune`, judged on start states that no result is from; a suite that "
            f"says `tuned: {results / 'tuned.yaml'}` uses what they chose, and its results are what to report."
        )
    if not found and not costs and manifest is None:
        if any((results / name).exists() for name in ("config.json", "reference.json")):  # a training's
            raise UsageError(
                f"{results} is the folder of one run: `robo-orl eval {results}` judges it, and a report is of a suite, "
                "from the folder that `robo-orl bench` writes."
            )
        raise UsageError(f"{results} holds no results: it has neither suite.json nor cells/ (see `robo-orl bench`).")
    rows = {record.cell: rows for record, rows in found}
    kept = asked_for([record for record, _ in found], manifest)
    check_one_each(kept)
    superseded = len(found) - len(kept) + len(costs) - len(asked)
    return Cells(kept, {r.cell: rows[r.cell] for r in kept}, asked, manifest, superseded)


def asked_for(records: list[Record], manifest: Manifest | None) -> list[Record]:
    """The records without those whose names the suite now asks for with other settings: it was tuned anew, say."""
    planned: dict[tuple, set[str]] = {}
    for cell in manifest.cells if manifest else []:
        planned.setdefault((cell.task, cell.regime, cell.policy, cell.size, cell.seed), set()).add(cell.cell)
    return [record for record in records if record.cell in planned.get(named(record), {record.cell})]


def check_one_each(records: list[Record]) -> None:
    """UsageError where two records go by the same names and are not the same: their episodes must not be added up."""
    seen: dict[tuple, Record] = {}
    for record in records:
        other = seen.setdefault(named(record), record)
        if other.cell != record.cell:
            task, regime, policy, size, seed = named(record)
            raise UsageError(
                f"Two records are {policy} on {task} {regime}, size {size}, seed {seed}, made by different settings "
                f"({other.cell[:10]} and {record.cell[:10]}): keep one of them in cells/, or rename a policy."
            )


def named(record: Record) -> tuple[str, str, str, str, int]:
    """What a board tells records apart by."""
    return record.task.name, record.regime, record.policy.name, record.size, record.seed


def has_critic(config: dict[str, Any]) -> bool:
    """Whether a learned critic has a say in what the policy does: an untrained one is a control without a critic."""
    selection = config.get("selection") or {}
    return config.get("critic") is not None and not selection.get("untrained_critic", False)


def topology(config: dict[str, Any]) -> str | None:
    """Where the critic's features come from, or None without a learned critic."""
    return config["critic"].get("topology") if has_critic(config) else None


def is_plain_bc(config: dict[str, Any]) -> bool:
    """Our behaviour cloning on all the data that acts as it samples: nothing ranks its candidates."""
    if "library" in config:  # a reference, whatever it learns by
        return False
    objective = (config.get("objective") or {}).get("name", "bc")
    samples = (config.get("selection") or {}).get("num_samples", 1)
    return objective == "bc" and config.get("critic") is None and samples == 1


def control_rank(config: dict[str, Any], name: str) -> tuple[bool, bool, str]:
    """Sorts the candidates for the control: deterministic behaviour cloning first, then any behaviour cloning."""
    return (_head(config) != "l1", name != "bc", name)


def _head(config: dict[str, Any]) -> str:
    return (config.get("action_head") or {}).get("kind", "l1")
