"""The account of a run: online.jsonl, a row a round and a row a point, and its sum online.json.

Steps and updates are counted from what was kept: after a kill nothing is in them twice. Seconds are those of the work
that is kept: a round that is done again, whose episodes are not played again, keeps the larger of both.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from robo_orl.base.files import write_text
from robo_orl.base.os_errors import describe_os_errors
from robo_orl.engine.monitor import peak_memory
from robo_orl.online.points import lost_and_won
from robo_orl.online.replay import CollectedEpisode
from robo_orl.online.schedule import Slot

ROWS, SUMMARY = "online.jsonl", "online.json"
# Updates that were due and not made, and of what was collected what was not learned from.
COUNTED = ("skipped", "discarded_groups", "discarded_steps")


@dataclass
class Account:
    """The rows of a run.

    rounds: by number. points: by environment step. start: the run as it was, choosing as it did. warm_up: the critic's
    error on what was collected in it, at the switch and after its own updates. keeps: whether rows are written. again:
    rows of rounds that are done once more, after a kill.
    """

    path: Path
    rounds: dict[int, dict[str, Any]] = field(default_factory=dict)
    points: dict[int, dict[str, Any]] = field(default_factory=dict)
    start: dict[str, Any] | None = None
    warm_up: dict[str, Any] | None = None
    keeps: bool = True
    again: dict[int, dict[str, Any]] = field(default_factory=dict)

    def add_round(
        self,
        slot: Slot,
        of_round: Sequence[CollectedEpisode],
        seconds: dict[str, float],
        metrics: dict[str, float],
        counts: dict[str, int],
    ) -> None:
        """The row of a slot that is done: the episodes of its round, and what was learned meanwhile.

        counts: of COUNTED, what else happened in it.
        """
        before = self.again.pop(slot.number, {})
        row = {
            "kind": "round",
            "round": slot.number,
            "warm_up": slot.warm_up,
            "episodes": len(of_round),
            "successes": sum(episode.success for episode in of_round),
            "env_steps": slot.collected + sum(episode.length for episode in of_round),
            "updates": slot.after,
            "critic_only": slot.critic_only,
            "simulation_s": round(sum(episode.simulation_s for episode in of_round), 4),
            **{name: max(round(value, 4), before.get(name, 0.0)) for name, value in seconds.items()},
            **counts,
            "metrics": metrics,
        }
        self.rounds[slot.number] = row
        self._append(row)

    def add_point(self, point: dict[str, Any]) -> dict[str, Any]:
        """The row of a point: with what was lost and won since the switch, and in other tasks since the start, and the
        account up to it."""
        first = self.points.get(0, point)
        row = point | lost_and_won(point, first) | {"account": self.sums()}
        if self.start is not None:
            row["of_start"] = lost_and_won(point, self.start)
        if "others" in point and self.start is not None:
            before = self.start["others"]
            row["others"] = {name: one | lost_and_won(one, before[name]) for name, one in point["others"].items()}
        self.points[point["at"]] = row
        self._append(row)
        return row

    def add_start(self, row: dict[str, Any]) -> None:
        """The row of the run that learning begins with."""
        self.start = row
        self._append(row)

    def add_warm_up(self, slot: Slot, before: dict[str, Any], after: dict[str, Any]) -> None:
        """The error of a critic on what the warm-up collected, before and after its own updates in `slot`."""
        row = {"kind": "warm_up", "round": slot.number, "env_steps": slot.collected, "updates": slot.critic_only}
        self.warm_up = row | {"before": before, "after": after}
        self._append(self.warm_up)

    def take(self, row: dict[str, Any], first: int) -> None:
        """Take a row of before, but for those of rounds that are done again: number `first` and later."""
        kind = row["kind"]
        if kind == "point":
            self.points[row["at"]] = row
        elif kind == "start":
            self.start = row
        elif kind == "warm_up" and row["round"] < first:
            self.warm_up = row
        elif kind == "round":
            (self.rounds if row["round"] < first else self.again)[row["round"]] = row

    def sums(self) -> dict[str, Any]:
        """What was consumed so far."""
        rows = self.rounds.values()
        judged = [*self.points.values(), *([self.start] if self.start else [])]
        names = ("simulation_s", "acting_s", "learning_s", "wall_s")
        return {
            "env_steps": max((row["env_steps"] for row in rows), default=0),
            "warm_up_steps": max((row["env_steps"] for row in rows if row["warm_up"]), default=0),
            "episodes": sum(row["episodes"] for row in rows),
            "updates": max((row["updates"] for row in rows), default=0),
            "critic_only_updates": sum(row["critic_only"] for row in rows),
            **{name: sum(row.get(name, 0) for row in rows) for name in COUNTED},
            **{name: round(sum(row[name] for row in rows), 2) for name in names},
            "evaluation_s": round(sum(point["seconds"] for point in judged), 2),
            "peak_memory_bytes": peak_memory()[0],
        }

    def _append(self, row: dict[str, Any]) -> None:
        if not self.keeps:
            return
        with describe_os_errors(self.path), self.path.open("a") as file:
            file.write(json.dumps(row) + "\n")


def open_account(out: Path, first: int) -> Account:
    """The account in `out` as it was before slot `first`; its points are kept, later rounds are done again."""
    account = Account(out / ROWS)
    lines = account.path.read_text(errors="replace").splitlines() if account.path.exists() else []
    for line in lines:
        try:
            row = json.loads(line)
        except ValueError:  # cut short by a kill
            continue
        account.take(row, first)
    rows = [*account.rounds.values(), *account.points.values()]
    ordered = sorted(rows, key=lambda row: (row["updates"], row["env_steps"], row["kind"]))
    lone = [row for row in (account.start, account.warm_up) if row is not None]
    write_text(account.path, "".join(json.dumps(row) + "\n" for row in lone + ordered))
    return account
