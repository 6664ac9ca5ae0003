"""From a LeRobot folder to robomimic's HDF5 layout: episode by episode, so that a killed call goes on.

`observation.X` becomes the key X, a camera `observation.images.X` the pictures X_image, `action` the actions;
next.reward, next.done, next.success and next.stages are rewards, dones, success and stages. Task texts stand in
`ep_meta` ("lang"). A folder that `data export` wrote gives back the keys, masks and attributes of its origin.
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from rich.console import Console
from rich.progress import track

from robo_orl.base.errors import UsageError
from robo_orl.base.files import atomic_file, file_sha256, folder_beside
from robo_orl.base.locks import shard_folder
from robo_orl.base.text import as_label
from robo_orl.data import hdf5_schema as layout
from robo_orl.data.hdf5 import check_space
from robo_orl.data.info import WrittenFile, describe
from robo_orl.data.lerobot.dataset import Feature, SourceEpisode, open_folder
from robo_orl.data.lerobot.selection import OBSERVATION, Choice, Selection, episode_rows, select, vector
from robo_orl.data.lerobot.videos import decode_image, read_clip


def convert_lerobot(root: Path, out: Path, choice: Choice, progress: bool = True) -> WrittenFile:
    """Write `out` from a LeRobot folder, and describe it; a complete file of the same call is left as it is.

    Raises UsageError for a damaged folder, a missing video, numbers that are not finite, actions outside [-1, 1] unless
    they are scaled, and where `out` holds something else.
    """
    selection = select(open_folder(root), choice)
    source = _source(selection)
    if out.exists():
        with layout.open_hdf5(out) as file:
            same = json.loads(file["data"].attrs.get("converted", "null")) == source if "data" in file else False
        if not same:
            raise UsageError(f"{out} exists and holds other data; choose another --out or delete it.")
        return WrittenFile(describe(out), already_complete=True, notes=selection.notes)
    parts = folder_beside(out, "converting")
    with shard_folder(parts, json.dumps(source, sort_keys=True), "*.hdf5", "converting"):
        shards = [parts / f"{episode.index:06d}.hdf5" for episode in selection.episodes]
        pairs = [(e, shard) for e, shard in zip(selection.episodes, shards, strict=True) if not shard.exists()]
        if progress:
            pairs = track(pairs, as_label(f"converting {root.name}"), console=Console(stderr=True))
        for episode, shard in pairs:
            check_space(shard, _picture_bytes(selection, episode))
            with atomic_file(shard) as temporary, h5py.File(temporary, "w") as file:
                _write_episode(file, selection, episode)
        check_space(out, sum(shard.stat().st_size for shard in shards))
        with atomic_file(out) as temporary, h5py.File(temporary, "w") as file:
            _join(file, selection, shards, source)
        shutil.rmtree(parts)
    return WrittenFile(describe(out), notes=selection.notes)


def _picture_bytes(selection: Selection, episode: SourceEpisode) -> int:
    size = selection.choice.size
    shapes = [(size, size, 3) if size else feature.shape for feature in selection.cameras.values()]
    return episode.length * sum(math.prod(shape) for shape in shapes)


def _write_episode(file: h5py.File, selection: Selection, episode: SourceEpisode) -> None:
    """The group `demo` of a shard."""
    group, folder = file.create_group("demo"), selection.folder
    features = [*selection.vectors.values(), folder.features["action"]]
    features += [folder.features[name] for name in selection.outcomes.values()]
    inside = [feature for feature in selection.cameras.values() if feature.dtype == "image"]
    rows = episode_rows(episode, [feature.name for feature in [*features, *inside]])
    values = {feature.name: vector(rows[feature.name], feature, episode) for feature in features}
    for key, feature in selection.vectors.items():
        for name, part in _keys(selection, key, values[feature.name].astype(np.float32)):
            group.create_dataset(f"obs/{name}", data=part)
    for key, feature in selection.cameras.items():
        group.create_dataset(f"obs/{key}", data=_pictures(selection, feature, rows, episode))
    group.create_dataset("actions", data=_scaled(selection, values["action"]).astype(np.float32))
    _write_outcomes(group, selection, episode, {key: values[name] for key, name in selection.outcomes.items()})
    group.attrs["num_samples"] = episode.length
    group.attrs["ep_meta"] = json.dumps({"lang": "; ".join(episode.tasks)})
    group.attrs["episode_index"] = episode.index
    for name, value in _own_attributes(selection, episode).items():
        group.attrs[name] = value


def _keys(selection: Selection, key: str, values: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """The HDF5 keys of a vector (T, D): the one of its name, or those that an export put together."""
    parts = ((selection.folder.ours or {}).get("keys") or {}).get(f"{OBSERVATION}{key}") or [[key, values.shape[1]]]
    first = 0
    for name, size in parts:
        yield name, values[:, first : first + size]
        first += size


def _scaled(selection: Selection, actions: np.ndarray) -> np.ndarray:
    """Actions in [-1, 1]; a number that never changes is 0."""
    if selection.low is None:
        return actions
    span = selection.high - selection.low
    return np.where(span > 0, 2 * (actions - selection.low) / np.where(span > 0, span, 1) - 1, 0.0)


def _pictures(
    selection: Selection, feature: Feature, rows: dict[str, np.ndarray], episode: SourceEpisode
) -> np.ndarray:
    size = selection.choice.size
    if feature.dtype == "video":
        clip = episode.clips[feature.name]
        return read_clip(clip.path, clip.first, episode.length, selection.folder.fps, size)
    try:
        return np.stack([decode_image(bytes(cell["bytes"]), size) for cell in rows[feature.name]])
    except (OSError, ValueError, TypeError, KeyError):
        raise UsageError(
            f"{episode.table}: '{feature.name}' of episode {episode.index} holds pictures that cannot be read; leave "
            "the camera out with --cameras."
        ) from None


def _write_outcomes(
    group: h5py.Group, selection: Selection, episode: SourceEpisode, values: dict[str, np.ndarray]
) -> None:
    """rewards, dones, stages and success, as far as the folder or the caller says them."""
    if selection.choice.assume_success:
        last = np.zeros(episode.length, np.uint8)
        last[-1] = 1
        values = {"rewards": last, "dones": last, "success": last[:, None]}
    for key, dtype in (("rewards", np.float32), ("dones", np.uint8)):
        if key in values:
            group.create_dataset(key, data=values[key].ravel().astype(dtype))
    if "stages" in values:
        group.create_dataset("stages", data=values["stages"].astype(np.uint8))
    if "success" in values:
        group.attrs["success"] = bool(values["success"].any())


def _own_attributes(selection: Selection, episode: SourceEpisode) -> dict[str, Any]:
    """The attributes of the demo that an export was made of."""
    return (selection.folder.ours or {}).get("episodes", {}).get(str(episode.index), {})


def _source(selection: Selection) -> dict[str, Any]:
    """What the file is made of: the folder's name, version and bytes, and what was taken of it."""
    paths = {episode.table for episode in selection.episodes}
    for feature in selection.cameras.values():
        paths |= {episode.clips[feature.name].path for episode in selection.episodes if feature.dtype == "video"}
    paths |= {path for path in (selection.folder.root / "meta").rglob("*") if path.is_file()}
    missing = sorted(path for path in paths if not path.is_file())
    if missing:
        raise UsageError(
            f"{len(missing)} videos of {selection.folder.root} are missing, the first is {missing[0]}: fetch them, "
            "leave the camera out with --cameras (none for no camera), or choose --episodes."
        )
    digest = hashlib.sha256()
    for path in sorted(paths):
        digest.update(f"{path.relative_to(selection.folder.root)} {file_sha256(path)}\n".encode())
    return {
        "folder": selection.folder.root.resolve().name,
        "format": f"LeRobot {selection.folder.version}",
        "sha256": digest.hexdigest(),
        "choice": json.loads(json.dumps(asdict(selection.choice))),
    }


