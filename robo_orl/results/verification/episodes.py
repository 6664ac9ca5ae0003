"""The rows of an evaluation: each episode by itself, and all of them against their record."""

from __future__ import annotations

import math
from collections import Counter

from robo_orl.config import TaskConfig
from robo_orl.results.addresses import evaluation_gamma
from robo_orl.results.record import EpisodeRow, Record
from robo_orl.results.verification.tasks import task_of

REWARDS = ("success", "stages")


def row_faults(record: Record, rows: list[EpisodeRow]) -> list[str]:
    """The contradictions of the rows; of each kind the first one is named, with the number of its rows."""
    issues = _set_faults(rows)
    task = task_of(record.task)
    found: dict[str, list[str]] = {}
    for row in rows:
        for kind, sentence in (_belongs(record, row) | _stages(record, row) | _length(record, row, task)).items():
            found.setdefault(kind, []).append(sentence)
    for sentences in found.values():
        more = f" ({len(sentences)} rows)" if len(sentences) > 1 else ""
        issues.append(f"{sentences[0]}{more}.")
    if not found:
        issues += _return_faults(record, rows, task)
    return issues


def _set_faults(rows: list[EpisodeRow]) -> list[str]:
    issues = []
    if sorted(row.episode for row in rows) != list(range(len(rows))):
        issues.append("episodes are missing or counted twice.")
    if len({(row.start, row.seed) for row in rows}) != len(rows):
        issues.append("a start state was used more than once with the same seed, so the episodes are not independent.")
    counts = Counter(row.fingerprint for row in rows if row.fingerprint)
    if repeated := [fingerprint for fingerprint, count in counts.items() if count > 1]:
        numbers = [row.episode for row in rows if row.fingerprint == repeated[0]]
        issues.append(f"episodes {' and '.join(map(str, numbers[:2]))} are the same one: their fingerprints are equal.")
    if len({bool(row.fingerprint) for row in rows}) > 1:
        issues.append("some rows have a fingerprint and others have none.")
    return issues


def _belongs(record: Record, row: EpisodeRow) -> dict[str, str]:
    """A row against its record: kind of fault -> sentence."""
    evaluation, found, name = record.evaluation, {}, f"episode {row.episode}"
    if row.start != row.episode:
        found["start"] = f"{name} began at start state {row.start}; episode i begins at start state i"
    if row.seed != evaluation.seed:
        found["seed"] = f"{name} has seed {row.seed}, the evaluation has seed {evaluation.seed}"
    if row.starts_sha256 and row.starts_sha256 != evaluation.starts_sha256:
        found["bank"] = f"{name} is of another bank of start states than the evaluation"
    if row.loop and row.loop != evaluation.loop:
        found["loop"] = f"{name} was stepped by the loop {row.loop}, the evaluation says {evaluation.loop}"
    searches = bool((record.policy.config.get("selection") or {}).get("look_ahead"))
    if searches != (row.look_ahead_decisions is not None):
        states = "states" if row.look_ahead_decisions is not None else "states no"
        found["search"] = f"{name} {states} decisions of a search, the policy's selection says otherwise"
    if row.horizon is not None and row.horizon != record.task.horizon:
        found["horizon"] = f"{name} has the horizon {row.horizon}, the task has {record.task.horizon}"
    return found


def _stages(record: Record, row: EpisodeRow) -> dict[str, str]:
    """The stages of a row against each other: kind of fault -> sentence."""
    found, name = {}, f"episode {row.episode}"
    if row.success_at_end and not row.success_once:
        found["end"] = f"{name} ends in success without ever having succeeded"
    if row.success_once and not row.success_at_end:
        found["end"] = f"{name} succeeded and does not end there; an episode ends at its success"
    if row.stages and row.success_once != row.stages[-1]:
        found["success"] = f"{name}: the last stage and success disagree"
    if any(later and not earlier for earlier, later in zip(row.stages, row.stages[1:], strict=False)):
        found["order"] = f"{name} reached a stage without the one before"
    if row.stage_steps is None:
        return found
    steps = [step for step in row.stage_steps if step is not None]
    if [step is not None for step in row.stage_steps] != row.stages:
        found["steps"] = f"{name}: stage_steps and stages disagree"
    if steps != sorted(steps):
        found["order"] = f"{name} reached its stages in another order than the task's"
    if steps and not 1 <= min(steps) <= max(steps) <= row.length:
        found["steps"] = f"{name} reached a stage outside its {row.length} decisions"
    if row.success_once and row.stage_steps and row.stage_steps[-1] != row.length:
        found["length"] = f"{name} has {row.length} decisions, its success came at {row.stage_steps[-1]}"
    return found


def _length(record: Record, row: EpisodeRow, task: TaskConfig | None) -> dict[str, str]:
    """The length of a row against the horizon: kind of fault -> sentence."""
    name, horizon = f"episode {row.episode}", record.task.horizon
    if row.length > horizon:
        return {"longer": f"{name} is longer ({row.length}) than the horizon ({horizon})"}
    if row.length < 1:
        return {"short": f"{name} has no decision"}
    if not row.success_once and row.length < _shortest_failure(record, task):
        return {"short": f"{name} failed after {row.length} of {horizon} decisions; a failure lasts to the time-out"}
    return {}


def _shortest_failure(record: Record, task: TaskConfig | None) -> int:
    """Decisions until the time-out of an episode that reached no stage: dead time after a stage did not pass."""
    if not record.task.padding:
        return record.task.horizon
    if task is None:
        dead = record.task.padding * record.task.control_hz
        return math.floor(record.task.horizon - dead * len(record.task.stages))
    return round(task.max_seconds * task.control_hz) + round(task.padding * task.control_hz)


def _return_faults(record: Record, rows: list[EpisodeRow], task: TaskConfig | None) -> list[str]:
    """The returns against gamma, the stages' decisions and the reward: the task's own, or one of all where no task here
    has the digest."""
    gamma = evaluation_gamma(record.task.control_hz)
    rewards = (task.reward,) if task is not None else REWARDS
    wrong = [_wrong_return(rows, gamma, reward) for reward in rewards]
    if None in wrong:
        return []
    row, expected = wrong[0]
    return [f"episode {row.episode} states the return {row.discounted_return:.6g}, its steps pay {expected:.6g}."]


def _wrong_return(rows: list[EpisodeRow], gamma: float, reward: str) -> tuple[EpisodeRow, float] | None:
    """The first row whose return is not what its episode pays, and that; None where all are right."""
    for row in rows:
        expected = _paid(row, gamma, reward)
        if expected is not None and not math.isclose(row.discounted_return, expected, rel_tol=1e-9, abs_tol=1e-15):
            return row, expected
    return None


def _paid(row: EpisodeRow, gamma: float, reward: str) -> float | None:
    """The discounted return of an episode; None where the row does not say when its stages were reached."""
    if reward == "success":
        return gamma ** (row.length - 1) if row.success_once else 0.0
    if row.stage_steps is None:
        return None
    return sum(gamma ** (step - 1) for step in row.stage_steps if step is not None) / len(row.stage_steps)
