"""Reruns: episodes of a cell played again from its checkpoint by somebody else, beside the results that they confirm.

`robo-orl results verify FOLDER --rerun K` writes FOLDER/reruns.jsonl, one line a cell. Who maintains a results folder
adds it; a submission holds none. A rerun says what was played, not who did: that is claimed, as hardware and dates are.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError, model_validator

from robo_orl.base.errors import UsageError
from robo_orl.base.files import write_text
from robo_orl.base.machine import Code, Hardware
from robo_orl.results.container import split_lines
from robo_orl.results.reading import read_text
from robo_orl.results.record import EpisodeRow, Record, Stored

RERUNS = "reruns.jsonl"
ENOUGH = 10  # episodes that a cell needs for the tier `rerun`


class Rerun(Stored):
    """Episodes of one cell, played again; episodes, success and length are parallel."""

    schema_version: Literal[1] = 1
    cell: str
    checkpoint_sha256: str = Field(description="the weights that played")
    episodes_sha256: str = Field(description="of the rows that were compared")
    episodes: list[int] = Field(min_length=1)
    success: list[bool]
    length: list[int]
    versions: dict[str, str]
    hardware: Hardware
    code: Code
    created: str = Field(description="UTC, ISO 8601")

    @model_validator(mode="after")
    def _is_parallel(self) -> Rerun:
        if not len(self.episodes) == len(self.success) == len(self.length) == len(set(self.episodes)):
            raise ValueError("episodes, success and length need one entry for each episode, and each episode once")
        return self

    def differing(self, rows: Sequence[EpisodeRow]) -> list[int]:
        """The episodes whose outcome or length is not that of the stored rows, or that have no row."""
        stored = {row.episode: (row.success_once, row.length) for row in rows}
        played = zip(self.episodes, self.success, self.length, strict=True)
        return [episode for episode, *outcome in played if stored.get(episode) != tuple(outcome)]


def read_reruns(folder: Path) -> list[Rerun]:
    """The reruns of a results folder; UsageError, one sentence, where a line is none."""
    path = Path(folder) / RERUNS
    if not path.exists():
        return []
    result = []
    for number, line in enumerate(split_lines(read_text(path)), 1):
        try:
            result.append(Rerun.model_validate_json(line))
        except ValidationError as error:
            fault = error.errors()[0]
            place = ".".join(map(str, fault["loc"])) or "value"
            raise UsageError(f"{path} line {number} is no rerun: {place}: {fault['msg']}.") from None
    return result


def add_reruns(folder: Path, new: Iterable[Rerun]) -> Path:
    """Write reruns into a results folder, each in the place of an older one of its cell; returns the file."""
    kept = {rerun.cell: rerun for rerun in (*read_reruns(folder), *new)}
    path = Path(folder) / RERUNS
    write_text(path, "".join(kept[cell].model_dump_json() + "\n" for cell in sorted(kept)))
    return path


def rerun_faults(rerun: Rerun, record: Record | None, rows: Sequence[EpisodeRow]) -> list[str]:
    """Every way in which a rerun contradicts the cell that it is of."""
    if record is None:
        return [f"the rerun of cell {rerun.cell[:10]} has no record beside it."]
    found = []
    if record.evaluation.checkpoint_sha256 not in (None, rerun.checkpoint_sha256):
        found.append(f"the rerun of cell {rerun.cell[:10]} played another checkpoint than the record names.")
    if record.evaluation.episodes_sha256 != rerun.episodes_sha256:
        found.append(f"the rerun of cell {rerun.cell[:10]} was compared with other rows than those here.")
    if differing := rerun.differing(rows):
        found.append(
            f"the rerun of cell {rerun.cell[:10]} has another outcome or length in {len(differing)} of "
            f"{len(rerun.episodes)} episodes, the first of them episode {differing[0]}."
        )
    return found


def confirmed(folder: Path, cells: Sequence[tuple[Record, Sequence[EpisodeRow]]]) -> frozenset[str]:
    """The keys of the cells of which ENOUGH episodes were played again with the same outcomes and lengths."""
    known = {record.cell: (record, rows) for record, rows in cells}
    return frozenset(
        rerun.cell
        for rerun in read_reruns(folder)
        if rerun.cell in known and len(rerun.episodes) >= ENOUGH and not rerun_faults(rerun, *known[rerun.cell])
    )
