"""The description of a LeRobot folder, v2.0 to v3.x: features, and where the rows and pictures of each episode are."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robo_orl.base.errors import UsageError
from robo_orl.data.lerobot import tables

INFO, OURS = "meta/info.json", "meta/robo_orl.json"
KNOWN = re.compile(r"v?(2\.[01]|3\.\d+)")
PICTURES = ("video", "image")
NUMBERS = re.compile(r"(float|int|uint)(8|16|32|64)|bool")
COUNTERS = ("timestamp", "frame_index", "episode_index", "index", "task_index")


@dataclass(frozen=True, slots=True)
class Feature:
    """A column: dtype as info.json has it, shape of a frame, names of its numbers, None where they are not known."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    names: tuple[str, ...] | None

    @property
    def size(self) -> int | None:
        """The numbers of a frame; None where it is no vector of numbers."""
        return self.shape[0] if NUMBERS.fullmatch(self.dtype) and len(self.shape) == 1 else None


@dataclass(frozen=True, slots=True)
class Clip:
    """The pictures of an episode: those of a video from number `first` on."""

    path: Path
    first: int


@dataclass(frozen=True, slots=True)
class SourceEpisode:
    """One episode: its number, frames, task texts, the Parquet file of its rows, and a clip per video feature."""

    index: int
    length: int
    tasks: tuple[str, ...]
    table: Path
    clips: dict[str, Clip]


@dataclass(frozen=True, slots=True)
class LeRobotFolder:
    """A data set. episodes: those whose rows are there; notes: what is not there. ours: what an export added."""

    root: Path
    version: str
    fps: int
    robot: str
    features: dict[str, Feature]
    episodes: list[SourceEpisode]
    notes: list[str]
    ours: dict[str, Any] | None


def is_lerobot(path: Path) -> bool:
    """True where a folder is a LeRobot data set of any version."""
    return (path / INFO).is_file()


def open_folder(root: Path) -> LeRobotFolder:
    """Read the description of a LeRobot data set.

    Raises UsageError for another version, a description that is damaged, and a folder without an episode.
    """
    info = _json(root / INFO)
    version = str(info.get("codebase_version", "unknown"))
    if not KNOWN.fullmatch(version):
        raise UsageError(
            f"{root} is a LeRobot data set of version {version}, and v2.0, v2.1 and v3 are read: convert it with the "
            "script of the LeRobot release that follows that version."
        )
    try:
        features = {name: _feature(name, value) for name, value in info["features"].items()}
        fps = int(info["fps"])
        listed = list(_version_3(root, info, features) if "3." in version else _version_2(root, info, features))
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise UsageError(f"{root / INFO} is no description of a LeRobot data set: {error!r}.") from None
    if "action" not in features or features["action"].size is None:
        raise UsageError(f"{root} has no vector 'action', from which a policy would learn.")
    there = [episode for episode in listed if episode.table.is_file()]
    if not there:
        first = f", e.g. {listed[0].table}" if listed else ""
        raise UsageError(f"{root} holds no episode: the files that {INFO} promises are missing{first}.")
    said = int(info.get("total_episodes", len(listed)))
    notes = [f"{INFO} says {said} episodes, and the rows of {len(there)} are there"] if said != len(there) else []
    ours = _json(root / OURS) if (root / OURS).is_file() else None
    return LeRobotFolder(root, version, fps, str(info.get("robot_type") or ""), features, there, notes, ours)


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        value = None
    if not isinstance(value, dict):
        raise UsageError(f"{path} is damaged: it is no JSON object; fetch it again.")
    return value


def _feature(name: str, value: dict[str, Any]) -> Feature:
    names = value.get("names")
    names = next(iter(names.values()), None) if isinstance(names, dict) else names
    while isinstance(names, list) and len(names) == 1 and isinstance(names[0], list):
        names = names[0]
    shape = tuple(int(size) for size in value["shape"])
    known = isinstance(names, list) and len(names) == shape[0] and all(isinstance(n, str) for n in names)
    return Feature(name, str(value["dtype"]), shape, tuple(names) if known else None)


def _videos(features: dict[str, Feature]) -> list[str]:
    return [name for name, feature in features.items() if feature.dtype == "video"]


def _version_2(root: Path, info: dict[str, Any], features: dict[str, Feature]) -> Iterator[SourceEpisode]:
    """One Parquet file and one video a camera for each episode."""
    chunk = int(info.get("chunks_size", 1000))
    for row in _lines(root / "meta/episodes.jsonl"):
        index = int(row["episode_index"])
        place = {"episode_chunk": index // chunk, "episode_index": index}
        videos = {
            name: Clip(root / info["video_path"].format(video_key=name, **place), 0) for name in _videos(features)
        }
        table = root / info["data_path"].format(**place)
        yield SourceEpisode(index, int(row["length"]), tuple(map(str, row.get("tasks", ()))), table, videos)


def _lines(path: Path) -> list[dict[str, Any]]:
    try:
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, ValueError):
        raise UsageError(f"{path} is missing or damaged; fetch it again.") from None


def _version_3(root: Path, info: dict[str, Any], features: dict[str, Feature]) -> Iterator[SourceEpisode]:
    """Many episodes a Parquet file and a video; the table of episodes says where each one lies."""
    files = sorted((root / "meta/episodes").glob("*/*.parquet"))
    if not files:
        raise UsageError(f"{root / 'meta/episodes'} holds no table of the episodes; fetch the data set again.")
    fps, videos = float(info["fps"]), _videos(features)
    wanted = ["episode_index", "length", "tasks", "data/chunk_index", "data/file_index"]
    for name in videos:
        wanted += [f"videos/{name}/{part}" for part in ("chunk_index", "file_index", "from_timestamp")]
    for file in files:
        columns = tables.rows(file, wanted)
        for i in range(len(columns["episode_index"])):
            row = {name: values[i] for name, values in columns.items()}
            clips = {}
            for name in videos:
                place = _place(row, f"videos/{name}")
                path = root / info["video_path"].format(video_key=name, **place)
                clips[name] = Clip(path, round(float(row[f"videos/{name}/from_timestamp"]) * fps))
            table = root / info["data_path"].format(**_place(row, "data"))
            tasks = tuple(map(str, row["tasks"]))
            yield SourceEpisode(int(row["episode_index"]), int(row["length"]), tasks, table, clips)


def _place(row: dict[str, Any], prefix: str) -> dict[str, int]:
    return {name: int(row[f"{prefix}/{name}"]) for name in ("chunk_index", "file_index")}
