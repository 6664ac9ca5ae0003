"""One recorded episode, as experts produce it and as data files store it. numpy only."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np


@dataclass
class Episode:
    """T decisions of one episode.

    obs: per low-dim key (T, D) float32, what was seen before each action; next_obs: the same after it.
    actions: (T, A) float32 in [-1, 1], as given to the environment.
    rewards: (T,) float32. dones: (T,) uint8, 1 only at a true terminal (success); a timeout is no terminal.
    states: (T, Z) float64, robosuite's flattened simulator state before each action.
    stages: (T, S) uint8, stages completed after each action.
    success: whether the task succeeded. operator: name of the style that acted. grade: better | okay | worse | "".
    start: index of the start state; model_xml: the scene that `states` belong to.
    masks: names of the file masks that this episode belongs to.
    images: per camera "<camera>_image" (T, H, W, 3) uint8, what it saw before each action; last_images: (H, W, 3) after
    the last one.
    ended: it ended in a terminal without success.
    start_entry: all that the reset decided (envs/snapshot.py), which `states` alone do not hold; replay starts from it.
    """

    obs: dict[str, np.ndarray]
    next_obs: dict[str, np.ndarray]
    actions: np.ndarray
    rewards: np.ndarray
    dones: np.ndarray
    states: np.ndarray
    stages: np.ndarray
    success: bool
    operator: str
    grade: str
    start: int
    model_xml: str
    seed: int = 0
    masks: list[str] = field(default_factory=list)
    ended: bool = False
    start_entry: dict[str, np.ndarray] = field(default_factory=dict)
    images: dict[str, np.ndarray] = field(default_factory=dict)
    last_images: dict[str, np.ndarray] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.actions)
