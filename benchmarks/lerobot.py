"""Sizes and times of conversion: robomimic's HDF5 to a LeRobot v3 folder and back, and a v2.1 folder to HDF5.

    robo-orl data generate --task lift --regime ph --episodes 5 --cameras agentview,robot0_eye_in_hand --out FILE.hdf5
    python benchmarks/lerobot.py FILE.hdf5 [--v21 FOLDER --episodes 10] [--out benchmarks/lerobot.json]

Time is that of the processor, of this process and of ffmpeg, so that other work on the machine counts little; the
median of three. The error of the pictures is over all of them. --v21: a LeRobot v2.1 folder; --episodes: those whose
videos are there.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from ledger import machine

from robo_orl.base.files import write_json
from robo_orl.data.hdf5_schema import demo_names, image_keys
from robo_orl.data.lerobot.from_hdf5 import export_lerobot
from robo_orl.data.lerobot.selection import Choice
from robo_orl.data.lerobot.to_hdf5 import convert_lerobot

ROUNDS = 3


def processor_s() -> float:
    """Seconds of the processor so far, of this process and its children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)


def timed(work: Callable[[Path], Any], folder: Path) -> dict[str, Any]:
    """Processor seconds of `work(output)`, ROUNDS times into new outputs, and the size of one."""
    seconds = []
    for number in range(ROUNDS):
        out = folder / f"{number}.hdf5"
        before = processor_s()
        work(out)
        seconds.append(processor_s() - before)
    files = [file for file in out.rglob("*") if file.is_file()] if out.is_dir() else [out]
    rounded = {"seconds_median": statistics.median(seconds), "seconds_min": min(seconds), "seconds_max": max(seconds)}
    return {name: round(value, 3) for name, value in rounded.items()} | {
        "bytes": sum(file.stat().st_size for file in files),
        "videos": sum(file.stat().st_size for file in files if file.suffix == ".mp4"),
        "n": ROUNDS,
        "out": out,
    }


def picture_error(first: Path, second: Path) -> dict[str, float]:
    """Mean absolute error and peak signal-to-noise ratio over all pictures of two files, of 255."""
    total = squares = count = 0.0
    with h5py.File(first) as a, h5py.File(second) as b:
        for name in demo_names(a):
            for key in image_keys(a):
                off = a[f"data/{name}/obs/{key}"][:].astype(float) - b[f"data/{name}/obs/{key}"][:]
                total, squares, count = total + abs(off).sum(), squares + (off**2).sum(), count + off.size
    return {"mean": round(total / count, 3), "psnr_db": round(10 * np.log10(255**2 / (squares / count)), 2)}


def row(name: str, result: dict[str, Any], source_bytes: int, frames: int, cameras: int) -> dict[str, Any]:
    """A row of the table."""
    print(f"{name}: {result['seconds_median']} s, {source_bytes} -> {result['bytes']} bytes, {frames} frames")
    kept = {key: value for key, value in result.items() if key != "out"}
    return {"what": name, "frames": frames, "cameras": cameras, "source_bytes": source_bytes} | kept


def folder_bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--v21", type=Path)
    parser.add_argument("--episodes", default="")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/lerobot.json"))
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        places = {name: root / name for name in ("export", "back", "vectors", "pictures")}
        for place in places.values():
            place.mkdir()
        exported = timed(lambda out: export_lerobot(options.data, out, progress=False), places["export"])
        with h5py.File(options.data) as file:
            frames, cameras = int(file["data"].attrs["total"]), len(image_keys(file))
        rows.append(row("HDF5 to v3", exported, options.data.stat().st_size, frames, cameras))
        back = timed(lambda out: convert_lerobot(exported["out"], out, Choice(), progress=False), places["back"])
        rows.append(row("v3 to HDF5", back, exported["bytes"], frames, cameras))
        error = picture_error(options.data, back["out"])
        if options.v21:
            seen = Choice(episodes=tuple(map(int, options.episodes.split(","))), size=84, scale_actions=True)
            for what, choice, place, read, cameras in (
                ("v2.1 to HDF5, vectors", Choice(cameras=(), scale_actions=True), "vectors", "data", 0),
                ("v2.1 to HDF5, 640 x 480 video to 84 x 84", seen, "pictures", "videos", 1),
            ):
                done = timed(partial(convert_lerobot, options.v21, choice=choice, progress=False), places[place])
                with h5py.File(done["out"]) as file:
                    frames = int(file["data"].attrs["total"])
                rows.append(row(what, done, folder_bytes(options.v21 / read), frames, cameras))
    command = (
        f"python benchmarks/lerobot.py {' '.join(Path(word).name if '/' in word else word for word in sys.argv[1:])}"
    )
    about = {"command": command, "machine": machine(), "load_average": round(os.getloadavg()[0], 1)}
    write_json(options.out, about | {"picture_error": error, "rows": rows})
    print(json.dumps(error))


if __name__ == "__main__":
    main()
