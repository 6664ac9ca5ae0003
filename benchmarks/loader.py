"""Windows per second: ours beside robomimic's SequenceDataset, the same file, the same contents.

    python benchmarks/loader.py [--data FILE.hdf5] [--out benchmarks/loader.json]

Contents: the windows of h actions, rewards and observations that robomimic returns, bit for bit (`sequences`), and the
paired windows that training here uses (`paired`), for which robomimic has to read 2h frames. robomimic runs as its
training script runs it: a DataLoader over shuffled windows in the training process, in each of its cache modes. All
loaders take turns in every round, so that the machine's mood falls on all of them alike; the ratio is the median over
rounds. Without --data, a file of the size of `chain2` with 200 episodes is made up: the numbers in it cost nothing.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from made_up import Batches, batches_per_second, robomimic_batches, robomimic_dataset, write_made_up

from robo_orl.data.cache import EpisodeArrays, open_cache
from robo_orl.data.windows import PairedWindows

CHUNK = 10
BATCHES = (64, 256)  # windows; 64 pairs are the 128 observations of policies/*.yaml
SPEC = {"robot0_eef_pos": 3, "robot0_eef_quat": 4, "robot0_gripper_qpos": 2, "object": 74}
MODES = {"none": None, "low_dim": "low_dim", "all": "all"}
LENGTHS = {"sequences": CHUNK, "paired": 2 * CHUNK}  # frames that robomimic reads for the same contents
ROW = "{content:9} batch {windows_per_batch:3} robomimic cache {robomimic_cache_mode:7} "
ROW += "x{ratio_median} ({ratio_min} to {ratio_max}, n={n})"
REQUIRED = {"none": 30.0, "low_dim": 30.0}  # "all" keeps every window ready made, at the memory told below


# ---------------------------------------------------------------------------------------------------------- the loaders


def our_sequences(windows: PairedWindows, batch: int) -> Batches:
    """robomimic's windows, gathered from our arrays."""
    for step in itertools.count():
        yield sequences(windows.arrays, windows.draw(0, step, batch), CHUNK)


def sequences(arrays: EpisodeArrays, at: np.ndarray, length: int) -> dict:
    """What SequenceDataset returns for the frames `at` (B,): per item (B, length, D), the last frame repeated."""
    last = arrays.starts[arrays.episode_of_frame[at] + 1] - 1
    frames = np.minimum(at[:, None] + np.arange(length), last[:, None])  # (B, length)
    obs = torch.from_numpy(arrays.observations.take(frames, axis=0))  # (B, length, W)
    return {
        "actions": torch.from_numpy(arrays.actions.take(frames, axis=0)),
        "rewards": torch.from_numpy(arrays.rewards.take(frames)),
        "obs": dict(zip(arrays.spec, obs.split(list(arrays.spec.values()), dim=2), strict=True)),
    }


def our_pairs(windows: PairedWindows, batch: int) -> Batches:
    """The batches of training."""
    for step in itertools.count():
        yield windows.batch(0, step, 0, 1, 2 * batch)


# ------------------------------------------------------------------------------------------------------------- equality


def check_equal(windows: PairedWindows, single: torch.utils.data.Dataset, double: torch.utils.data.Dataset) -> int:
    """Compare contents bit for bit on 500 windows; the number compared."""
    at = np.random.default_rng(0).choice(len(single), min(500, len(single)), replace=False)
    ours, pairs = sequences(windows.arrays, at, CHUNK), windows.gather(at)
    for row, index in enumerate(at):
        theirs, longer = single[int(index)], double[int(index)]
        for key in ("actions", "rewards"):
            assert np.array_equal(theirs[key], ours[key][row]), f"{key} of window {index} differs"
        assert np.array_equal(longer["actions"][:CHUNK], pairs.actions[row])
        followed = bool(pairs.discount[row] > 0)  # else the pair wraps to the episode's beginning
        assert not followed or np.array_equal(longer["actions"][CHUNK:], pairs.next_actions[row])
        for key, values in ours["obs"].items():
            assert np.array_equal(theirs["obs"][key], values[row]), f"obs/{key} of window {index} differs"
            assert np.array_equal(longer["obs"][key][0], pairs.obs.low_dim[key][row])
            assert not followed or np.array_equal(longer["obs"][key][CHUNK], pairs.next_obs.low_dim[key][row])
    return len(at)


