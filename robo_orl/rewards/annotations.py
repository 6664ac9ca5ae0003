"""Labels that people gave: journals of `robo-orl data label`, one JSON object a line, the newest of a person counts.

    {"file": sha256, "episode": "demo_3", "annotator": "ann", "success": true, "marks": [41, 88], "seconds": 7.2}

marks: the frame of each stage, null where it was not reached; left out where the task's stages were not asked for.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
from pydantic import Field, ValidationError

from robo_orl.base.errors import UsageError, unknown
from robo_orl.config import RewardConfig, Strict
from robo_orl.config.reading import read_text
from robo_orl.data.arrays import EpisodeArrays
from robo_orl.rewards.labels import Labels, add_noise, draw_labels


class Annotation(Strict):
    """One label of one episode."""

    file: str = Field(description="sha256 of the data file that was shown")
    episode: str
    annotator: str
    success: bool
    marks: list[int | None] | None = None
    seconds: float = Field(ge=0, description="from the first picture to the answer")


def read_journal(path: Path) -> list[Annotation]:
    """The labels of a journal in order. A last line that a crash cut short is left out; another one is a UsageError."""
    lines = read_text(path).split("\n")
    found = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            found.append(Annotation.model_validate_json(line))
        except ValidationError as error:
            if number == len(lines):
                break
            fault = " ".join(str(error.errors()[0]["msg"]).split())
            raise UsageError(f"{path} is no journal of labels: line {number}: {fault}.") from None
    return found


def newest(annotations: Iterable[Annotation]) -> dict[tuple[str, str], Annotation]:
    """(episode, annotator) -> the label that this annotator gave last."""
    return {(a.episode, a.annotator): a for a in annotations}


def labels_of_files(paths: tuple[Path, ...], arrays: EpisodeArrays, config: RewardConfig, kind: str) -> Labels:
    """The labels in journals; `config.labels` takes the first so many of them, and noise comes on top.

    Raises UsageError for labels of another file or of episodes that it does not have, for two annotators who
    contradict, for marks outside of an episode, and for a source that takes neither success bits nor stage marks.
    """
    if kind not in ("success", "stages"):
        raise UsageError(f"Reward {config.name} takes no success bits or stage marks: leave --annotations out.")
    labels = list(newest(a for path in paths for a in read_journal(path)).values())
    where = ", ".join(map(str, paths))
    if not labels:
        raise UsageError(f"{where} holds no label; `robo-orl data label` writes them.")
    for label in labels:
        _check(label, arrays, where, kind)
    _check_agreement(labels, where)
    by_episode = {label.episode: label for label in labels}
    chosen = list(by_episode.values())[: config.labels]
    if config.labels is not None and len(chosen) < config.labels:
        raise UsageError(f"Reward {config.name} asks for {config.labels} labels, and {where} has {len(chosen)}.")
    return _joined(chosen, labels, arrays, config, kind)


def _joined(
    chosen: list[Annotation], everybodys: list[Annotation], arrays: EpisodeArrays, config: RewardConfig, kind: str
) -> Labels:
    """The labels of the chosen episodes; the cost is that of every annotator who was asked about them."""
    at = np.array([arrays.names.index(label.episode) for label in chosen])
    known, success = np.zeros(len(arrays), bool), np.zeros(len(arrays), bool)
    marks = np.full((len(arrays), arrays.stages.shape[1]), -1, np.int64)
    known[at], success[at] = True, [label.success for label in chosen]
    if kind == "stages":
        marks[at] = [[-1 if mark is None else mark for mark in label.marks or ()] for label in chosen]
    held = ~known
    order = np.concatenate((at, np.flatnonzero(held)))
    names = {label.episode for label in chosen}
    own = [label for label in everybodys if label.episode in names]
    drawn = draw_labels(arrays, config.model_copy(update={"labels": None, "noise": type(config.noise)()}), "nothing")
    labels = replace(
        drawn, order=order, known=known, success=success, marks=marks, held_out=held, asked=len(own), kind=kind,
        seconds=round(sum(label.seconds for label in own), 3),
    )  # fmt: skip
    return add_noise(labels, arrays, config.noise, config.seed)


def _check(label: Annotation, arrays: EpisodeArrays, where: str, kind: str) -> None:
    if label.episode not in arrays.names:
        raise unknown(f"episode of {arrays.path} in {where}", label.episode, arrays.names)
    if label.file != arrays.sha256:
        raise UsageError(f"{where} holds labels of another file than {arrays.path}: label that one, or give the other.")
    if kind != "stages":
        return
    stages, frames = arrays.stages.shape[1], int(arrays.lengths[arrays.names.index(label.episode)])
    if label.marks is None or len(label.marks) != stages:
        said = "none" if label.marks is None else str(len(label.marks))
        raise UsageError(f"{where}: {label.episode} needs {stages} stage marks and has {said}: mark its stages.")
    outside = next((mark for mark in label.marks if mark is not None and not 0 <= mark < frames), None)
    if outside is not None:
        raise UsageError(f"{where}: {label.episode} has a mark at frame {outside}, and {frames} frames.")


def _check_agreement(labels: list[Annotation], where: str) -> None:
    """UsageError where two annotators differ about a success, or about which stages were reached."""
    first: dict[str, Annotation] = {}
    for label in labels:
        other = first.setdefault(label.episode, label)
        if other.success != label.success or _reached(other) != _reached(label):
            raise UsageError(
                f"{where}: {other.annotator} and {label.annotator} contradict each other about {label.episode}: let "
                "one of them label it again, or give the journal of one."
            )


def _reached(label: Annotation) -> list[bool] | None:
    return None if label.marks is None else [mark is not None for mark in label.marks]