def _join(file: h5py.File, selection: Selection, shards: list[Path], source: dict[str, Any]) -> None:
    """All episodes in one file, with its header and masks."""
    data, folder, ours = file.create_group("data"), selection.folder, selection.folder.ours or {}
    numbers = {}
    for number, (episode, shard) in enumerate(zip(selection.episodes, shards, strict=True)):
        numbers[f"demo_{episode.index}"] = f"demo_{number}"
        with h5py.File(shard, "r") as part:
            part.copy("demo", data, f"demo_{number}")
    demos = data.values()
    order = [
        name
        for key, feature in selection.vectors.items()
        for name, _ in _keys(selection, key, np.empty((0, feature.size)))
    ]
    robots = {"robots": [folder.robot]} if folder.robot else {}
    env_args = {"env_name": folder.robot or folder.root.resolve().name}
    header = {
        "env_args": json.dumps(env_args | {"env_kwargs": {"control_freq": folder.fps, **robots}}, indent=4),
        "obs_keys": json.dumps(order),
        "names": json.dumps(_names(selection)),
    }
    if selection.low is not None:
        header["action_range"] = json.dumps([selection.low.tolist(), selection.high.tolist()])
    header |= _inherited(selection)
    header |= {"total": sum(len(demo["actions"]) for demo in demos), "converted": json.dumps(source, sort_keys=True)}
    if "episodes" in header:
        header["episodes"] = len(shards)
    for name, value in header.items():
        data.attrs[name] = value
    masks = {mask: [numbers[n] for n in names if n in numbers] for mask, names in ours.get("masks", {}).items()}
    succeeded = [name for name, demo in data.items() if demo.attrs.get("success", False)]
    if not masks and any("success" in demo.attrs for demo in demos):
        masks = {"success": sorted(succeeded, key=lambda name: int(name[5:]))}
    for mask, names in masks.items():
        file.create_dataset(f"mask/{mask}", data=np.array(names, "S16"))


def _inherited(selection: Selection) -> dict[str, Any]:
    """The header of the file that an export was made of; that of its pictures only where all are as they were."""
    header = dict((selection.folder.ours or {}).get("attributes", {}))
    if selection.choice.size or selection.choice.cameras is not None:
        header = {name: value for name, value in header.items() if name not in ("view", "render")}
    if "render" in header:
        header["render"] = json.dumps(json.loads(header["render"]) | {"video": "h264"}, sort_keys=True)
    return header


def _names(selection: Selection) -> dict[str, list[str]]:
    """Key -> names of its numbers, where the folder knows them."""
    vectors = {key: feature.names for key, feature in selection.vectors.items()}
    if (selection.folder.ours or {}).get("keys"):
        vectors = {}
    known = vectors | {"actions": selection.folder.features["action"].names}
    return {key: list(names) for key, names in known.items() if names}
