"""From robomimic's HDF5 layout to a LeRobot v3 folder, which LeRobot's own policies train on.

The object's key becomes observation.environment_state, all other vectors together observation.state, pictures mp4;
rewards, dones, success and stages are next.*, the instruction is the task text. States of the simulator stay behind. A
killed call goes on from the videos that are complete, and the folder appears when it is whole.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from rich.console import Console
from rich.progress import track

from robo_orl.base.errors import UsageError
from robo_orl.base.files import file_sha256, folder_beside, write_json
from robo_orl.base.locks import shard_folder
from robo_orl.base.text import as_label
from robo_orl.data import hdf5_schema as layout
from robo_orl.data.hdf5 import check_space
from robo_orl.data.lerobot import statistics
from robo_orl.data.lerobot.dataset import INFO, OURS, open_folder
from robo_orl.data.lerobot.export_plan import Plan, columns, plan_export
from robo_orl.data.lerobot.v3_folder import Episode, write_folder
from robo_orl.data.lerobot.videos import write_clip

LEFT_BEHIND = ("model_file", "num_samples", "episode_index")


@dataclass(frozen=True, slots=True)
class Exported:
    """A LeRobot folder that was written, or left because it was complete."""

    path: Path
    episodes: int
    frames: int
    bytes: int
    features: dict[str, list[int]]
    fps: int
    tasks: list[str]
    already_complete: bool = False
    notes: Sequence[str] = ()

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        names = ("episodes", "frames", "bytes", "features", "fps", "tasks", "already_complete", "notes")
        return {"path": str(self.path)} | {name: getattr(self, name) for name in names}


def export_lerobot(path: Path, out: Path, instruction: str = "", fps: int = 0, progress: bool = True) -> Exported:
    """Write the LeRobot v3 folder `out` from a robomimic file, and say what it holds.

    instruction: the task text of episodes that have none of their own; fps: where the file does not say its rate.
    Raises UsageError for a file that cannot be read, without a rate, and where `out` holds something else.
    """
    with layout.open_hdf5(path) as file:
        plan = plan_export(file, path, instruction, fps)
        request = {"file": path.name, "sha256": file_sha256(path), "instruction": instruction, "fps": fps}
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            return _existing(out, request, plan)
        parts = folder_beside(out, "exporting")
        with shard_folder(parts, json.dumps(request, sort_keys=True), "*.mp4", "exporting"):
            demos = track(
                plan.demos, as_label(f"exporting {path.name}"), console=Console(stderr=True), disable=not progress
            )
            episodes = [_episode(file["data"][name], number, plan, parts) for number, name in enumerate(demos)]
            check_space(out, sum(clip.stat().st_size for clip in parts.glob("*.mp4")))
            whole = parts / "whole"
            shutil.rmtree(whole, ignore_errors=True)
            write_folder(whole, episodes, columns(file, plan), plan.fps, plan.robot)
            write_json(whole / OURS, _account(file, plan) | {"request": request})
            if out.is_dir():
                out.rmdir()
            os.replace(whole, out)
            shutil.rmtree(parts)
    return _exported(out, plan)


def _existing(out: Path, request: dict[str, Any], plan: Plan) -> Exported:
    try:
        same = json.loads((out / OURS).read_text(encoding="utf-8")).get("request") == request
    except (OSError, ValueError, AttributeError):
        same = False
    if not same:
        raise UsageError(f"{out} exists and holds something else; choose another --out or delete it.")
    return _exported(out, plan, already_complete=True)


def _exported(out: Path, plan: Plan, already_complete: bool = False) -> Exported:
    info = json.loads((out / INFO).read_text(encoding="utf-8"))
    return Exported(
        path=out,
        episodes=info["total_episodes"],
        frames=info["total_frames"],
        bytes=sum(file.stat().st_size for file in out.rglob("*") if file.is_file()),
        features={name: value["shape"] for name, value in info["features"].items()},
        fps=info["fps"],
        tasks=sorted({task for episode in open_folder(out).episodes for task in episode.tasks}),
        already_complete=already_complete,
        notes=plan.notes,
    )


def _episode(demo: h5py.Group, number: int, plan: Plan, parts: Path) -> Episode:
    """An episode's numbers, with its pictures encoded in the folder of parts."""
    values = {}
    for feature, members in plan.keys.items():
        vectors = [demo["obs"][layout.stored_name(demo["obs"], key)][:] for key, _ in members]
        values[feature] = np.concatenate([v.reshape(len(v), -1).astype(np.float32) for v in vectors], axis=1)
    actions = demo["actions"][:].astype(np.float32)
    if plan.action_range is not None:
        low, high = plan.action_range
        actions = (low + (actions.astype(np.float64) + 1) / 2 * (high - low)).astype(np.float32)
    values["action"] = actions
    outcomes = {
        "next.reward": ("rewards", np.float32),
        "next.done": ("dones", bool),
        "next.stages": ("stages", np.int64),
    }
    for feature, (key, dtype) in outcomes.items():
        if key in demo:
            values[feature] = demo[key][:].reshape(len(actions), -1).astype(dtype)
    success = np.zeros((len(actions), 1), bool)
    success[-1] = demo.attrs.get("success", False)
    values["next.success"] = success
    clips, shapes, pictures = {}, {}, {}
    for key in plan.cameras:
        camera = f"observation.images.{key.removesuffix(layout.IMAGE)}"
        images, clip = demo["obs"][key][:], parts / f"{number:06d}-{key}.mp4"
        if not clip.exists():
            write_clip(clip, images, plan.fps)
        clips[camera], shapes[camera], pictures[camera] = clip, images.shape[1:], statistics.of_pictures(images)
    return Episode(_task_text(demo, plan), values, clips, shapes, pictures)


def _task_text(demo: h5py.Group, plan: Plan) -> str:
    """The episode's own sentence (robomimic's ep_meta), else that of the file."""
    try:
        return json.loads(demo.attrs["ep_meta"])["lang"] or plan.instruction
    except (KeyError, ValueError, TypeError):
        return plan.instruction


def _account(file: h5py.File, plan: Plan) -> dict[str, Any]:
    """What LeRobot has no place for, so that converting back gives the same file: keys, header, attributes, masks."""
    header = {name: _plain(value) for name, value in file["data"].attrs.items() if name not in ("total", "converted")}
    header |= {"next_obs": False} if "next_obs" in header else {}  # LeRobot has one observation a frame
    demos = {
        str(number): {k: _plain(v) for k, v in file["data"][name].attrs.items() if k not in LEFT_BEHIND}
        for number, name in enumerate(plan.demos)
    }
    renamed = {name: f"demo_{number}" for number, name in enumerate(plan.demos)}
    masks = {mask: [renamed[n] for n in names if n in renamed] for mask, names in layout.masks(file).items()}
    return {"format": 1, "keys": plan.keys, "attributes": header, "episodes": demos, "masks": masks}


def _plain(value: Any) -> Any:
    """An attribute of HDF5 as JSON has it."""
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return value.item() if isinstance(value, np.generic) else value.tolist() if isinstance(value, np.ndarray) else value
