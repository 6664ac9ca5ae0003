"""What a data file holds, for a table; reads attributes and shapes only."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import h5py
import numpy as np

from robo_orl.base.errors import UsageError
from robo_orl.data import hdf5_schema as layout
from robo_orl.data.arrays import Reading
from robo_orl.data.conversion import succeeded
from robo_orl.data.training_faults import training_notes
from robo_orl.data.validate import total_faults


def describe(path: Path | str) -> dict:
    """Episodes, success as k and n, lengths, masks, operators, keys with sizes, and who made the file. JSON-able."""
    with layout.open_hdf5(path) as file:
        try:
            if not len(file.get("data", {})):
                raise UsageError(f"{path} holds no demo; `robo-orl data validate` names its faults.")
            return {"path": str(path), "bytes": Path(path).stat().st_size} | _contents(file) | _made(file)
        except layout.DAMAGE:
            raise UsageError(f"{path} is broken; `robo-orl data validate {path}` names its faults.") from None


def _contents(file: h5py.File) -> dict:
    demos = {name: file["data"][name] for name in layout.demo_names(file)}
    lengths = {name: len(demo["actions"]) for name, demo in demos.items()}
    success = {name: succeeded(demo) for name, demo in demos.items()}
    notes = [*training_notes(file, Reading()), *total_faults(file, list(demos))]
    operators = defaultdict(list)
    for name, demo in demos.items():
        operators[str(demo.attrs.get("operator", ""))].append(name)
    first = next(iter(demos.values()))
    return {
        "all": _summary(list(demos), lengths, success),
        "masks": {mask: _summary(members, lengths, success) for mask, members in layout.masks(file).items()},
        "operators": {name: _summary(members, lengths, success) for name, members in sorted(operators.items())},
        "obs": layout.low_dim_sizes(file),
        "images": {key: list(first["obs"][key].shape[1:]) for key in layout.image_keys(file)},
        "action_dim": int(first["actions"].shape[1]),
        "stored_next_obs": "next_obs" in first,
    } | ({"notes": notes} if notes else {})


def _summary(members: list[str], lengths: dict[str, int], success: dict[str, bool]) -> dict:
    """Counts of a group of demos; lengths are None where it is empty. A mask may name demos that are gone."""
    members = [name for name in members if name in lengths]
    frames = np.array([lengths[name] for name in members])
    return {
        "episodes": len(members),
        "success_k": sum(success[name] for name in members),
        "success_n": len(members),
        "frames": int(frames.sum()),
        "length_min": int(frames.min()) if len(frames) else None,
        "length_median": float(np.median(frames)) if len(frames) else None,
        "length_max": int(frames.max()) if len(frames) else None,
    }


def _made(file: h5py.File) -> dict:
    made = layout.provenance(file)
    if made is None:
        return {
            "task": None,
            "task_digest": None,
            "regime": None,
            "seed": None,
            "loop": None,
            "versions": None,
            "render": None,
        }
    return {
        "task": made.task.name,
        "task_digest": made.task.digest(),
        "regime": made.regime,
        "seed": made.seed,
        "loop": made.loop,
        "versions": made.versions,
        "render": made.render,
    }
