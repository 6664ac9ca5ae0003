"""The content of a report: the records of a results folder, their episode rows, and the cells without a record."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from robo_orl.base.errors import UsageError
from robo_orl.results.cost_record import CostRecord
from robo_orl.results.endpoints import Endpoint, declares_endpoints, endpoints_of
from robo_orl.results.record import EpisodeRow, Manifest, PlannedCell, Record
from robo_orl.results.store import open_results
from robo_orl.results.trainings import DesignEffect, design_effect


@dataclass(frozen=True)
class Cells:
    """The input of a report. rows: key of a cell -> its episodes. superseded: records of settings that are no longer
    the suite's, which are left out. beyond: keys of records that the suite as it is now does not ask for."""

    records: list[Record]
    rows: dict[str, list[EpisodeRow]]
    costs: list[CostRecord] = field(default_factory=list)
    manifest: Manifest | None = None
    superseded: int = 0
    beyond: frozenset[str] = frozenset()

    @property
    def endpoints(self) -> list[Endpoint]:
        """The endpoints that the suite declares, or the defaults."""
        return endpoints_of(self.manifest.config if self.manifest else None)

    @property
    def endpoints_declared(self) -> bool:
        """Whether the suite declared its endpoints before it ran."""
        return declares_endpoints(self.manifest.config if self.manifest else None)

    @cached_property
    def effects(self) -> dict[str, DesignEffect | None]:
        """By endpoint, how far trainings of one row differ beyond their episodes; None where no row has three."""
        rows: dict[tuple, list[Record]] = {}
        for record in self.records:
            rows.setdefault((*names(record)[:4], record.task.digest), []).append(record)
        return {
            endpoint.name: design_effect(
                [[endpoint.values(self.rows[r.cell], r.task.horizon) for r in own] for own in rows.values()]
            )
            for endpoint in self.endpoints
        }

    @property
    def absent(self) -> list[PlannedCell]:
        """The cells of the suite without a record: failed or not run; the states in the manifest may be old."""
        return [cell for cell in self.manifest.cells if cell.cell not in self.rows] if self.manifest else []


def load(results: Path) -> Cells:
    """Read a working folder or a container; a folder without records or a manifest is a UsageError."""
    stored = open_results(results)
    stored_rows = [(record, cell.rows(record)) for cell in stored.cells for record in [cell.record()]]
    manifest, costs = stored.manifest, stored.cost_records
    current = current_costs(costs, manifest)
    if manifest and (manifest.config.get("evaluation") or {}).get("starts") == "tuning":
        raise UsageError(
            f"{results} holds trials of `robo-orl tune`, evaluated on start states for tuning; run a suite with "
            f"`tuned: {results / 'tuned.yaml'}`, which uses the chosen values, and report its results."
        )
    if not stored_rows and not costs and manifest is None:
        if any((results / name).exists() for name in ("config.json", "reference.json")):
            raise UsageError(
                f"{results} is the folder of one run: `robo-orl eval {results}` evaluates it; a report is of a suite, "
                "from the folder that `robo-orl bench` writes."
            )
        raise UsageError(
            f"{results} holds no results: it has neither suite.json, cells/ nor records.jsonl (see `robo-orl bench`)."
        )
    rows = {record.cell: rows for record, rows in stored_rows}
    kept = current_records([record for record, _ in stored_rows], manifest)
    check_names(kept)
    superseded = len(stored_rows) - len(kept) + len(costs) - len(current)
    planned = {cell.cell for cell in manifest.cells} if manifest else set()
    beyond = frozenset(record.cell for record in kept if planned and record.cell not in planned)
    return Cells(kept, {r.cell: rows[r.cell] for r in kept}, current, manifest, superseded, beyond)


def current_costs(costs: list[CostRecord], manifest: Manifest | None) -> list[CostRecord]:
    """The cost records of cells that the suite has now, in its order; all where the manifest names no cost cells."""
    if manifest is None or manifest.costs is None:
        return costs
    order = {key: place for place, key in enumerate(manifest.costs)}
    return sorted((cost for cost in costs if cost.key in order), key=lambda cost: order[cost.key])


def current_records(records: list[Record], manifest: Manifest | None) -> list[Record]:
    """The records without those of cells that the suite has with other settings now, after another tuning for one."""
    planned: dict[tuple, set[str]] = {}
    for cell in manifest.cells if manifest else []:
        planned.setdefault((cell.task, cell.regime, cell.policy, cell.size, cell.seed), set()).add(cell.cell)
    return [record for record in records if record.cell in planned.get(names(record), {record.cell})]


def check_names(records: list[Record]) -> None:
    """UsageError where two different records have the same names: their episodes must not be added up."""
    seen: dict[tuple, Record] = {}
    for record in records:
        other = seen.setdefault(names(record), record)
        if other.cell != record.cell:
            task, regime, policy, size, seed = names(record)
            raise UsageError(
                f"Two records are {policy} on {task} {regime}, size {size}, seed {seed}, made by different settings "
                f"({other.cell[:10]} and {record.cell[:10]}): keep one of them in cells/, or rename a policy."
            )


def names(record: Record) -> tuple[str, str, str, str, int]:
    """The names by which a board separates records: task, regime, policy, size, seed."""
    return record.task.name, record.regime, record.policy.name, record.size, record.seed


def has_critic(config: dict[str, Any]) -> bool:
    """True where a learned critic takes part in the choice of actions; an untrained one is a control, and a search in
    the simulator chooses without one."""
    selection = config.get("selection") or {}
    chosen_by_other = selection.get("untrained_critic", False) or selection.get("look_ahead", 0)
    return config.get("critic") is not None and not chosen_by_other


def is_oracle(config: dict[str, Any]) -> bool:
    """True for a ceiling: what was learned from, or how it acts, knows what no policy can know."""
    searches = bool((config.get("selection") or {}).get("look_ahead", 0))
    return searches or (config.get("objective") or {}).get("name") == "oracle_competent"


def is_floor(config: dict[str, Any]) -> bool:
    """True for uniform actions, which are the same whatever was trained."""
    return (config.get("selection") or {}).get("acting") == "random"


def topology(config: dict[str, Any]) -> str | None:
    """The topology of the critic, or None without a learned critic."""
    return config["critic"].get("topology") if has_critic(config) else None


def is_plain_bc(config: dict[str, Any]) -> bool:
    """True for our behaviour cloning on all the data with one sample: no critic ranks candidates, nothing is random."""
    if "library" in config:  # a reference of any algorithm
        return False
    objective = (config.get("objective") or {}).get("name", "bc")
    as_trained = (config.get("selection") or {}).get("num_samples", 1) == 1 and not is_floor(config)
    return objective == "bc" and config.get("critic") is None and as_trained


def control_rank(config: dict[str, Any], name: str) -> tuple[bool, bool, str]:
    """The order of the candidates for the control: deterministic behaviour cloning first, then any other."""
    return (_head(config) != "l1", name != "bc", name)


def _head(config: dict[str, Any]) -> str:
    return (config.get("action_head") or {}).get("kind", "l1")
