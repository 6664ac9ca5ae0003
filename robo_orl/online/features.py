"""The tokens of a frozen native backbone, computed once for every frame that is drawn."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from robo_orl.data.windows import PairedWindows
from robo_orl.engine.features import FeatureWindows

BATCH = 256  # frames at once


class FrozenTokens:
    """The tokens (F, S, D) of the frames of windows that grow: those of frames that were there are kept.

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
                self._keep(begin, self._encoded(windows, np.arange(begin, min(begin + BATCH, last))))
        return FeatureWindows(windows, self._tokens[None, : self._frames], torch.float32)

    @torch.no_grad()
    def _encoded(self, windows: PairedWindows, at: np.ndarray) -> np.ndarray:
        """(M, S, D) of the frames `at` (M,)."""
        even = np.concatenate((at, at[-1:])) if len(at) % 2 else at  # halves of pairs share a sentence
        obs = windows._observation(windows._seen(even), np.zeros(len(even) // 2, np.int64)).to(self.device)
        return self.agent.backbone(self.agent.normaliser.observation(obs))[: len(at)].float().cpu().numpy()

    def _keep(self, first: int, tokens: np.ndarray) -> None:
        end = first + len(tokens)
        if self._tokens is None or end > len(self._tokens):
            grown = np.empty((max(end, 2 * self._frames, 4096), *tokens.shape[1:]), np.float32)
            if self._tokens is not None:
                grown[: self._frames] = self._tokens[: self._frames]
            self._tokens = grown
        self._tokens[first:end] = tokens
        self._frames = end
