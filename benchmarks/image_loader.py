"""Image windows per second: ours from the memory map beside robomimic's SequenceDataset, the same uncompressed file.

    python benchmarks/image_loader.py [--data FILE.hdf5] [--out benchmarks/image_loader.json]

Two contents: one frame per observation, and histories of ten (robomimic's frame_stack). robomimic runs as its training
script runs it for images: a DataLoader without worker processes over shuffled windows, low-dim cached, images read from
the file. A window of ours is a pair and holds twice the frames; the rates that are compared count frames delivered, two
84-pixel cameras each. All loaders take turns in every round; the ratio is the median over rounds. Before that our
reader runs alone, to tell up to which rate no worker process is needed. The file is not compressed and in the page
cache. Without --data it is made up: the numbers in it cost nothing.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from made_up import Batches, batches_per_second, robomimic_batches, robomimic_dataset, write_made_up

from robo_orl.data.cache import open_cache
from robo_orl.data.windows import PairedWindows

CAMERAS = ("agentview", "robot0_eye_in_hand")
KEYS = tuple(f"{camera}_image" for camera in CAMERAS)
SPEC = {"robot0_eef_pos": 3, "robot0_eef_quat": 4, "robot0_gripper_qpos": 2}
HISTORIES = (1, 10)
PAIRS = 64  # the 128 observations of policies/*.yaml
CHUNK = 10
REQUIRED = 5.0
NO_WORKERS_BELOW = 5000  # windows per second that one process must deliver without worker processes
ALONE = "alone, history 1: {windows_per_s:.0f} windows/s, at most {largest_windows_per_s:.0f}, "
ALONE += "with {share_of_a_core} of a core"
ROW = "history {history:2}  ours {ours_windows_per_s:8.0f} windows/s ({ours_frames_per_s:.0f} frames/s), robomimic "
ROW += "{robomimic_windows_per_s:6.0f} windows/s ({robomimic_frames_per_s:.0f} frames/s): x{ratio_median} "
ROW += "({ratio_min} to {ratio_max}, n={n})"


def made_up(path: Path, episodes: int, length: int = 60) -> Path:
    """A file with the shapes of lift's, 84 pixels."""
    return write_made_up(path, SPEC, episodes, length, CAMERAS)


def windows_of(path: Path, history: int) -> PairedWindows:
    """Ours, from the memory map."""
    return PairedWindows(open_cache(path, list(SPEC), CAMERAS), CHUNK, CHUNK, 0.99, history=history)


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


def measure(path: Path, history: int, rounds: int, seconds: float) -> dict:
    """One row: both loaders by turns, after a round that is thrown away."""
    windows = windows_of(path, history)
    dataset = robomimic_dataset(path, list(SPEC), KEYS, mode="low_dim", history=history)
    compared = check_equal(windows, dataset, history)
    loaders = {"ours": our_batches(windows), "robomimic": robomimic_batches(dataset, PAIRS)}
    rates_of = batches_per_second(loaders, rounds, seconds)
    found = {name: [PAIRS * rate for rate in rates] for name, rates in rates_of.items()}
    frames = {"ours": 2 * history, "robomimic": history}
    pairs = zip(found["ours"], found["robomimic"], strict=True)
    ratios = [ours * frames["ours"] / (theirs * frames["robomimic"]) for ours, theirs in pairs]
    row = {"history": history, "windows_compared_bit_for_bit": compared}
    for name, rates in found.items():
        row[f"{name}_windows_per_s"] = statistics.median(rates)
        row[f"{name}_frames_per_s"] = statistics.median(rates) * frames[name]
    row |= {"ratio_median": round(statistics.median(ratios), 1), "n": len(ratios)}
    return row | {"ratio_min": round(min(ratios), 1), "ratio_max": round(max(ratios), 1)}


def alone(path: Path, rounds: int, seconds: float) -> dict:
    """Windows per second of our reader with nothing beside it in this process; history 1, 128 observations a batch."""
    loader = {"ours": our_batches(windows_of(path, history=1))}
    began = time.process_time(), time.perf_counter()
    rates = [PAIRS * rate for rate in batches_per_second(loader, rounds, seconds)["ours"]]
    share = (time.process_time() - began[0]) / (time.perf_counter() - began[1])
    return {
        "windows_per_s": statistics.median(rates),
        "largest_windows_per_s": max(rates),
        "smallest_windows_per_s": min(rates),
        "n": len(rates),
        "share_of_a_core": round(share, 2),  # of one core that the process got, where the machine is shared
        "windows_per_s_of_a_whole_core": statistics.median(rates) / share,
    }


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
        reader = alone(path, asked.rounds, asked.seconds)
        rows = [measure(path, history, asked.rounds, asked.seconds) for history in HISTORIES]
        result = {
            "command": " ".join(["python", *sys.argv]),
            "load_average": os.getloadavg()[0],
            "versions": {name: version(name) for name in ("robomimic", "torch", "numpy", "h5py")},
            "reader_alone": reader,
            "rows": rows,
        }
    print(ALONE.format(**reader))
    for row in rows:
        print(ROW.format(**row))
    if asked.out:
        asked.out.write_text(json.dumps(result, indent=2) + "\n")
    slow = reader["windows_per_s_of_a_whole_core"] < NO_WORKERS_BELOW
    return int(slow or any(row["ratio_median"] < REQUIRED for row in rows))


if __name__ == "__main__":
    sys.exit(main())
