"""Copies of data files: other episodes (select, drop, rename, merge, flatten) or other outcomes of them.

Masks, counts and header follow.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import h5py
import numpy as np

from robo_orl.base.errors import UsageError, unknown
from robo_orl.base.files import atomic_file, file_sha256
from robo_orl.base.seeds import derive_seed
from robo_orl.data import hdf5_schema as layout
from robo_orl.data.hdf5 import check_space
from robo_orl.data.info import FileSummary, describe
from robo_orl.data.outcomes import end_failures, permute_outcomes

NAME = re.compile(r"demo_\d+")


@dataclass(frozen=True, slots=True)
class Edit:
    """The differences of a copy. select, drop: names of episodes or of masks. rename: old name -> new name.

    renumber: call the episodes demo_0, demo_1 and so on, in order; several files always are. flatten: observations of
    inner groups move into obs. clip_actions: to [-1, 1]. permute_outcomes: by this seed, and end_failures: as in
    outcomes.py; a copy with both permutes the ends as well. split: share of the episodes that a mask `valid` gets, the
    others being `train`, as robomimic names them; split_seed: of the draw.
    """

    select: Sequence[str] = ()
    drop: Sequence[str] = ()
    rename: dict[str, str] | None = None
    renumber: bool = False
    flatten: bool = False
    clip_actions: bool = False
    permute_outcomes: int | None = None
    end_failures: bool = False
    split: float | None = None
    split_seed: int = 0

    @property
    def variants(self) -> list[str]:
        """The names of the variants of a regime that the copy holds."""
        return ["ended"] * self.end_failures + ["permuted"] * (self.permute_outcomes is not None)


def edit(paths: Sequence[Path], out: Path, change: Edit) -> FileSummary | None:
    """Write `out` with the episodes of `paths`, changed, and describe it; None where it has no observations.

    What links into other files is copied. A copy that is there and says that the same edit of the same files made it is
    left as it is.

    Raises UsageError for an existing `out`, an unknown episode or mask, names that collide, files whose environments
    or arrays differ, and where no episode is left.
    """
    if out.exists() and _is_made_by(out, paths, change):
        return describe(out)
    if out.exists():
        raise UsageError(f"{out} exists; choose another --out or delete it.")
    check_space(out, sum(path.stat().st_size for path in paths if path.is_file()))
    kept = 0
    with atomic_file(out) as temporary, h5py.File(temporary, "w") as target:
        data = target.create_group("data")
        masks: dict[str, list[str]] = {}
        for path in paths:
            with layout.open_hdf5(path) as source:
                if not isinstance(source.get("data"), h5py.Group):
                    raise UsageError(f"{path} has no group 'data': its layout is not robomimic's.")
                names = _renamed(source, change, kept, renumber=change.renumber or len(paths) > 1)
                for old, new in names.items():
                    _copy_episode(source["data"][old], data, new, change)
                for mask, members in layout.masks(source).items():
                    masks.setdefault(mask, []).extend(names[name] for name in members if name in names)
                _merge_header(source, data, str(path), first=kept == 0)
                kept += len(names)
        if not kept:
            raise UsageError("No episode is left: --select and --drop take names of episodes or of masks.")
        _change_outcomes(target, masks, change)
        if change.split is not None:
            masks |= divided(layout.demo_names(target), change.split, change.split_seed)
        layout.write_masks(target, masks)
        _write_counts(target, paths, change)
    return describe(out) if "obs" in _first(out) else None


def divided(names: list[str], share: float, seed: int) -> dict[str, list[str]]:
    """Masks `train` and `valid` of episodes, drawn by `seed`: of valid the share, at least one episode of each."""
    if len(names) < 2:
        raise UsageError(f"{len(names)} episode cannot be divided into train and valid: record more.")
    count = min(max(round(share * len(names)), 1), len(names) - 1)
    chosen = np.random.default_rng(derive_seed("split", seed)).permutation(len(names))[:count]
    held = {names[i] for i in chosen}
    return {"train": [name for name in names if name not in held], "valid": [name for name in names if name in held]}


def _first(path: Path) -> set[str]:
    with layout.open_hdf5(path) as file:
        return set(next(iter(file["data"].values())))


def episode_names(file: h5py.File) -> list[str]:
    """The episodes of a file in order: demo_N by number, else every group that holds actions."""
    numbered = layout.demo_names(file)
    return numbered or [name for name, demo in file["data"].items() if "actions" in demo]


def _renamed(file: h5py.File, change: Edit, offset: int, renumber: bool) -> dict[str, str]:
    """Old name -> new name of the episodes that stay."""
    names, masks = episode_names(file), layout.masks(file)
    selected = set(_members(change.select, names, masks, file.filename)) if change.select else set(names)
    selected -= set(_members(change.drop, names, masks, file.filename))
    stay = [name for name in names if name in selected]
    if renumber:
        return {name: f"demo_{offset + number}" for number, name in enumerate(stay)}
    rename = change.rename or {}
    for name in rename:
        if name not in names:
            raise unknown(f"episode of {file.filename}", name, names)
    result = {name: rename.get(name, name) for name in stay}
    for old, new in result.items():
        if not NAME.fullmatch(new):
            raise UsageError(
                f"{old}: episodes are named demo_0, demo_1 and so on, not {new}; --renumber names them so."
            )
    if len(set(result.values())) < len(result):
        raise UsageError("Two episodes would have one name: choose other names, or --renumber.")
    return result


def _members(chosen: Sequence[str], names: list[str], masks: dict[str, list[str]], path: str) -> Iterator[str]:
    for name in chosen:
        if name in names:
            yield name
        elif name in masks:
            yield from masks[name]
        else:
            raise unknown(f"episode or mask of {path}", name, [*masks, *names])


def _copy_episode(demo: h5py.Group, data: h5py.Group, name: str, change: Edit) -> None:
    demo.file.copy(demo, data, name, expand_external=True, expand_soft=True)
    copy = data[name]
    for key in [key for key, value in copy.items() if isinstance(value, h5py.Dataset) and value.is_virtual]:
        values = copy[key][:]
        del copy[key]
        copy[key] = values
    for group in (copy[key] for key in ("obs", "next_obs") if change.flatten and key in copy):
        _flatten(group)
    if "actions" not in copy:
        raise UsageError(f"{demo.name}: the dataset actions is missing; leave the episode out with --drop.")
    if change.clip_actions:
        copy["actions"][...] = np.clip(copy["actions"][...], -1, 1)
    copy.attrs["num_samples"] = len(copy["actions"])


def _flatten(group: h5py.Group) -> None:
    """Move every dataset of the inner groups up; UsageError where two have one name."""
    inner = [key for key, value in group.items() if isinstance(value, h5py.Group)]
    for name in inner:
        _flatten(group[name])
        for key in list(group[name]):
            if key in group and key not in inner:
                raise UsageError(f"{group.name}: two inner groups hold '{key}', so they cannot be flattened.")
            group.move(f"{name}/{key}", f".{key}" if key in inner else key)
        del group[name]
        for key in [key for key in group if key.startswith(".")]:
            group.move(key, key[1:])


def _merge_header(source: h5py.File, data: h5py.Group, path: str, first: bool) -> None:
    """The attributes of the first file; UsageError where a later one was made in another environment or task."""
    attributes = source["data"].attrs
    if first:
        for key, value in attributes.items():
            data.attrs[key] = value
        return
    for key in ("env_args", "task_digest", "obs_keys", "env", "view"):
        if (key in attributes) != (key in data.attrs) or (key in attributes and attributes[key] != data.attrs[key]):
            raise UsageError(f"{path} cannot join the files before it: their {key} differs.")
    if "regime" in attributes and attributes["regime"] != data.attrs["regime"]:
        data.attrs["regime"] = "merged"


def _change_outcomes(target: h5py.File, masks: dict[str, list[str]], change: Edit) -> None:
    """Ends and outcomes of the copy, with the mask of successes and the name of the regime."""
    if change.end_failures:
        end_failures(target)
    if change.permute_outcomes is not None:
        permute_outcomes(target, change.permute_outcomes)
        if "success" in masks:
            names = layout.demo_names(target)
            masks["success"] = [name for name in names if target["data"][name].attrs.get("success", False)]
    attributes = target["data"].attrs
    if change.variants and "regime" in attributes:
        attributes["regime"] = "+".join([attributes["regime"], *change.variants])


def _is_made_by(out: Path, paths: Sequence[Path], change: Edit) -> bool:
    with layout.open_hdf5(out) as file:
        data = file.get("data")
        said = None if data is None else (data.attrs.get("source"), data.attrs.get("edit"))
    return said == (_source(paths), _in_json(change)) if all(path.is_file() for path in paths) else False


def _in_json(change: Edit) -> str:
    """The edit as a copy keeps it; without the keys of a division that was not asked for, as copies of before."""
    undivided = {"split", "split_seed"} if change.split is None else set()
    return json.dumps({key: value for key, value in asdict(change).items() if key not in undivided}, sort_keys=True)


def _source(paths: Sequence[Path]) -> str:
    source = {"file": ", ".join(p.name for p in paths), "sha256": ", ".join(file_sha256(p) for p in paths)}
    return json.dumps(source, sort_keys=True)


def _write_counts(target: h5py.File, paths: Sequence[Path], change: Edit) -> None:
    """total, and in a file of this project the number of episodes, the files that they come from and the edit."""
    data = target["data"]
    data.attrs["total"] = sum(len(demo["actions"]) for demo in data.values())
    if "task" in data.attrs:
        data.attrs["episodes"] = len(data)
        data.attrs["source"], data.attrs["edit"] = _source(paths), _in_json(change)
