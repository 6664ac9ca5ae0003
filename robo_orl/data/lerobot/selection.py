"""What is taken of a LeRobot folder: features by their HDF5 keys, episodes, and the numbers of one, checked."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

import numpy as np

from robo_orl.base.errors import UsageError, unknown
from robo_orl.data import hdf5_schema as layout
from robo_orl.data.lerobot import tables
from robo_orl.data.lerobot.dataset import COUNTERS, INFO, PICTURES, Feature, LeRobotFolder, SourceEpisode
from robo_orl.data.training_checks import RANGE

OBSERVATION, IMAGES = "observation.", "observation.images."
OUTCOMES = {"next.reward": "rewards", "next.done": "dones", "next.success": "success", "next.stages": "stages"}


@dataclass(frozen=True, slots=True)
class Choice:
    """What is taken of a folder. cameras, episodes: None for all; size: pixels per side of a picture, 0 as stored.

    scale_actions: every number of the actions from its range over the episodes to [-1, 1]; assume_success: every
    episode ends in its success, with reward 1.
    """

    cameras: tuple[str, ...] | None = None
    episodes: tuple[int, ...] | None = None
    size: int = 0
    scale_actions: bool = False
    assume_success: bool = False


@dataclass(slots=True)
class Selection:
    """What is read for each episode. vectors: HDF5 key -> feature; cameras: HDF5 key -> feature; low, high: (A,)."""

    folder: LeRobotFolder
    choice: Choice
    episodes: list[SourceEpisode]
    vectors: dict[str, Feature]
    cameras: dict[str, Feature]
    outcomes: dict[str, str]
    notes: list[str] = field(default_factory=list)
    low: np.ndarray | None = None
    high: np.ndarray | None = None


def select(folder: LeRobotFolder, choice: Choice) -> Selection:
    """The features and episodes of a choice, with a note on each feature that is left out.

    Raises UsageError for an unknown camera or episode, and for actions that are missing, not finite or outside [-1, 1].
    """
    vectors, cameras, outcomes, left = {}, {}, {}, []
    for name, feature in folder.features.items():
        if feature.dtype in PICTURES and len(feature.shape) == 3:
            cameras[name.removeprefix(IMAGES).removeprefix(OBSERVATION)] = feature
        elif name.startswith(OBSERVATION) and feature.size is not None:
            vectors[name.removeprefix(OBSERVATION)] = feature
        elif name in OUTCOMES and feature.size is not None:
            outcomes[OUTCOMES[name]] = name
        elif name != "action" and name not in COUNTERS:
            left.append(name)
    chosen = list(cameras) if choice.cameras is None else list(choice.cameras)
    for camera in chosen:
        if camera not in cameras:
            raise unknown(f"camera of {folder.root}", camera, cameras)
    kept = {f"{camera}{layout.IMAGE}": cameras[camera] for camera in chosen}
    notes = list(folder.notes)
    if left:
        notes.append(f"left out, because no policy here reads such a feature: {', '.join(left)}")
    if not choice.assume_success and not {"rewards", "success"} & set(outcomes):
        notes.append("it says nothing of rewards and success: where all episodes succeeded, --assume-success says so")
    selection = Selection(folder, choice, _chosen_episodes(folder, choice), vectors, kept, outcomes, notes)
    _measure_actions(selection)
    return selection


def _chosen_episodes(folder: LeRobotFolder, choice: Choice) -> list[SourceEpisode]:
    if choice.episodes is None:
        return folder.episodes
    there = {episode.index: episode for episode in folder.episodes}
    for index in choice.episodes:
        if index not in there:
            raise UsageError(f"{folder.root} has no episode {index}; those that are there: {_ranges(list(there))}.")
    return [there[index] for index in choice.episodes]


def _ranges(numbers: list[int]) -> str:
    """Numbers in words of --episodes: first:last+1 where they are consecutive."""
    first, last = min(numbers), max(numbers)
    if len(numbers) == last - first + 1:
        return f"{first}:{last + 1}"
    return ",".join(map(str, sorted(numbers)))


def _measure_actions(selection: Selection) -> None:
    """The range of each number of the actions; UsageError where it leaves [-1, 1] and is to stay as it is.

    An export of a file whose actions were scaled has them as they were, and scales them back by the range of then.
    """
    action = selection.folder.features["action"]
    scaled = (selection.folder.ours or {}).get("attributes", {}).get("action_range")
    if scaled is not None:
        selection.low, selection.high = np.array(json.loads(scaled), np.float64)
        return
    lows, highs = [], []
    for episode in selection.episodes:
        actions = vector(episode_rows(episode, ["action"])["action"], action, episode)
        lows.append(actions.min(axis=0))
        highs.append(actions.max(axis=0))
    low, high = np.min(lows, axis=0).astype(np.float64), np.max(highs, axis=0).astype(np.float64)
    if selection.choice.scale_actions:
        selection.low, selection.high = low, high
        return
    worst = int(np.argmax(np.maximum(-low, high)))
    if max(-low[worst], high[worst]) > RANGE:
        name = f" ({action.names[worst]})" if action.names else ""
        raise UsageError(
            f"{selection.folder.root}: number {worst} of the actions{name} goes from {low[worst]:.3g} to "
            f"{high[worst]:.3g}, and policies act within [-1, 1]: --scale-actions maps every number from its range, "
            "which the file keeps."
        )


def episode_rows(episode: SourceEpisode, columns: list[str]) -> dict[str, np.ndarray]:
    """Columns of an episode, one value a frame; UsageError where frames are missing."""
    rows = tables.rows(episode.table, ["frame_index", *columns], episode.index)
    frames = np.asarray(rows["frame_index"]).ravel()
    if len(frames) != episode.length or (frames != np.arange(len(frames))).any():
        raise UsageError(
            f"{episode.table}: episode {episode.index} has {len(frames)} rows, and its description says "
            f"{episode.length} frames: fetch it again, or leave it out with --episodes."
        )
    return rows


def vector(column: np.ndarray, feature: Feature, episode: SourceEpisode) -> np.ndarray:
    """(T, D) of a column of numbers or lists; UsageError where it has another size, holds nothing, NaN or infinity."""
    where = f"{episode.table}: '{feature.name}' of episode {episode.index}"
    try:
        values = np.array(np.ma.filled(column.astype(object), None).tolist(), np.dtype(feature.dtype))
    except (ValueError, TypeError):
        raise UsageError(f"{where} holds frames without numbers; leave the episode out with --episodes.") from None
    values = values.reshape(len(column), -1)
    if values.shape[1] != feature.size:
        raise UsageError(f"{where} has {values.shape[1]} numbers, and {INFO} says {feature.size}.")
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        frame = int(np.argwhere(~np.isfinite(values))[0][0])
        raise UsageError(
            f"{where} holds NaN or infinity, first at frame {frame}; leave the episode out with --episodes."
        )
    return values
