"""The rewards of an episode on this project's scale: 1 at success and 0 before it.

Other software writes the success as another number, as the end of a penalty (-1 a frame), or a shaped reward. The first
two are recognised by their values and scaled; a shaped reward is refused unless the reader states what to do with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import h5py
import numpy as np

from robo_orl.config import DataReading
from robo_orl.data import hdf5_schema as layout

CLOSE = 1e-6
MAX_VALUES = 16  # more different numbers than this are a shaped reward


@dataclass(frozen=True, slots=True)
class RewardScale:
    """reward = (stored + offset) * factor. sparse: the result is 1 in success and else 0."""

    offset: float = 0.0
    factor: float = 1.0
    sparse: bool = True

    def apply(self, stored: np.ndarray) -> np.ndarray:
        """(T,) float32."""
        if self.offset == 0 and self.factor == 1:
            return stored.astype(np.float32)
        return ((stored.astype(np.float64) + self.offset) * self.factor).astype(np.float32)

    @property
    def sentence(self) -> str | None:
        """The change of the numbers in words; None where there is none."""
        if self.offset == 0 and self.factor == 1:
            return None
        if self.offset == 0:
            return f"rewards are {1 / self.factor:g} at success and are scaled to 1"
        return f"rewards are {-self.offset:g} until the success and 0 in it, and are shifted to 0 and 1"


def stored_rewards(demo: h5py.Group) -> np.ndarray | None:
    """(T,) the numbers of `rewards`, an extra axis of one dropped; None where the episode has none."""
    return np.asarray(demo["rewards"][:]).reshape(len(demo["rewards"])) if "rewards" in demo else None


def reward_scale(values: Sequence[np.ndarray]) -> RewardScale | None:
    """The scale of the rewards of a file, from all episodes' numbers; None where they are shaped."""
    distinct = np.unique(np.concatenate([np.unique(v) for v in values])) if values else np.zeros(1)
    distinct = distinct.astype(np.float64)
    low, high = distinct[0], distinct[-1]
    if len(distinct) <= 2 and low == 0 and high >= 0:
        return RewardScale(factor=1.0 / high if high > 0 and abs(high - 1) > CLOSE else 1.0)
    if len(distinct) == 1:
        return RewardScale(offset=-low, factor=1.0) if low < 0 else RewardScale(factor=1.0 / low)
    if len(distinct) == 2 and high == 0:
        return RewardScale(offset=-low, factor=-1.0 / low)
    return None


def file_scale(file: h5py.File, choice: DataReading) -> RewardScale | str:
    """The scale of a file's rewards under the reader's choice, or the sentence that refuses them."""
    demos = [file["data"][name] for name in layout.demo_names(file)]
    lacking = next((demo for demo in demos if "rewards" not in demo), None)
    if lacking is not None and choice.rewards != "success":
        return missing_rewards(lacking)
    if choice.rewards == "auto" and layout.REWARD in file["data"].attrs:
        return RewardScale(sparse=False)  # of a source, on one scale of returns: rewards/scale.py
    if choice.rewards != "auto" or layout.provenance(file) is not None:
        return RewardScale(sparse=choice.rewards != "as_is")
    scale = reward_scale([stored_rewards(demo) for demo in demos])
    if scale is None:
        return (
            "rewards: are neither 0 until a success nor one number in it, so they look like a shaped reward; "
            "--rewards as_is reads them as they are, and --rewards success puts 1 at the success that the file states."
        )
    return scale


def missing_rewards(demo: h5py.Group) -> str:
    """The sentence that refuses an episode without rewards, and what to do."""
    states = "success" in demo.attrs or "stages" in demo
    remedy = (
        "--rewards success puts 1 at the success that it states"
        if states
        else "`robo-orl data relabel` writes those of another source"
    )
    return (
        f"{demo.name.removeprefix('/data/')}: the dataset rewards is missing; {remedy}, and policies that read none, "
        "such as bc, train without."
    )


def first_success(demo: h5py.Group, rewards: np.ndarray | None, sparse: bool) -> int | None:
    """The frame of the first success: of the last stage, else of a full sparse reward; None where there is none."""
    if "stages" in demo and demo["stages"].ndim == 2 and demo["stages"].shape[1]:
        reached = np.flatnonzero(demo["stages"][:, -1])
    elif sparse and rewards is not None:
        reached = np.flatnonzero(rewards > 1 - CLOSE)
    else:
        reached = np.zeros(0, np.int64)
    return int(reached[0]) if len(reached) else None
