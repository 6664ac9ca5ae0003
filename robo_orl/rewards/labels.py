"""Who was asked about which episode, what was answered, and with which faults. E episodes, S stages."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from robo_orl.base.errors import UsageError
from robo_orl.base.rng import derive_seed
from robo_orl.config import LabelNoise, RewardConfig
from robo_orl.data.arrays import EpisodeArrays

HELD_OUT = 0.2  # of the episodes, at most, are kept from every model and measure its quality
# Of a label, where nobody measured. A bit: the median of 13 episodes that were played to their end on the page of
# `data label` (docs/howto/rewards.md); the others are guesses.
ASSUMED_SECONDS = {"success": 10.0, "stages": 15.0, "pairs": 5.0, "demonstrations": 90.0}


@dataclass(frozen=True)
class Labels:
    """An annotation. order: (E,) the episodes as they are asked about; more labels ask about more of the same order.

    known: (E,) bool, a label is there. success: (E,) bool as it says, False without one. marks: (E, S) int64, the frame
    of the episode at which each stage is marked, -1 = not reached or without a label. held_out: (E,) bool, kept from
    models. asked: labels that were paid for. kind: of them. seconds: that they took, None where nobody measured.
    """

    order: np.ndarray
    known: np.ndarray
    success: np.ndarray
    marks: np.ndarray
    held_out: np.ndarray
    asked: int = 0
    kind: str = "nothing"
    seconds: float | None = None

    def account(self) -> dict[str, object]:
        """The annotation in numbers: kind, labels, seconds measured and assumed."""
        assumed = ASSUMED_SECONDS.get(self.kind, 0.0) * self.asked
        return {"kind": self.kind, "labels": self.asked, "seconds": self.seconds, "seconds_assumed": assumed}


def true_marks(arrays: EpisodeArrays) -> np.ndarray:
    """(E, S) int64: the frame of each episode at which each stage was first there, -1 where it never was."""
    count = arrays.stages.shape[1]
    marks = np.full((len(arrays), count), -1, np.int64)
    for e in range(len(arrays)):
        stages = arrays.stages[arrays.starts[e] : arrays.starts[e + 1]].astype(bool)  # (T, S)
        marks[e] = np.where(stages.any(0), stages.argmax(0), -1)
    return marks


def ask_order(episodes: int, seed: int) -> np.ndarray:
    """(E,) the episodes in the order in which an annotator is asked about them."""
    return np.random.default_rng(derive_seed("labels", seed)).permutation(episodes)


def draw_labels(arrays: EpisodeArrays, config: RewardConfig, kind: str) -> Labels:
    """The labels of `config.labels` of the episodes, taken from the truth in the file, with the noise.

    kind: success, stages, pairs, demonstrations or nothing. Raises UsageError where there are fewer episodes, and, for
    demonstrations, fewer successes.
    """
    order = ask_order(len(arrays), config.seed)
    if kind == "nothing":
        return unlabelled(arrays, config.seed)
    if kind == "pairs":  # the source draws the windows, of the episodes that are not held out
        return replace(unlabelled(arrays, config.seed), asked=config.labels or 0, kind=kind)
    most = int(arrays.success.sum()) if kind == "demonstrations" else len(arrays)
    asked = most if config.labels is None else config.labels
    if asked > most or not most:
        raise UsageError(f"Reward {config.name} asks for {asked} {_in_words(kind)}, and {arrays.path} has {most}.")
    asked_of = order[arrays.success[order]] if kind == "demonstrations" else order
    known = np.zeros(len(arrays), bool)
    known[asked_of[:asked]] = True
    labels = Labels(
        order=order,
        known=known,
        success=arrays.success & known,
        marks=np.where(known[:, None], true_marks(arrays), -1),
        held_out=_held_out(order[~known[order]], len(arrays)),
        asked=asked,
        kind=kind,
    )
    return add_noise(labels, arrays, config.noise, config.seed)


def unlabelled(arrays: EpisodeArrays, seed: int) -> Labels:
    """No label of any episode, a fifth of which is held out."""
    order = ask_order(len(arrays), seed)
    none = np.zeros(len(arrays), bool)
    marks = np.full((len(arrays), arrays.stages.shape[1]), -1, np.int64)
    return Labels(order, none, none, marks, held_out=_held_out(order, len(arrays)))


def _held_out(unlabelled: np.ndarray, episodes: int) -> np.ndarray:
    """(E,) bool: a fifth of all episodes, the last of those that are not labelled."""
    held = np.zeros(episodes, bool)
    held[unlabelled[max(0, len(unlabelled) - int(HELD_OUT * episodes)) :]] = True
    return held


def _in_words(kind: str) -> str:
    words = {"success": "success bits", "stages": "episodes with stage marks", "demonstrations": "demonstrations"}
    return words[kind]


# --------------------------------------------------------------------------------------------------------------- noise


def add_noise(labels: Labels, arrays: EpisodeArrays, noise: LabelNoise, seed: int) -> Labels:
    """The labels with faults: near misses first, then late marks, flips, and losses at the end.

    Every kind draws from its own stream, and the draw of an episode does not depend on how many are labelled.
    """
    if noise == LabelNoise():
        return labels
    success, marks, known = labels.success.copy(), labels.marks.copy(), labels.known.copy()
    lengths, stages = arrays.lengths, marks.shape[1]
    for e in near_misses(arrays, labels, noise.near_miss):
        success[e] = True
        if stages:
            marks[e] = np.where(marks[e] < 0, lengths[e] - 1, marks[e])
    late = known & (_uniform(seed, "late", len(arrays)) < noise.late_share)
    if noise.late and stages:
        moved = np.minimum(marks + noise.late, lengths[:, None] - 1)
        marks = np.where(late[:, None] & (marks >= 0), moved, marks)
    flipped = known & (_uniform(seed, "flip", len(arrays)) < noise.flip)
    success[flipped] = ~success[flipped]
    if stages:
        marks = _flip_marks(marks, lengths, known, noise.flip, seed)
    known &= _uniform(seed, "missing", len(arrays)) >= noise.missing
    return replace(labels, known=known, success=success & known, marks=np.where(known[:, None], marks, -1))


def _flip_marks(marks: np.ndarray, lengths: np.ndarray, known: np.ndarray, flip: float, seed: int) -> np.ndarray:
    """A stage that was reached is not marked, and one that was not is marked at a frame drawn by chance."""
    count, stages = marks.shape
    flipped = known[:, None] & (_uniform(seed, "flip marks", count * stages).reshape(count, stages) < flip)
    anywhere = (_uniform(seed, "frames", count * stages).reshape(count, stages) * lengths[:, None]).astype(np.int64)
    return np.where(flipped, np.where(marks >= 0, -1, anywhere), marks)


def near_misses(arrays: EpisodeArrays, labels: Labels, share: float) -> np.ndarray:
    """The share of the labelled failures whose last frames lie nearest to the last frame of a labelled success.

    Distances are of standardised observations. Without a labelled success there is nothing to look like: none.
    """
    failures = np.flatnonzero(labels.known & ~labels.success)
    successes = np.flatnonzero(labels.known & labels.success)
    count = int(round(share * len(failures)))
    if not count or not len(successes):
        return np.zeros(0, np.int64)
    ends = arrays.observations[arrays.starts[1:] - 1].astype(np.float64)  # (E, W)
    ends = (ends - ends.mean(0)) / np.maximum(ends.std(0), 1e-3)
    apart = np.linalg.norm(ends[failures][:, None] - ends[successes][None], axis=2).min(1)
    return failures[np.argsort(apart, kind="stable")[:count]]


def _uniform(seed: int, stream: str, count: int) -> np.ndarray:
    return np.random.default_rng(derive_seed("label noise", stream, seed)).random(count)
