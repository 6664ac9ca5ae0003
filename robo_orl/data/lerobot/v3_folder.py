"""A LeRobot v3 folder from episodes in memory and encoded clips: rows, videos, description, tasks, statistics."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from robo_orl.base.files import write_json
from robo_orl.data.lerobot import statistics, tables
from robo_orl.data.lerobot.dataset import INFO
from robo_orl.data.lerobot.videos import join, pixel_format

FILES_A_CHUNK, DATA_MB, VIDEO_MB = 1000, 100, 200  # LeRobot's own limits
PLACE = "chunk-{chunk_index:03d}/file-{file_index:03d}"
DATA_PATH = f"data/{PLACE}.parquet"
VIDEO_PATH = f"videos/{{video_key}}/{PLACE}.mp4"
COUNTERS = {"timestamp": "float32", "frame_index": "int64", "episode_index": "int64", "index": "int64"}
COUNTERS |= {"task_index": "int64"}


@dataclass(frozen=True, slots=True)
class Column:
    """A feature of numbers: its dtype, numbers a frame, and their names."""

    dtype: str
    size: int
    names: list[str] | None = None


@dataclass(frozen=True, slots=True)
class Episode:
    """One episode. values: feature -> (T, D); clips: camera feature -> mp4 of all its frames.

    shapes: camera feature -> (H, W, 3); pictures: camera feature -> statistics.
    """

    task: str
    values: dict[str, np.ndarray]
    clips: dict[str, Path]
    shapes: dict[str, tuple[int, ...]]
    pictures: dict[str, statistics.Stats]

    def __len__(self) -> int:
        return len(self.values["action"])


def write_folder(root: Path, episodes: Sequence[Episode], columns: dict[str, Column], fps: int, robot: str) -> None:
    """Write the whole data set into the new folder `root`."""
    tasks = list(dict.fromkeys(episode.task for episode in episodes))
    frames = [_frames(episode, number, fps, tasks) for number, episode in enumerate(episodes)]
    first = np.cumsum([0, *map(len, episodes)])
    for columns_of, start in zip(frames, first, strict=False):
        columns_of["index"] = start + columns_of["frame_index"]
    features = _features(columns, episodes[0], fps)
    data = _write_data(root, frames, features)
    videos = {camera: _write_videos(root, camera, episodes, fps) for camera in episodes[0].clips}
    stats = [_statistics(values, episode) for values, episode in zip(frames, episodes, strict=True)]
    rows = []
    for number, episode in enumerate(episodes):
        row = {"episode_index": number, "tasks": [episode.task], "length": len(episode)}
        row |= {f"data/{name}": value for name, value in data[number].items()}
        row |= {"dataset_from_index": int(first[number]), "dataset_to_index": int(first[number + 1])}
        for camera, places in videos.items():
            row |= {f"videos/{camera}/{name}": value for name, value in places[number].items()}
        for feature, values in stats[number].items():
            row |= {f"stats/{feature}/{name}": value.tolist() for name, value in values.items()}
        rows.append(row | {"meta/episodes/chunk_index": 0, "meta/episodes/file_index": 0})
    tables.write_rows(root / "meta/episodes" / f"{_place(0)}.parquet", rows, {})
    _write_tasks(root, tasks)
    pooled = statistics.of_all(stats)
    write_json(root / "meta/stats.json", {f: {k: v.tolist() for k, v in s.items()} for f, s in pooled.items()})
    write_json(root / INFO, _info(episodes, tasks, features, fps, robot))


def _place(number: int) -> str:
    return PLACE.format(**_indices(number))


def _indices(number: int) -> dict[str, int]:
    return {"chunk_index": number // FILES_A_CHUNK, "file_index": number % FILES_A_CHUNK}


def _grouped(sizes: Iterable[int], limit_mb: int) -> list[int]:
    """The number of the file of each item, so that no file outgrows the limit."""
    numbers, number, filled = [], 0, 0
    for size in sizes:
        if filled and filled + size > limit_mb * 2**20:
            number, filled = number + 1, 0
        filled += size
        numbers.append(number)
    return numbers


def _frames(episode: Episode, number: int, fps: int, tasks: list[str]) -> dict[str, np.ndarray]:
    """The columns of an episode but for `index`: (T,), or (T, D) where a frame has several numbers."""
    frame = np.arange(len(episode))
    values = {name: v[:, 0] if v.shape[1] == 1 else v for name, v in episode.values.items()}
    counters = {"timestamp": (frame / fps).astype(np.float32), "frame_index": frame}
    counters["episode_index"] = np.full(len(frame), number)
    return values | counters | {"index": frame, "task_index": np.full(len(frame), tasks.index(episode.task))}


def _write_data(root: Path, frames: list[dict[str, np.ndarray]], features: dict[str, Any]) -> list[dict[str, int]]:
    """Parquet files of many episodes each; where each episode lies."""
    numbers = _grouped((sum(v.nbytes for v in values.values()) for values in frames), DATA_MB)
    described = {name: _hugging_face(value) for name, value in features.items() if value["dtype"] != "video"}
    for number in sorted(set(numbers)):
        members = [values for values, n in zip(frames, numbers, strict=True) if n == number]
        columns = {name: np.concatenate([values[name] for values in members]) for name in described}
        path = root / DATA_PATH.format(**_indices(number))
        tables.write_frames(path, columns, {"huggingface": {"info": {"features": described}}})
    return [_indices(number) for number in numbers]


def _hugging_face(feature: dict[str, Any]) -> dict[str, Any]:
    """The type of a column as the package `datasets` writes it into a Parquet file."""
    value = {"dtype": feature["dtype"], "_type": "Value"}
    size = feature["shape"][0]
    return value if size == 1 else {"feature": value, "length": size, "_type": "List"}


def _write_videos(root: Path, camera: str, episodes: Sequence[Episode], fps: int) -> list[dict[str, Any]]:
    """Videos of many episodes each; per episode its file and its times in seconds."""
    numbers = _grouped((episode.clips[camera].stat().st_size for episode in episodes), VIDEO_MB)
    for number in sorted(set(numbers)):
        clips = [episode.clips[camera] for episode, n in zip(episodes, numbers, strict=True) if n == number]
        join(clips, root / VIDEO_PATH.format(video_key=camera, **_indices(number)))
    places, begin = [], 0
    for i, (episode, number) in enumerate(zip(episodes, numbers, strict=True)):
        begin = 0 if i and numbers[i - 1] != number else begin
        end = begin + len(episode)
        places.append(_indices(number) | {"from_timestamp": begin / fps, "to_timestamp": end / fps})
        begin = end
    return places


def _statistics(values: dict[str, np.ndarray], episode: Episode) -> dict[str, statistics.Stats]:
    numbers = {name: statistics.of_numbers(v.reshape(len(v), -1)) for name, v in values.items()}
    return numbers | episode.pictures


def _write_tasks(root: Path, tasks: list[str]) -> None:
    """The table of task texts, which LeRobot reads with pandas: the text is its index."""
    text = {"name": None, "field_name": "__index_level_0__", "pandas_type": "unicode", "numpy_type": "object"}
    number = {"name": "task_index", "field_name": "task_index", "pandas_type": "int64", "numpy_type": "int64"}
    index = {"index_columns": ["__index_level_0__"], "column_indexes": [], "pandas_version": "2.2.0"}
    index["columns"] = [number | {"metadata": None}, text | {"metadata": None}]
    rows = [{"task_index": i, "__index_level_0__": task} for i, task in enumerate(tasks)]
    tables.write_rows(root / "meta/tasks.parquet", rows, {"pandas": index})


def _features(columns: dict[str, Column], first: Episode, fps: int) -> dict[str, Any]:
    features: dict[str, Any] = {
        name: {"dtype": column.dtype, "shape": [column.size], "names": column.names} for name, column in columns.items()
    }
    for camera, (height, width, channels) in first.shapes.items():
        info = {"height": height, "width": width, "codec": "h264", "pix_fmt": pixel_format(height, width)}
        info |= {"is_depth_map": False, "fps": fps, "channels": channels}
        features[camera] = {
            "dtype": "video",
            "shape": [height, width, channels],
            "names": ["height", "width", "channels"],
            "info": {f"video.{name}": value for name, value in info.items()} | {"has_audio": False},
        }
    return features | {name: {"dtype": dtype, "shape": [1], "names": None} for name, dtype in COUNTERS.items()}


def _info(
    episodes: Sequence[Episode], tasks: list[str], features: dict[str, Any], fps: int, robot: str
) -> dict[str, Any]:
    return {
        "codebase_version": "v3.0",
        "robot_type": robot or None,
        "total_episodes": len(episodes),
        "total_frames": sum(map(len, episodes)),
        "total_tasks": len(tasks),
        "chunks_size": FILES_A_CHUNK,
        "data_files_size_in_mb": DATA_MB,
        "video_files_size_in_mb": VIDEO_MB,
        "fps": fps,
        "splits": {"train": f"0:{len(episodes)}"},
        "data_path": DATA_PATH,
        "video_path": VIDEO_PATH if episodes[0].clips else None,
        "features": features,
    }
