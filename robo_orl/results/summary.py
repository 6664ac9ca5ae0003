"""The scores of episode rows: one function for the summary of an evaluation and for `verify`."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean, median
from typing import Any

from robo_orl.results.intervals import score
from robo_orl.results.record import EpisodeRow, StageScore


def summarise(rows: Sequence[EpisodeRow], stages: Sequence[str]) -> dict[str, Any]:
    """The score fields of `Evaluation` that follow from the rows alone.

    stages: the task's stage names; every row holds an outcome for each of them.
    """
    if any(len(row.stages) != len(stages) for row in rows):
        raise ValueError(f"an episode row does not hold all of the stages {', '.join(stages)}")
    n = len(rows)
    lengths = [row.length for row in rows if row.success_once]
    searched = [row.look_ahead_decisions for row in rows if row.look_ahead_decisions is not None]
    return {
        "episodes": n,
        "success_once": score(sum(row.success_once for row in rows), n),
        "success_at_end": score(sum(row.success_at_end for row in rows), n),
        "stages": [_stage(rows, index, name) for index, name in enumerate(stages)],
        "stages_reached": fmean(sum(row.stages) / len(stages) for row in rows) if rows else 0.0,
        "success_length_median": float(median(lengths)) if lengths else None,
        "success_length_mean": fmean(lengths) if lengths else None,
        "discounted_return": fmean(row.discounted_return for row in rows) if rows else 0.0,
        "restarts": sum(row.restarts for row in rows),
        "look_ahead_decisions": sum(searched) if searched else None,
    }


def _stage(rows: Sequence[EpisodeRow], index: int, name: str) -> StageScore:
    before = [row for row in rows if index == 0 or row.stages[index - 1]]
    return StageScore(
        name=name,
        reached=score(sum(row.stages[index] for row in rows), len(rows)),
        conditional=score(sum(row.stages[index] for row in before), len(before)),
    )
