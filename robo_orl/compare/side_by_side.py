"""What differs between two sides, and whether it mattered: paired tests by every endpoint and every stage."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from robo_orl.base.errors import UsageError
from robo_orl.compare.sides import Side, Trained
from robo_orl.report.compare import Difference, Pairs, verdict
from robo_orl.report.compare import compare as paired
from robo_orl.results.endpoints import Endpoint, endpoints_of
from robo_orl.results.intervals import holm
from robo_orl.results.record import EpisodeRow


@dataclass(frozen=True)
class ChangedKey:
    """A setting that differs; None where a side does not have it."""

    key: str
    first: Any
    second: Any


@dataclass(frozen=True)
class StageReached:
    """The endpoint of one stage: an episode reached it or not."""

    name: str
    index: int
    is_binary: bool = True


@dataclass(frozen=True)
class Effect:
    """The second side against the first by one endpoint or stage. p_holm: Holm's correction over all of the table."""

    endpoint: str
    first: float
    second: float
    difference: Difference
    p_holm: float
    verdict: str


@dataclass(frozen=True)
class SideBySide:
    """A comparison. n: pairs of episodes, of `trainings` pairs of trainings."""

    first: str
    second: str
    task: str
    horizon: int
    trainings: int
    n: int
    changed: list[ChangedKey]
    effects: list[Effect]

    def to_json(self) -> dict[str, Any]:
        """For --json."""
        return asdict(self)


def side_by_side(first: Side, second: Side) -> SideBySide:
    """Compare two sides on the start states that both were judged from.

    Raises UsageError, one sentence, where they do not share task, horizon, start states, loop or a training seed.
    """
    check_alike(first, second)
    matched = list(_matched(first, second))
    endpoints: list[Endpoint | StageReached] = [*endpoints_of(None)]
    endpoints += [StageReached(name, index) for index, name in enumerate(first.stages)]
    pairs = [_pairs(one, other, endpoints, first.horizon) for one, other in matched]
    if not all(len(own.starts) for own in pairs):
        raise UsageError(f"{first.name} and {second.name} have no start state in common.")
    differences = [paired(pairs, endpoint) for endpoint in endpoints]
    corrected = holm([difference.p for difference in differences])
    effects = [
        Effect(
            endpoint=endpoint.name,
            first=_mean(pairs, "opponent", endpoint.name),
            second=_mean(pairs, "policy", endpoint.name),
            difference=difference,
            p_holm=p,
            verdict=verdict(p, difference),
        )
        for endpoint, difference, p in zip(endpoints, differences, corrected, strict=True)
    ]
    changed = list(differing(matched[0][0].settings, matched[0][1].settings))
    if len(matched) > 1:
        changed = [one for one in changed if one.key != "seed"]
    n = sum(len(own.starts) for own in pairs)
    return SideBySide(first.name, second.name, first.task, first.horizon, len(matched), n, changed, effects)


def check_alike(first: Side, second: Side) -> None:
    """UsageError where the episodes of two sides cannot be paired."""
    names = f"{first.name} and {second.name} cannot be compared"
    if first.task_digest != second.task_digest:
        what = f"{first.task} and {second.task}" if first.task != second.task else f"two versions of {first.task}"
        horizons = f", of {first.horizon} and {second.horizon} decisions" if first.horizon != second.horizon else ""
        raise UsageError(f"{names}: they are of different tasks, {what}{horizons}.")
    if first.starts_sha256 != second.starts_sha256:
        raise UsageError(f"{names}: their episodes began at other start states; evaluate both with the same --starts.")
    if first.loop != second.loop:
        raise UsageError(f"{names}: physics loop {first.loop} and {second.loop}; evaluate both with the same --loop.")


def _matched(first: Side, second: Side) -> Iterator[tuple[Trained, Trained]]:
    """The trainings that are paired: one of each, or those of equal seeds."""
    if len(first.trainings) == len(second.trainings) == 1:
        yield first.trainings[0], second.trainings[0]
        return
    by_seed = {trained.seed: trained for trained in second.trainings}
    common = [trained for trained in first.trainings if trained.seed in by_seed]
    if not common:
        raise UsageError(f"{first.name} and {second.name} have no training seed in common.")
    yield from ((trained, by_seed[trained.seed]) for trained in sorted(common, key=lambda trained: trained.seed))


def _pairs(first: Trained, second: Trained, endpoints: list[Endpoint | StageReached], horizon: int) -> Pairs:
    left, right = ({(row.start, row.seed): row for row in side.rows} for side in (first, second))
    common = sorted(left.keys() & right.keys())
    one, other = ([rows[key] for key in common] for rows in (left, right))
    values = [{e.name: _values(e, rows, horizon) for e in endpoints} for rows in (one, other)]
    return Pairs(np.array([start for start, _ in common], dtype=np.int64), *values)


def _values(endpoint: Endpoint | StageReached, rows: list[EpisodeRow], horizon: int) -> np.ndarray:
    if isinstance(endpoint, StageReached):
        return np.array([row.stages[endpoint.index] for row in rows], dtype=np.float64)
    return endpoint.values(rows, horizon)


def _mean(pairs: list[Pairs], side: str, endpoint: str) -> float:
    return float(np.concatenate([getattr(own, side)[endpoint] for own in pairs]).mean())


def differing(first: Any, second: Any, at: str = "") -> Iterator[ChangedKey]:
    """The settings that differ, by their dotted names. What one side's source does not know is left out."""
    for key in dict.fromkeys([*first, *second]):
        if not at and (key not in first or key not in second):
            continue  # a run's folder does not know its regime
        one, other, name = first.get(key), second.get(key), f"{at}.{key}" if at else key
        if isinstance(one, dict) and isinstance(other, dict):
            yield from differing(one, other, name)
        elif one != other and not (at == "data" and None in (one, other)):
            yield ChangedKey(name, one, other)
