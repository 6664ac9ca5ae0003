"""Image windows per second: ours from the memory map beside robomimic's SequenceDataset, the same uncompressed file.

    python benchmarks/image_loader.py [--data FILE.hdf5] [--out benchmarks/image_loader.json]

Two contents: one frame per observation, and histories of ten (robomimic's frame_stack). robomimic runs as its training
script runs it for images: a DataLoader without worker processes over shuffled windows, low-dim cached, images read from
the file. A window of ours is a pair and holds twice the frames; the rates that are compared count frames delivered, two
84-pixel cameras each. All loaders take turns in every round; the ratio is the median over rounds. The file is not
compressed and in the page cache. Without --data it is made up: the numbers in it cost nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import itertools
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

from robo_orl.config import TaskConfig, View
from robo_orl.data import layout
from robo_orl.data.cache import open_cache
from robo_orl.data.hdf5 import write_file
from robo_orl.data.windows import PairedWindows
from robo_orl.episode import Episode

CAMERAS = ("agentview", "robot0_eye_in_hand")
KEYS = tuple(f"{camera}_image" for camera in CAMERAS)
SPEC = {"robot0_eef_pos": 3, "robot0_eef_quat": 4, "robot0_gripper_qpos": 2}
HISTORIES = (1, 10)
PAIRS = 64  # the 128 observations of policies/*.yaml
CHUNK = 10
REQUIRED = 5.0
ROW = "history {history:2}  ours {ours_windows_per_s:8.0f} windows/s ({ours_frames_per_s:.0f} frames/s), robomimic "
ROW += "{robomimic_windows_per_s:6.0f} windows/s ({robomimic_frames_per_s:.0f} frames/s): x{ratio_median} "
ROW += "({ratio_min} to {ratio_max}, n={n})"

Batches = Iterator[object]


def made_up(path: Path, episodes: int, length: int = 60) -> Path:
    """A file with the shapes of lift's, 84 pixels."""
    task = TaskConfig(name="made_up", env="lift", stages=["lifted"], max_seconds=20)
    who = {"regime": "ph", "seed": 0, "loop": "exact", "next_obs": False, "versions": layout.versions()}
    made = layout.Provenance(task=task, episodes=episodes, view=View(cameras=CAMERAS), **who)
    write_file(path, made, {"env_name": "MadeUp", "env_kwargs": {}}, (_episode(i, length) for i in range(episodes)))
    return path


def _episode(number: int, length: int) -> Episode:
    draw = np.random.default_rng(number)
    ends = (np.arange(length) == length - 1).astype(np.uint8)
    return Episode(
        obs={key: draw.normal(size=(length, size)).astype(np.float32) for key, size in SPEC.items()},
        next_obs={},
        actions=draw.uniform(-1, 1, (length, 7)).astype(np.float32),
        rewards=ends.astype(np.float32),
        dones=ends,
        states=np.zeros((length, 1)),
        stages=ends[:, None],
        success=True,
        operator="made up",
        grade="",
        start=number,
        model_xml="<mujoco/>",
        images={key: draw.integers(0, 256, (length, 84, 84, 3), dtype=np.uint8) for key in KEYS},
    )


def robomimic_dataset(path: Path, history: int) -> torch.utils.data.Dataset:
    """robomimic's dataset of single decisions, each with the last `history` frames."""
    from robomimic.utils import obs_utils
    from robomimic.utils.dataset import SequenceDataset

    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        obs_utils.initialize_obs_utils_with_obs_specs({"obs": {"low_dim": list(SPEC), "rgb": list(KEYS)}})
        return SequenceDataset(
            str(path),
            [*SPEC, *KEYS],
            ("actions", "rewards"),
            frame_stack=history,
            seq_length=1,
            hdf5_cache_mode="low_dim",
            load_next_obs=False,
        )


def robomimic_batches(dataset: torch.utils.data.Dataset) -> Batches:
    """Shuffled batches for ever, as robomimic's train.py makes them."""
    while True:
        yield from torch.utils.data.DataLoader(dataset, batch_size=PAIRS, shuffle=True, drop_last=True, num_workers=0)


def our_batches(windows: PairedWindows) -> Batches:
    """The batches of training."""
    for step in itertools.count():
        yield windows.batch(0, step, 0, 1, 2 * PAIRS)


def check_equal(windows: PairedWindows, dataset: torch.utils.data.Dataset, history: int) -> int:
    """Compare the pictures bit for bit on 50 windows; the number compared."""
    at = np.random.default_rng(0).choice(len(dataset), 50, replace=False)
    ours = windows.gather(at).obs.images
    for row, index in enumerate(at):
        theirs = dataset[int(index)]["obs"]
        for camera in CAMERAS:
            pictures = ours[camera][row].movedim(-3, -1).reshape(history, 84, 84, 3)
            assert np.array_equal(theirs[f"{camera}_image"], pictures), f"window {index}, {camera} differs"
    return len(at)


def windows_per_second(batches: Batches, seconds: float) -> float:
    """Windows that came out in about `seconds`; at least a batch."""
    count, start = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - start) < seconds:
        next(batches)
        count += 1
    return PAIRS * count / elapsed


def measure(path: Path, history: int, rounds: int, seconds: float) -> dict:
    """One row: both loaders by turns, after a round that is thrown away."""
    windows = PairedWindows(open_cache(path, list(SPEC), CAMERAS), CHUNK, CHUNK, 0.99, history=history)
    dataset = robomimic_dataset(path, history)
    compared = check_equal(windows, dataset, history)
    loaders, found = {"ours": our_batches(windows), "robomimic": robomimic_batches(dataset)}, {}
    for turn in range(rounds + 1):
        for name in list(loaders) if turn % 2 else reversed(list(loaders)):
            rate = windows_per_second(loaders[name], seconds)
            found.setdefault(name, []).extend([rate] if turn else [])
    frames = {"ours": 2 * history, "robomimic": history}
    pairs = zip(found["ours"], found["robomimic"], strict=True)
    ratios = [ours * frames["ours"] / (theirs * frames["robomimic"]) for ours, theirs in pairs]
    row = {"history": history, "windows_compared_bit_for_bit": compared}
    for name, rates in found.items():
        row[f"{name}_windows_per_s"] = statistics.median(rates)
        row[f"{name}_frames_per_s"] = statistics.median(rates) * frames[name]
    row |= {"ratio_median": round(statistics.median(ratios), 1), "n": len(ratios)}
    return row | {"ratio_min": round(min(ratios), 1), "ratio_max": round(max(ratios), 1)}


def main() -> int:
    """Print the ratios; exit 1 where the required one is missed."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, help="a data file with 84-pixel pictures; without it one is made up")
    parser.add_argument("--out", type=Path, help="where the result goes as JSON")
    parser.add_argument("--episodes", type=int, default=100, help="of a made-up file")
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--seconds", type=float, default=0.5, help="per loader and round")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["ROBO_ORL_CACHE"] = folder
        path = asked.data or made_up(Path(folder) / "made_up.hdf5", asked.episodes)
        rows = [measure(path, history, asked.rounds, asked.seconds) for history in HISTORIES]
        result = {
            "command": " ".join(["python", *sys.argv]),
            "load_average": os.getloadavg()[0],
            "versions": {name: version(name) for name in ("robomimic", "torch", "numpy", "h5py")},
            "rows": rows,
        }
    for row in rows:
        print(ROW.format(**row))
    if asked.out:
        asked.out.write_text(json.dumps(result, indent=2) + "\n")
    return int(any(row["ratio_median"] < REQUIRED for row in rows))


if __name__ == "__main__":
    sys.exit(main())
