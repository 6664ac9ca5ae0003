"""Normalisation statistics: computed once from the data, then kept in the checkpoint, with the data's hash."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
from pydantic import Field

from robo_orl.config import Strict, sha256_of
from robo_orl.data.cache import EpisodeArrays

STD_FLOOR = 1e-2  # metres, radians: what hardly moves in the data must not be blown up when it moves in a rollout


class Moments(Strict):
    """Mean and standard deviation per dimension, the latter at least STD_FLOOR."""

    mean: list[float]
    std: list[float]


class Statistics(Strict):
    """The numbers that the agent normalises with; `model_dump(mode="json")` and `model_validate` are exact inverses."""

    obs: dict[str, Moments]
    action: Moments
    action_low: list[float]
    action_high: list[float]
    frames: int = Field(description="frames that the statistics are taken over")
    mask: str | None = Field(None, description="the episodes that they are taken over; None = all")
    data_sha256: str


def statistics(arrays: EpisodeArrays, mask: str | None = None) -> Statistics:
    """Statistics of the frames of the episodes in `mask` (None = all); UsageError for an unknown mask."""
    return joint_statistics([(arrays, mask)])


def joint_statistics(parts: Sequence[tuple[EpisodeArrays, str | None]]) -> Statistics:
    """Statistics of the frames of several files together, each with its mask."""
    frames = [arrays.frames(arrays.chosen(mask)) for arrays, mask in parts]
    chosen = [(arrays, at) for (arrays, _), at in zip(parts, frames, strict=True)]
    actions = np.concatenate([arrays.actions[at] for arrays, at in chosen])
    masks, files = [mask for _, mask in parts], [arrays.sha256 for arrays, _ in parts]
    return Statistics(
        obs={key: _moments(np.concatenate([a.obs[key][at] for a, at in chosen])) for key in parts[0][0].obs},
        action=_moments(actions),
        action_low=actions.min(0).tolist(),
        action_high=actions.max(0).tolist(),
        frames=len(actions),
        mask=masks[0] if len(parts) == 1 else json.dumps(masks),
        data_sha256=files[0] if len(parts) == 1 else sha256_of(files),
    )


def _moments(values: np.ndarray) -> Moments:
    """values: (F, D). Summed in float64: a float32 sum over many frames loses the small dimensions."""
    wide = values.astype(np.float64)
    return Moments(mean=wide.mean(0).tolist(), std=np.maximum(wide.std(0), STD_FLOOR).tolist())
