"""What a report is made of: the records of a results folder, their episode rows, and the cells that are not there."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from robo_orl.errors import UsageError
from robo_orl.results.record import CostRecord, EpisodeRow, Manifest, PlannedCell, Record
from robo_orl.results.store import read_cells, read_costs, read_manifest


@dataclass(frozen=True)
class Cells:
    """Everything a report reads; `rows` is keyed by Record.cell; `absent` are cells that were asked for and failed or
    have not run."""

    records: list[Record]
    rows: dict[str, list[EpisodeRow]]
    costs: list[CostRecord] = field(default_factory=list)
    manifest: Manifest | None = None

    @property
    def absent(self) -> list[PlannedCell]:
        """The cells that were asked for and have no record, whatever the manifest believes."""
        return [cell for cell in self.manifest.cells if cell.cell not in self.rows] if self.manifest else []


def load(results: Path) -> Cells:
    """Read a results folder; a folder without records or a manifest is a UsageError."""
    if not results.is_dir():
        raise UsageError(f"There is no results folder {results}; `robo-orl bench` writes one.")
    found, manifest = read_cells(results), read_manifest(results)
    costs = read_costs(results)
    if not found and not costs and manifest is None:
        raise UsageError(f"{results} holds no results: it has neither suite.json nor cells/ (see `robo-orl bench`).")
    return Cells([r for r, _ in found], {r.cell: rows for r, rows in found}, costs, manifest)


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
