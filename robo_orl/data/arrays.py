"""The episodes of a data file as flat arrays, what was read of it, and what was changed in reading."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from robo_orl.base.errors import UsageError, unknown
from robo_orl.config import DataReading, TaskConfig, sha256_of


@dataclass(frozen=True, slots=True)
class Reading:
    """The parts of a data file that its user reads, and the choices in reading them.

    keys: low-dim observation keys; None = those of `offered` that every episode has, and without `offered` all that
    every episode has. offered: the keys of the task's simulator. cameras: whose pictures. rewards: whether rewards and
    the success that they tell are read. choice: the options of the data in a run's configuration.
    """

    keys: tuple[str, ...] | None = None
    offered: tuple[str, ...] | None = None
    cameras: tuple[str, ...] = ()
    rewards: bool = True
    choice: DataReading = DataReading()

    def digest(self) -> str:
        """The sha256 of all that decides the vectors, actions and rewards that are read."""
        offered = None if self.keys is not None else self.offered
        choice = self.choice.model_dump(mode="json", exclude={"accept_mismatch"})
        return sha256_of({"keys": self.keys, "offered": offered, "choice": choice})


@dataclass(frozen=True, slots=True)
class Adjustments:
    """The changes made in reading a file, counted."""

    clipped_frames: int = 0
    largest_action: float = 0.0
    cut_frames: int = 0
    cut_episodes: int = 0
    rewards: str | None = None

    def sentences(self) -> Iterator[str]:
        """One per kind of change."""
        if self.clipped_frames:
            largest = f"largest {self.largest_action:.3g}"
            yield f"actions of {self.clipped_frames} frames left [-1, 1] ({largest}) and are clipped"
        if self.cut_frames:
            yield (
                f"{self.cut_frames} frames after the first success of {self.cut_episodes} episodes are left out "
                "(--after-success keep reads them)"
            )
        if self.rewards:
            yield self.rewards


@dataclass(frozen=True)
class EpisodeArrays:
    """E episodes end to end: F frames in all, memory-mapped and read-only.

    observations: (F, W) float32, the keys of `spec` (key -> size, sizes sum to W) side by side: one row, one lookup.
    actions: (F, A) float32. rewards: (F,) float32. stages: (F, S) uint8, after the action; S = 0: the file has none.
    starts: (E + 1,) int64, episode e is frames starts[e] .. starts[e+1]-1. success: (E,) bool. terminal: (E,) bool, the
    episode ended in a true terminal and not in a timeout. start_state: (E,) int64, -1 where unknown.
    images: per camera that is read (F, H, W, 3) uint8; render: the fingerprint of what made them, None where unknown.
    masks: name -> (E,) bool. task: of the recording, None where the file does not say. env: robomimic's description of
    the environment. sha256: of the HDF5 file. adjusted: changes in reading. notes: what a user should know of the file.
    reward_fault: the reason why its rewards cannot be read, which are then 0. action_names: of the A numbers, none
    where the file does not say. action_range: low and high (A,) of what its actions were scaled to [-1, 1] from.
    """

    path: str
    sha256: str
    spec: dict[str, int]
    observations: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray
    stages: np.ndarray
    starts: np.ndarray
    success: np.ndarray
    terminal: np.ndarray
    start_state: np.ndarray
    masks: dict[str, np.ndarray]
    names: list[str]
    operators: list[str]
    grades: list[str]
    task: TaskConfig | None
    regime: str | None
    loop: str | None
    images: dict[str, np.ndarray] = field(default_factory=dict)
    render: dict[str, Any] | None = None
    env: dict[str, Any] = field(default_factory=dict)
    adjusted: Adjustments = Adjustments()
    notes: tuple[str, ...] = ()
    reward_fault: str | None = None
    action_names: tuple[str, ...] = ()
    action_range: tuple[tuple[float, ...], tuple[float, ...]] | None = None

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def obs(self) -> dict[str, np.ndarray]:
        """Per key (F, D) float32, views of `observations`."""
        ends = np.cumsum(list(self.spec.values()))[:-1]
        return dict(zip(self.spec, np.split(self.observations, ends, axis=1), strict=True))

    @property
    def action_dim(self) -> int:
        return self.actions.shape[1]

    @cached_property
    def lengths(self) -> np.ndarray:
        """(E,) int64, frames of each episode."""
        return np.diff(self.starts)

    @cached_property
    def episode_of_frame(self) -> np.ndarray:
        """(F,) int64."""
        return np.repeat(np.arange(len(self)), self.lengths)

    @cached_property
    def frames_key(self) -> str:
        """The identity of the frames that are read: the file's sha256 unless frames of it are left out."""
        return self.sha256 if not self.adjusted.cut_frames else sha256_of([self.sha256, self.lengths.tolist()])

    def summary(self) -> dict[str, Any]:
        """The data that were read, for a run's folder: counts, changes in reading, notes. JSON-able."""
        return {
            "path": self.path,
            "sha256": self.sha256,
            "episodes": len(self),
            "frames": len(self.actions),
            "success_k": int(self.success.sum()),
            "observations": self.spec,
            "actions": {"size": self.action_dim, "names": self.action_names, "range": self.action_range},
            "environment": self.env,
            "adjusted": asdict(self.adjusted),
            "notes": list(self.notes),
        }

    def chosen(self, mask: str | None) -> np.ndarray:
        """(E,) bool, the episodes of `mask`; UsageError where the file has no such mask or the mask is empty."""
        if mask is None:
            return np.ones(len(self), bool)
        if mask not in self.masks:
            raise unknown(f"mask of {self.path}", mask, self.masks)
        if not self.masks[mask].any():
            raise UsageError(f"The mask '{mask}' of {self.path} holds no episode.")
        return self.masks[mask]

    def frames(self, chosen: np.ndarray) -> np.ndarray:
        """(G,) int64, the frames of the chosen episodes (E,) bool."""
        return np.flatnonzero(np.repeat(chosen, self.lengths))
