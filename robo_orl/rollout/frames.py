"""The frames up to now that a policy decides on; numpy only, for simulator processes hold them too."""

from __future__ import annotations

from collections import deque

import numpy as np

Frame = dict[str, np.ndarray]


class Frames:
    """The newest `history` frames of an episode; its first one stands for those before it too."""

    def __init__(self, history: int):
        self._frames: deque[Frame] = deque(maxlen=history)

    def add(self, frame: Frame) -> None:
        """Make this instant the newest frame."""
        self._frames.extend([frame] * (1 if self._frames else self._frames.maxlen))

    def stacked(self) -> Frame:
        """The newest frame; with a history of k > 1, per key the newest k stacked, (k, ...), oldest first."""
        newest = self._frames[-1]
        if self._frames.maxlen == 1:
            return newest
        return {key: np.stack([frame[key] for frame in self._frames]) for key in newest}
