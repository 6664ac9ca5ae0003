"""The replay on disk: collected episodes end to end in the layout of the data's memory-mapped arrays.

REPLAY/request.json     whose episodes these are
REPLAY/episodes.jsonl   one line an episode: its length, outcome and cost, and a hash of its rows
REPLAY/NAME.npy         observations (F, W), actions (F, A), rewards (F,), stages (F, S), and of each camera that the
                        policy sees <camera>_image (F, H, W, 3) uint8; all that np.load needs

An episode's rows are written first and its line last: what a kill cut short has no line, and is written over. Rows that
a power cut lost do not have their line's hash; the episode and those after it are then collected again. W holds every
vector that the simulator gives, A action numbers, S stages.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.lib import format as npy
from pydantic import ValidationError

from robo_orl.base.errors import RunError
from robo_orl.base.files import flush, read_json, write_json, write_text
from robo_orl.base.os_errors import describe_os_errors
from robo_orl.config import Strict, TaskConfig
from robo_orl.data.arrays import EpisodeArrays
from robo_orl.data.hdf5_schema import IMAGE
from robo_orl.online.replay_request import ReplayRequest, check_request
from robo_orl.rollout.episodes import FinishedEpisode
from robo_orl.rollout.simulator import Trajectory

HEADER = 128  # bytes: the magic, the version and a header that numpy pads so that its first axis may grow


class CollectedEpisode(Strict):
    """The line of one episode: everything but its rows.

    start_seed: of its start state. simulation_s: seconds that the simulator spent on it. rows: a hash of its rows.
    fingerprint: of every action and observation, as in an evaluation's rows.
    """

    episode: int
    start_seed: int
    length: int
    success: bool
    terminal: bool
    simulation_s: float
    restarts: int
    fingerprint: str
    rows: str


@dataclass
class Replay:
    """The episodes of a run, in the order of their numbers; `add` takes the next one."""

    folder: Path
    request: ReplayRequest
    episodes: list[CollectedEpisode] = field(default_factory=list)

    @property
    def frames(self) -> int:
        """F, the environment steps collected."""
        return sum(episode.length for episode in self.episodes)

    def add(self, finished: FinishedEpisode, start_seed: int) -> None:
        """Append the next episode. Raises RunError where the disk is full; the replay is then as before."""
        trajectory = finished.trajectory
        rows = self._rows(trajectory)
        line = CollectedEpisode(
            episode=finished.episode,
            start_seed=start_seed,
            length=len(trajectory.actions),
            success=finished.outcome.success_once,
            terminal=trajectory.terminated,
            simulation_s=round(finished.simulation_s, 6),
            restarts=finished.restarts,
            fingerprint=finished.outcome.fingerprint,
            rows=_hash(rows),
        )
        if line.episode != len(self.episodes):
            raise ValueError(f"episode {line.episode} cannot follow {len(self.episodes)} episodes")
        first = self.frames
        for name, values in rows.items():
            self._write(name, first, values)
        with describe_os_errors(self.folder), (self.folder / "episodes.jsonl").open("a") as file:
            file.write(line.model_dump_json() + "\n")
        self.episodes.append(line)

    def refresh(self) -> None:
        """Read which episodes another process has appended."""
        self.episodes = read_episodes(self.folder)

    def flush(self) -> None:
        """Force what was appended to the disk."""
        for name in self.request.widths:
            flush(self.folder / f"{name}.npy")
        flush(self.folder / "episodes.jsonl")

    def rows(self, name: str, first: int = 0, last: int | None = None) -> np.ndarray:
        """The rows first .. last-1 of an array, memory-mapped and read-only."""
        dtype, width = self.request.widths[name]
        shape = (self.frames, *width)
        if not np.prod(shape):
            return np.zeros(shape, dtype)[first:last]
        whole = np.memmap(self.folder / f"{name}.npy", dtype, "r", offset=HEADER, shape=shape)
        return np.asarray(whole)[first:last]

    def arrays(self, keys: Sequence[str], task: TaskConfig, episodes: int, first: int = 0) -> EpisodeArrays:
        """The episodes first .. episodes-1 as training reads them, with the mask `success`; keys: the vectors kept.
        Pictures stay on the disk, memory-mapped."""
        some, spec = self.episodes[first:episodes], self.request.spec
        starts = np.concatenate(([0], np.cumsum([e.length for e in some]))).astype(np.int64)
        begin, success = sum(e.length for e in self.episodes[:first]), np.array([e.success for e in some], bool)
        frames = begin + int(starts[-1])
        observations, ends = self.rows("observations", begin, frames), np.cumsum(list(spec.values()))
        if list(keys) != list(spec):
            columns = {key: np.arange(end - size, end) for (key, size), end in zip(spec.items(), ends, strict=True)}
            observations = observations[:, np.concatenate([columns[key] for key in keys])]
        return EpisodeArrays(
            path=str(self.folder),
            sha256=hashlib.sha256("".join(e.rows for e in some).encode()).hexdigest(),
            spec={key: spec[key] for key in keys},
            observations=observations,
            **{name: self.rows(name, begin, frames) for name in ("actions", "rewards", "stages")},
            starts=starts,
            success=success,
            terminal=np.array([e.terminal for e in some], bool),
            start_state=np.full(len(some), -1, np.int64),
            masks={"success": success},
            names=[f"demo_{e.episode}" for e in some],
            operators=["policy"] * len(some),
            grades=[""] * len(some),
            task=task,
            regime="online",
            loop=self.request.loop,
            images={camera: self.rows(camera + IMAGE, begin, frames) for camera in self.request.cameras},
            render=self.request.render,
        )

    def _rows(self, trajectory: Trajectory) -> dict[str, np.ndarray]:
        columns = [trajectory.obs[key] for key in self.request.spec]
        return {
            "observations": np.concatenate(columns, axis=1, dtype=np.float32),
            "actions": trajectory.actions,
            "rewards": trajectory.rewards,
            "stages": trajectory.stages,
            **{camera + IMAGE: trajectory.pictures[camera + IMAGE] for camera in self.request.cameras},
        }

    def _write(self, name: str, first: int, values: np.ndarray) -> None:
        """Write rows from `first` on through the file and not through a map: a full disk is then an error to catch."""
        dtype, width = self.request.widths[name]
        values = np.ascontiguousarray(values, dtype)
        path = self.folder / f"{name}.npy"
        with describe_os_errors(path), path.open("r+b" if path.exists() else "w+b") as file:
            file.seek(HEADER + first * dtype.itemsize * int(np.prod(width)))
            file.write(values.tobytes())
            file.seek(0)
            npy.write_array_header_1_0(file, _described(dtype, (first + len(values), *width)))
            if file.tell() != HEADER:
                raise RunError(f"numpy writes another header than {path} has room for; install numpy 1.26.")


def _described(dtype: np.dtype, shape: tuple[int, ...]) -> dict:
    return {"descr": npy.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}


def _hash(rows: dict[str, np.ndarray]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for values in rows.values():
        digest.update(np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()


def open_replay(folder: Path, request: ReplayRequest) -> Replay:
    """The replay in `folder`, with every episode that is whole; a new one where there is none.

    Raises UsageError for the replay of another run or of another simulator.
    """
    with describe_os_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    check_request(folder, request)
    write_json(folder / "request.json", request.model_dump(mode="json", exclude_none=True))
    replay = Replay(folder, request, read_episodes(folder))
    ends = np.cumsum([0, *(episode.length for episode in replay.episodes)])
    replay.episodes = replay.episodes[: int(np.searchsorted(ends, _frames_on_disk(replay), "right")) - 1]
    arrays = {name: replay.rows(name) for name in request.widths}
    spans = itertools.starmap(slice, itertools.pairwise(ends))
    hashes = (_hash({name: rows[span] for name, rows in arrays.items()}) for span in spans)
    whole = itertools.takewhile(lambda pair: pair[0].rows == pair[1], zip(replay.episodes, hashes, strict=False))
    replay.episodes = [episode for episode, _ in whole]
    write_text(folder / "episodes.jsonl", "".join(e.model_dump_json() + "\n" for e in replay.episodes))
    return replay


def stored_replay(folder: Path) -> Replay:
    """The replay in a folder, to read from."""
    request = ReplayRequest.model_validate(read_json(folder / "request.json"))
    return Replay(folder, request, read_episodes(folder))


def read_episodes(folder: Path) -> list[CollectedEpisode]:
    """The lines of a replay in order, up to the first one that a kill cut short."""
    path = folder / "episodes.jsonl"
    episodes: list[CollectedEpisode] = []
    for line in path.read_text(errors="replace").splitlines() if path.exists() else []:
        try:
            episode = CollectedEpisode.model_validate(json.loads(line))
        except (ValueError, ValidationError):
            break
        if episode.episode != len(episodes):
            break
        episodes.append(episode)
    return episodes


def _frames_on_disk(replay: Replay) -> int:
    """Rows that all of the arrays hold."""
    rows = {name: dtype.itemsize * int(np.prod(width)) for name, (dtype, width) in replay.request.widths.items()}
    sizes = {name: _bytes_of(replay.folder / f"{name}.npy") for name in rows}
    return min(max(sizes[name] - HEADER, 0) // row for name, row in rows.items() if row)


def _bytes_of(path: Path) -> int:
    return os.stat(path).st_size if path.exists() else 0
