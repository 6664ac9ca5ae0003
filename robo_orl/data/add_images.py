"""Pictures for a file that has none: its stored states are put into the simulator again and looked at.

Parallel and resumable: finished demos wait beside the file, each in its own .npz, until all are there; the file is then
replaced by one that has them, whole or not at all.
"""

from __future__ import annotations

import json
import shutil
import zipfile
import zlib
from functools import partial
from pathlib import Path

import h5py
import numpy as np
from rich.console import Console
from rich.progress import track

from robo_orl.base.errors import UsageError
from robo_orl.base.files import atomic_file, file_sha256, folder_beside
from robo_orl.base.locks import shard_folder
from robo_orl.base.text import as_label, notice
from robo_orl.config import TaskConfig, View, sha256_of
from robo_orl.data import hdf5_schema as layout
from robo_orl.data.hdf5 import check_space
from robo_orl.data.info import WrittenFile, describe
from robo_orl.data.layouts import other_layout
from robo_orl.data.recording import open_recordings, read_recording
from robo_orl.rollout.pool import work_through
from robo_orl.rollout.process import Work


def add_images(
    path: Path | str,
    view: View,
    workers: int | None = None,
    progress: bool = True,
    task: TaskConfig | None = None,
    accept_mismatch: bool = False,
) -> WrittenFile:
    """Render every stored state of `path` in `view` into obs/<camera>_image, and describe the file.

    task: of a file of other software, whose next_obs stay without pictures. A killed call leaves its finished demos in
    a folder beside the file, and the same call goes on from there. A file that has these pictures is left as it is.
    Raises UsageError for a file without states, of another environment than the task's, one with other pictures, one
    of this project with next_obs, and an unknown camera; RunError where nothing renders here or the disk is full.
    """
    path = Path(path)
    source = open_recordings(path, task, accept_mismatch)
    names = source.names
    with layout.open_hdf5(path) as file:
        present = layout.view_of(file)
        if (other := other_layout(file)) is not None:
            raise UsageError(other)
        pictures = layout.image_keys(file)
    if present == view:
        return WrittenFile(describe(path), already_complete=True)
    _check_addable(path, source.made, present, pictures)
    folder = folder_beside(path, "images")
    request = sha256_of([file_sha256(path), view.model_dump(mode="json")])
    with shard_folder(folder, request, "*.npz", "rendering"):
        missing = [name for name in names if not _is_whole(folder / f"{name}.npz")]
        prepare = partial(_renderer, path, source.task, view, folder)
        finished = work_through(missing, prepare, workers, "Rendering {}".format)
        if progress:
            finished = track(
                finished, as_label(f"rendering {path.name}"), total=len(missing), console=Console(stderr=True)
            )
        for _ in finished:
            pass
        _put_together(path, names, folder, view)
        shutil.rmtree(folder)
    return WrittenFile(describe(path), counts={"rendered_now": len(missing)}, notes=source.notes)


def _check_addable(path: Path, made: layout.Provenance | None, present: View | None, pictures: list[str]) -> None:
    if present is not None or pictures:
        there = ", ".join(present.cameras) + f" at {present.size} pixels, {present.look}" if present else ""
        there = there or ", ".join(pictures)
        raise UsageError(f"{path} has other pictures ({there}): add yours to a copy of the file without them.")
    if made is not None and made.next_obs:
        raise UsageError(
            f"{path} stores next_obs, and the last of them is in no stored state: generate the file with --cameras."
        )


def _is_whole(file: Path) -> bool:
    """True where the pictures of a demo are kept; a damaged file is removed."""
    if not file.exists():
        return False
    try:
        with np.load(file) as pictures:
            return all(pictures[key].size for key in pictures.files)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error):
        notice(f"the kept pictures {file} are damaged and are made again.")
        file.unlink(missing_ok=True)
        return False


def _renderer(path: Path, task: TaskConfig, view: View, folder: Path) -> Work:
    """The work of one process, in one environment: render a demo's states and keep the pictures."""
    from robo_orl.envs.rendering.renderer import render_fingerprint
    from robo_orl.envs.task_env import TaskEnv

    env, render = TaskEnv(task), json.dumps(render_fingerprint(view.look))

    def work(name: str) -> None:
        recording = read_recording(path, name)
        recording.begin(env)
        seen = []
        for state in recording.states:
            env.pose(state)
            seen.append(env.see(view))
        with atomic_file(folder / f"{name}.npz") as temporary, open(temporary, "wb") as stream:
            np.savez(stream, render=render, **{key: np.stack([images[key] for images in seen]) for key in seen[0]})

    return work


def _put_together(path: Path, names: list[str], folder: Path, view: View) -> None:
    """Replace the file by one that has the pictures."""
    size = path.stat().st_size + sum((folder / f"{name}.npz").stat().st_size for name in names)
    check_space(path, size)
    with atomic_file(path) as temporary:
        shutil.copyfile(path, temporary)
        with h5py.File(temporary, "r+") as file:
            for name in names:
                with np.load(folder / f"{name}.npz") as pictures:
                    for key in sorted(set(pictures.files) - {"render"}):
                        file["data"][name]["obs"].create_dataset(key, data=pictures[key])
                    render = str(pictures["render"])
            file["data"].attrs["view"] = json.dumps(view.model_dump(mode="json"), sort_keys=True)
            file["data"].attrs["render"] = json.dumps(json.loads(render), sort_keys=True)
