"""A progress model: the share of the task that is done, stage and fraction, learned from the stage marks of a few.

SARM and ReWiND (arXiv:2505.10911) in one: the target of a frame is (k + tau) / S, with k stages done and tau the share
of the time until the next mark. After the last mark of a failure nobody knows tau: the loss is then the distance to the
stage, k / S to (k + 1) / S. Windows are rewound, their last frames in reverse, so that the model meets a task that is
being undone. The reward of a frame is the increase of progress after it.
"""

from __future__ import annotations

import numpy as np
import torch
from pydantic import Field

from robo_orl.data.arrays import EpisodeArrays
from robo_orl.rewards.classifier import require_labels
from robo_orl.rewards.model import Frames, ModelParams, RewardNetwork, draw, frames_of, kept, predictions, trained
from robo_orl.rewards.source import Judgement, Material, Source
from robo_orl.rewards.stages import require_stages


class Progress(Source):
    """Progress from 0 to 1, learned from stage marks, whose increase is the reward."""

    needs = "stages"
    generalises = True
    noises = frozenset({"flip", "missing", "near_miss", "late", "late_share"})

    class Params(ModelParams):
        """ReWiND rewinds 80 % of its windows."""

        rewind: float = Field(0.8, ge=0, le=1, description="share of the windows that end in frames going back")

    def check(self, arrays: EpisodeArrays) -> None:
        """Refuse a file whose episodes have no stages."""
        require_stages(arrays, self.config.name)

    def judge(self, material: Material) -> Judgement:
        """A success is an episode whose last frame is nearer to the labelled successes' than to the failures'."""
        arrays = material.arrays
        progress = material.parts.made("progress", lambda: self._progress(material))
        after = np.append(progress[1:], 0.0)
        ends = arrays.starts[1:] - 1
        after[ends] = progress[ends]
        score = progress[ends]
        labels = material.labels
        threshold = material.networks.number("threshold", lambda: threshold_of(score, labels.known, labels.success))
        return Judgement(after - progress, score >= threshold, score, progress=progress)

    def _progress(self, material: Material) -> np.ndarray:
        """(F,)."""
        params = self.params
        frames = frames_of(material, params, params.history, params.gap)
        network = kept(material, "progress", frames, params, 1, lambda: self._trained(material, frames))
        logits = predictions(network, frames, np.arange(len(frames.arrays.actions)))[:, 0]
        return 1.0 / (1.0 + np.exp(-logits))

    def _trained(self, material: Material, frames: Frames) -> RewardNetwork:
        params, labels = self.params, material.labels
        require_labels(np.flatnonzero(labels.known), self.config.name)
        low, high = targets(frames.arrays, labels.marks)
        among = frames.arrays.frames(labels.known)

        def loss(network: RewardNetwork, generator: np.random.Generator) -> torch.Tensor:
            windows = rewound(frames, draw(generator, among, params.batch), params.rewind, generator)
            shown = windows[:, -1]
            predicted = network(frames.observe(windows))[:, 0].sigmoid()
            below = torch.from_numpy(low[shown]).float() - predicted
            above = predicted - torch.from_numpy(high[shown]).float()
            return (below.clamp(min=0) ** 2 + above.clamp(min=0) ** 2).mean()

        return trained(frames, params, 1, loss, self.config.source, self.config.seed)


def targets(arrays: EpisodeArrays, marks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The least and the greatest progress of every frame by the marks (E, S), (F,) each; equal where tau is known."""
    stages = marks.shape[1]
    low, high = np.zeros(len(arrays.actions)), np.zeros(len(arrays.actions))
    for e in range(len(arrays)):
        first, length = arrays.starts[e], int(arrays.lengths[e])
        reached, begin = np.sort(marks[e][marks[e] >= 0]), 0
        for stage, mark in enumerate(reached):
            frames = np.arange(begin, mark + 1)
            done = (stage + (frames - begin + 1) / max(mark + 1 - begin, 1)) / stages
            low[first + frames] = high[first + frames] = done
            begin = max(begin, mark + 1)
        low[first + begin : first + length] = len(reached) / stages
        high[first + begin : first + length] = min((len(reached) + 1) / stages, 1.0)
    return low, high


def rewound(frames: Frames, at: np.ndarray, share: float, generator: np.random.Generator) -> np.ndarray:
    """The windows (M, k) at the frames (M,), of which a share ends in some of its own frames in reverse."""
    windows = frames.windows(at)
    for row in np.flatnonzero(generator.random(len(at)) < share) if frames.history > 2 else ():
        back = int(generator.integers(1, frames.history - 1))
        windows[row] = np.concatenate((windows[row, back:], windows[row, -1 - back : -1][::-1]))
    return windows


def threshold_of(score: np.ndarray, known: np.ndarray, success: np.ndarray) -> float:
    """The score that best parts labelled successes from labelled failures, by balanced accuracy; without one of the two
    half way between the best score and what it was to be."""
    positive, negative = score[known & success], score[known & ~success]
    if not len(positive) or not len(negative):
        return float(positive.min()) if len(positive) else float((score.max() + 1.0) / 2)
    cuts = np.unique(score[known])
    gains = [(positive >= cut).mean() + (negative < cut).mean() for cut in cuts]
    return float(cuts[int(np.argmax(gains))])
