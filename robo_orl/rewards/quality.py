"""The quality of a reward: does it tell successes from failures, does it follow the task, can it be fooled?

Measured on episodes that no model was trained on, against the truth that the simulator recorded. E episodes, F frames.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.stats import kendalltau, rankdata

from robo_orl.data.arrays import EpisodeArrays
from robo_orl.data.windows import stages_before
from robo_orl.rewards.source import Judgement

BINS = 10  # of a calibration


def quality(arrays: EpisodeArrays, judged: Judgement, returns: np.ndarray, chosen: np.ndarray) -> dict[str, Any] | None:
    """The quality over the episodes chosen (E,) bool, JSON-able; None where none is.

    returns: (F,) of the rewards, on the one scale. A number is None where its episodes do not define it (an AUC of
    successes alone).
    """
    if not chosen.any():
        return None
    score = judged.score
    success, first = arrays.success[chosen], returns[arrays.starts[:-1]][chosen]
    found: dict[str, Any] = {"episodes": int(chosen.sum()), "success_k": int(success.sum())}
    found["auc"] = auc(score[chosen], success)
    found["auc_of_returns"] = auc(first, success)
    if judged.success is not None:
        called = judged.success[chosen]
        found["false_successes"] = {"k": int((called & ~success).sum()), "n": int((~success).sum())}
        found["missed_successes"] = {"k": int((~called & success).sum()), "n": int(success.sum())}
    if judged.probability:
        found |= calibration(score[chosen], success)
    if judged.progress is not None:
        found |= order_of_progress(arrays, judged.progress, chosen)
    return found | hacking(first, success)


def auc(score: np.ndarray, success: np.ndarray) -> float | None:
    """The probability that a success scores higher than a failure, ties one half; None without one of the two."""
    positive, negative = int(success.sum()), int((~success).sum())
    if not positive or not negative:
        return None
    ranks = rankdata(score)
    return float((ranks[success].sum() - positive * (positive + 1) / 2) / (positive * negative))


def calibration(probability: np.ndarray, success: np.ndarray) -> dict[str, float]:
    """The Brier score, and the expected calibration error over ten bins of equal width."""
    bins = np.minimum((probability * BINS).astype(np.int64), BINS - 1)
    count = np.bincount(bins, minlength=BINS)
    apart = np.abs(np.bincount(bins, success - probability, minlength=BINS))
    return {
        "brier": float(np.mean((probability - success) ** 2)),
        "calibration_error": float(apart[count > 0].sum() / len(probability)),
    }


def order_of_progress(arrays: EpisodeArrays, progress: np.ndarray, chosen: np.ndarray) -> dict[str, float | None]:
    """Kendall's tau-b of progress, the mean over episodes: with the stages completed, and with the frames to success.

    The second is over successes, and negated: 1 = every later frame has more progress.
    """
    stages = stages_before(arrays)
    by_stage, by_distance = [], []
    for e in np.flatnonzero(chosen):
        frames = slice(arrays.starts[e], arrays.starts[e + 1])
        own, length = progress[frames], int(arrays.lengths[e])
        if len(np.unique(stages[frames])) > 1:
            by_stage.append(_tau(own, stages[frames]))
        if arrays.success[e] and length > 1:
            by_distance.append(_tau(own, np.arange(length)))
    return {"tau_stage": _mean(by_stage), "tau_distance": _mean(by_distance)}


def _tau(one: np.ndarray, other: np.ndarray) -> float:
    """Kendall's tau-b; 0 where one of the two does not vary."""
    value = kendalltau(one, other).statistic
    return 0.0 if np.isnan(value) else float(value)


def _mean(values: list[float]) -> float | None:
    return float(np.mean(values)) if values else None


def hacking(returns: np.ndarray, success: np.ndarray) -> dict[str, Any]:
    """Failures whose return is high: at least the median of the successes', and above the lowest of all episodes.

    k of n; None where nothing succeeded. Where a reward gives nobody anything, nothing is hacked.
    """
    if not success.any():
        return {"hacked": None}
    failures = returns[~success]
    high = (failures >= np.median(returns[success])) & (failures > returns.min())
    return {"hacked": {"k": int(high.sum()), "n": len(failures)}}
