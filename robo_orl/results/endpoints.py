"""The endpoints by which policies are compared: each is defined here, once, as a number per episode.

    return      sum of gamma^t r_t of the episode: rewards early count more, so a faster success has a higher return
    success     1 where the task was solved within its limit of decisions, however late
    deadline    1 where it was solved within a share of that limit; one endpoint for each share
    stages      the share of the task's stages that were reached

A suite names its endpoints and the shares before it runs (`endpoints` and `deadlines` of config/suites.py). The default
shares are 0.4, 0.6 and 0.8 of the limit on every task: round numbers that no outcome of a policy enters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from robo_orl.config import SuiteConfig
from robo_orl.results.record import EpisodeRow

DEFINITIONS = {
    "return": "the sum of discounted rewards of an episode, higher where the task is solved sooner",
    "success": "the task solved within its limit of decisions, however late",
    "deadline": "the task solved within {percent} % of its limit of decisions",
    "stages": "the share of the task's stages that an episode reached",
}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One number per episode by which policies are compared. kind: its name in a suite; share: of a deadline."""

    kind: str
    share: float = 1.0

    @property
    def name(self) -> str:
        """return, success, stages, or within_40 for a deadline at 40 % of the limit."""
        return f"within_{self.percent}" if self.kind == "deadline" else self.kind

    @property
    def title(self) -> str:
        """The name in a sentence."""
        return f"success within {self.percent} %" if self.kind == "deadline" else self.kind

    @property
    def percent(self) -> str:
        """The share in percent: 40."""
        return f"{100 * self.share:g}"

    @property
    def definition(self) -> str:
        """The definition in words."""
        return DEFINITIONS[self.kind].format(percent=self.percent)

    @property
    def is_binary(self) -> bool:
        """True where an episode has it or has it not."""
        return self.kind in ("success", "deadline")

    def decisions(self, horizon: int) -> int:
        """The decisions that a deadline allows on a task with a limit of `horizon`."""
        return int(self.share * horizon + 1e-9)

    def values(self, rows: Sequence[EpisodeRow], horizon: int) -> np.ndarray:
        """The value of every episode, (episodes,) float64."""
        if self.kind == "return":
            return np.array([row.discounted_return for row in rows], dtype=np.float64)
        if self.kind == "stages":
            return np.array([sum(row.stages) / len(row.stages) for row in rows], dtype=np.float64)
        if self.kind == "success":
            return np.array([row.success_once for row in rows], dtype=np.float64)
        return (success_times(rows) <= self.decisions(horizon)).astype(np.float64)


def endpoints_of(suite: Mapping[str, Any] | None) -> list[Endpoint]:
    """The endpoints of a resolved suite, in its order; the defaults where it names none (`declares_endpoints`)."""
    suite = suite or {}
    fields = SuiteConfig.model_fields
    kinds = suite.get("endpoints") or fields["endpoints"].default
    shares = suite.get("deadlines") or fields["deadlines"].default
    return [Endpoint(kind, share) for kind in kinds for share in (sorted(shares) if kind == "deadline" else [1.0])]


def declares_endpoints(suite: Mapping[str, Any] | None) -> bool:
    """True where the suite was resolved with its endpoints, before it ran; older ones name none."""
    return bool((suite or {}).get("endpoints"))


def success_times(rows: Sequence[EpisodeRow]) -> np.ndarray:
    """Decisions until the first success of every episode; infinity where there is none."""
    return np.array([_success_time(row) for row in rows], dtype=np.float64)


def _success_time(row: EpisodeRow) -> float:
    if not row.success_once:
        return float("inf")
    step = row.stage_steps[-1] if row.stage_steps else None  # success is the last stage; an episode ends with it
    return row.length if step is None else step


def success_curve(times: np.ndarray, decisions: Sequence[int]) -> np.ndarray:
    """The episodes solved within each of `decisions`, from their `success_times`."""
    return np.searchsorted(np.sort(times), decisions, side="right")
