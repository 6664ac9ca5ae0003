"""The tokens of a frozen native backbone, computed once for every frame that is drawn."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from robo_orl.data.windows import PairedWindows
from robo_orl.engine.features import FeatureWindows

BATCH = 256  # frames at once


class FrozenTokens:
    """The tokens (N, F, S, D) of the frames of windows that grow, for each of their N sentences: those of frames that
    were there are kept.

    Frames are encoded in batches whose bounds are multiples of BATCH and of episodes' starts, so that a frame's tokens
    do not depend on how often this was called.
    """

    def __init__(self, agent: nn.Module, device: torch.device):
        self.agent, self.device = agent, device
        self._tokens: np.ndarray | None = None
        self._frames = 0

    def __call__(self, windows: PairedWindows) -> FeatureWindows:
        """The same windows, which read tokens."""
        starts = windows.arrays.starts
        for first, last in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True):
            for begin in range(max(first, self._frames), last, BATCH):
                at = np.arange(begin, min(begin + BATCH, last))
                self._keep(begin, np.stack([self._encoded(windows, at, n) for n in range(windows.sentences)]))
        return FeatureWindows(windows, self._tokens[:, : self._frames], torch.float32)

    @torch.no_grad()
    def _encoded(self, windows: PairedWindows, at: np.ndarray, sentence: int) -> np.ndarray:
        """(M, S, D) of the frames `at` (M,), told the one sentence."""
        obs = windows._observation(windows._seen(at), np.full(len(at), sentence)).to(self.device)
        return self.agent.backbone(self.agent.normaliser.observation(obs)).float().cpu().numpy()

    def _keep(self, first: int, tokens: np.ndarray) -> None:
        sentences, frames, *width = tokens.shape
        end = first + frames
        if self._tokens is None or end > self._tokens.shape[1]:
            grown = np.empty((sentences, max(end, 2 * self._frames, 4096), *width), np.float32)
            if self._tokens is not None:
                grown[:, : self._frames] = self._tokens[:, : self._frames]
            self._tokens = grown
        self._tokens[:, first:end] = tokens
        self._frames = end