# --------------------------------------------------------------------------------------------------------------- timing


def table(found: dict[tuple, list[float]]) -> list[dict]:
    """Ours over robomimic's, per content, batch and cache mode: the median of the rounds' ratios, and their range."""
    rows = []
    for content, batch, mode in itertools.product(LENGTHS, BATCHES, MODES):
        pairs = zip(found["ours", content, batch], found[mode, content, batch], strict=True)
        ratios = [ours / theirs for ours, theirs in pairs]
        told = {"content": content, "windows_per_batch": batch, "robomimic_cache_mode": mode}
        told |= {"ratio_median": round(statistics.median(ratios), 1), "n": len(ratios)}
        rows.append(told | {"ratio_min": round(min(ratios), 1), "ratio_max": round(max(ratios), 1)})
    return rows


def run(path: Path, rounds: int, seconds: float) -> dict:
    """The whole comparison on one file."""
    arrays = open_cache(path)
    windows = PairedWindows(arrays, CHUNK, CHUNK, 0.99)
    pairs = itertools.product(LENGTHS, MODES)
    datasets = {(c, m): robomimic_dataset(path, list(arrays.spec), mode=MODES[m], length=LENGTHS[c]) for c, m in pairs}
    compared = check_equal(windows, datasets["sequences", "none"], datasets["paired", "none"])
    loaders: dict[tuple, Batches] = {}
    for batch in BATCHES:
        loaders["ours", "sequences", batch] = our_sequences(windows, batch)
        loaders["ours", "paired", batch] = our_pairs(windows, batch)
        loaders |= {(m, c, batch): robomimic_batches(dataset, batch) for (c, m), dataset in datasets.items()}
    frame_bytes = 4 * (sum(arrays.spec.values()) + arrays.action_dim + 1)
    return {
        "file": {"episodes": len(arrays), "frames": len(arrays.actions), "obs": arrays.spec},
        "chunk": CHUNK,
        "windows_compared_bit_for_bit": compared,
        "rounds": rounds,
        "seconds_per_turn": seconds,
        "threads": torch.get_num_threads(),
        "megabytes_of_numbers": {
            "ours and low_dim": round(len(arrays.actions) * frame_bytes / 1e6, 1),
            **{f"all, {c}": round(len(arrays.actions) * frame_bytes * n / 1e6, 1) for c, n in LENGTHS.items()},
        },
        "versions": {name: version(name) for name in ("robomimic", "torch", "numpy", "h5py")},
        "rows": table(batches_per_second(loaders, rounds, seconds)),
    }


def main() -> int:
    """Print the ratios; exit 1 where one that is required is missed."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, help="a data file; without it one is made up")
    parser.add_argument("--out", type=Path, help="where the result goes as JSON")
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--seconds", type=float, default=0.3, help="per loader and round")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["ROBO_ORL_CACHE"] = folder
        path = asked.data or write_made_up(Path(folder) / "made_up.hdf5", SPEC, episodes=200, length=170)
        result = {"command": " ".join(["python", *sys.argv])} | run(path, asked.rounds, asked.seconds)
    for row in result["rows"]:
        print(ROW.format(**row))
    if asked.out:
        asked.out.write_text(json.dumps(result, indent=2) + "\n")
    required = [row for row in result["rows"] if row["robomimic_cache_mode"] in REQUIRED]
    return int(any(row["ratio_median"] < REQUIRED[row["robomimic_cache_mode"]] for row in required))


if __name__ == "__main__":
    sys.exit(main())
