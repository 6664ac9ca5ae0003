"""The content of a data file for a table: counts, keys, origin; from attributes and shapes only."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from robo_orl.base.errors import UsageError
from robo_orl.data import hdf5_schema as layout
from robo_orl.data.arrays import Reading
from robo_orl.data.flat_arrays import succeeded
from robo_orl.data.training_checks import training_notes
from robo_orl.data.validate import total_faults


@dataclass(frozen=True, slots=True)
class EpisodeGroup:
    """Counts of a group of episodes; lengths in frames are None where it is empty."""

    episodes: int
    success_k: int
    success_n: int
    frames: int
    length_min: int | None
    length_median: float | None
    length_max: int | None


@dataclass(frozen=True, slots=True)
class FileSummary:
    """The content of a data file. obs: key -> size; images: key -> shape of a frame; masks, operators: by name.

    task to render are None, and operators empty, in files of other software, which do not say them. notes:
    contradictions in the file.
    """

    path: str
    bytes: int
    all: EpisodeGroup
    masks: dict[str, EpisodeGroup]
    operators: dict[str, EpisodeGroup]
    obs: dict[str, int]
    images: dict[str, list[int]]
    action_dim: int
    stored_next_obs: bool
    task: str | None = None
    task_digest: str | None = None
    regime: str | None = None
    seed: int | None = None
    loop: str | None = None
    versions: dict[str, str] | None = None
    render: dict[str, Any] | None = None
    notes: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """JSON values; notes only where there are some."""
        values = asdict(self)
        return values if self.notes else {key: value for key, value in values.items() if key != "notes"}


@dataclass(frozen=True, slots=True)
class WrittenFile:
    """A data file that a command has written, or has left because it was complete.

    counts: of this call, e.g. recorded_now; notes: choices that were made and what could not be checked.
    """

    summary: FileSummary
    already_complete: bool = False
    counts: dict[str, int | float | None] = field(default_factory=dict)
    notes: Sequence[str] = ()

    def to_json(self) -> dict[str, Any]:
        """One flat object: the file's summary, then what this call did."""
        values = self.summary.to_json() | {"already_complete": self.already_complete} | self.counts
        notes = [*self.summary.notes, *self.notes]
        return values | ({"notes": notes} if notes else {})


def describe(path: Path | str) -> FileSummary:
    """Describe a data file; UsageError where it is missing or cannot be read."""
    with layout.open_hdf5(path) as file:
        try:
            if not len(file.get("data", {})):
                raise UsageError(f"{path} holds no demo; `robo-orl data validate` names its faults.")
            return _summary(Path(path), file)
        except layout.DAMAGE:
            raise UsageError(f"{path} cannot be described; `robo-orl data validate {path}` says why.") from None


def _summary(path: Path, file: h5py.File) -> FileSummary:
    demos = {name: file["data"][name] for name in layout.demo_names(file)}
    lengths = {name: len(demo["actions"]) for name, demo in demos.items()}
    success = {name: succeeded(demo) for name, demo in demos.items()}
    operators = defaultdict(list)
    for name, demo in demos.items():
        if operator := str(demo.attrs.get("operator", "")):
            operators[operator].append(name)
    first, made = next(iter(demos.values())), layout.provenance(file)
    origin = {}
    if made is not None:
        origin = {"task": made.task.name, "task_digest": made.task.digest(), "regime": made.regime, "seed": made.seed}
        origin |= {"loop": made.loop, "versions": made.versions, "render": made.render}
    return FileSummary(
        path=str(path),
        bytes=path.stat().st_size,
        all=_group(list(demos), lengths, success),
        masks={mask: _group(members, lengths, success) for mask, members in layout.masks(file).items()},
        operators={name: _group(members, lengths, success) for name, members in sorted(operators.items())},
        obs=layout.low_dim_sizes(file),
        images={key: list(first["obs"][key].shape[1:]) for key in layout.image_keys(file)},
        action_dim=int(first["actions"].shape[1]),
        stored_next_obs="next_obs" in first,
        notes=[*training_notes(file, Reading()), *total_faults(file, list(demos))],
        **origin,
    )


def _group(members: list[str], lengths: dict[str, int], success: dict[str, bool]) -> EpisodeGroup:
    """Counts of the episodes `members`; a mask may name episodes that are gone."""
    members = [name for name in members if name in lengths]
    frames = np.array([lengths[name] for name in members])
    return EpisodeGroup(
        episodes=len(members),
        success_k=sum(success[name] for name in members),
        success_n=len(members),
        frames=int(frames.sum()),
        length_min=int(frames.min()) if len(frames) else None,
        length_median=float(np.median(frames)) if len(frames) else None,
        length_max=int(frames.max()) if len(frames) else None,
    )
