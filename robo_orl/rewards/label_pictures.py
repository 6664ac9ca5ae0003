"""The pictures of an episode that a person judges: those in the file, or rendered of its stored states."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from robo_orl.base.errors import UsageError
from robo_orl.config import View
from robo_orl.data import hdf5_schema as layout
from robo_orl.data.recording import open_recordings, read_recording


@dataclass(frozen=True)
class Played:
    """Pictures (N, H, W, 3) uint8 of an episode, and the frame of each."""

    pictures: np.ndarray
    frames: list[int]


class Pictures:
    """The episodes of a file as pictures; a renderer lives in one thread of its own, as OpenGL wants it.

    camera, size: of pictures that are rendered; where the file has pictures of the camera these are shown. every:
    frames between two pictures. Raises UsageError for a file with neither pictures nor states of a known task.
    """

    def __init__(self, path: Path, camera: str, size: int, every: int):
        self.path, self.camera, self.size, self.every = path, camera, size, every
        with layout.open_hdf5(path) as file:
            self.stored = f"{camera}{layout.IMAGE}" in layout.image_keys(file)
            made = layout.provenance(file)
        if not self.stored and made is None:
            raise UsageError(
                f"{path} has no pictures of the camera '{camera}', and does not name its task to render any."
            )
        self.task = made.task if made else None
        self._env = None
        if not self.stored:
            open_recordings(path)
        self._thread = ThreadPoolExecutor(max_workers=1)

    def of(self, episode: str) -> Played:
        """The pictures of an episode, its last frame always among them."""
        return self._thread.submit(self._stored if self.stored else self._rendered, episode).result()

    def close(self) -> None:
        """End the renderer."""
        self._thread.submit(lambda: self._env and self._env.close()).result()
        self._thread.shutdown()

    def _frames(self, count: int) -> list[int]:
        return sorted({*range(0, count, self.every), count - 1})

    def _stored(self, episode: str) -> Played:
        with layout.open_hdf5(self.path) as file:
            pictures = file["data"][episode]["obs"][f"{self.camera}{layout.IMAGE}"]
            frames = self._frames(len(pictures))
            return Played(pictures[:][frames], frames)

    def _rendered(self, episode: str) -> Played:
        from robo_orl.envs.task_env import TaskEnv

        self._env = self._env or TaskEnv(self.task, "stock")
        recording, view = read_recording(self.path, episode), View(cameras=(self.camera,), size=self.size)
        recording.begin(self._env)
        frames, seen = self._frames(len(recording.states)), []
        for frame in frames:
            self._env.pose(recording.states[frame])
            seen.append(self._env.see(view)[f"{self.camera}{layout.IMAGE}"])
        return Played(np.stack(seen), frames)
