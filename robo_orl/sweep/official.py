"""robomimic's official files as the data of a suite where they are downloaded; elsewhere scripted operators.

The address of such data holds the sha256 of the file, so that records from official and from scripted data never mix.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

from robo_orl.base.errors import UsageError
from robo_orl.base.files import atomic_file, file_sha256
from robo_orl.base.text import notice
from robo_orl.config import OfficialFile, SuiteConfig
from robo_orl.data.download import MANIFEST, SETS, listed_in, path_of
from robo_orl.sweep.cells import Cell
from robo_orl.sweep.jobs import data_file

DOWNLOADS = Path("runs/official")  # where `data download` puts them


def with_downloads(suite: SuiteConfig, folder: Path | None) -> SuiteConfig:
    """The suite with the official files of a folder of downloads; says which its data are.

    folder: None is DOWNLOADS, which may be missing. UsageError for a folder without a manifest, and where the suite
    takes none.
    """
    if not suite.official:
        if folder is not None:
            raise UsageError(f"suite {suite.name} takes no official files: its file does not say official: true.")
        return suite
    if folder is not None and not (folder / MANIFEST).is_file():
        raise UsageError(
            f"{folder} is no folder of downloads: it has no {MANIFEST}; `robo-orl data download` fills one."
        )
    downloads = _downloaded(folder or DOWNLOADS)
    if downloads:
        notice(f"Official files of {', '.join(downloads)} from {folder or DOWNLOADS}; other data are scripted.")
    else:
        notice(
            f"No official file in {folder or DOWNLOADS}: all data are scripted (`robo-orl data download` has others)."
        )
    return suite.model_copy(update={"downloads": downloads})


def _downloaded(folder: Path) -> dict[str, OfficialFile]:
    """TASK/KIND -> file, of those that are whole by their size; `place` looks at the bytes."""
    listed, found = listed_in(folder), {}
    for task, kind in ((task, kind) for task, kinds in SETS.items() for kind in kinds):
        one = listed.get(path_of(task, kind))
        if one is not None and (path := folder / one.path).is_file() and path.stat().st_size == one.size:
            found[f"{task}/{kind}"] = OfficialFile(path=one.path, sha256=one.sha256)
    return found


def place(cells: Iterable[Cell], folder: Path | None, out: Path) -> None:
    """Put the official files of these cells into the results folder `out`.

    Raises UsageError for bytes that are not what the manifest lists.
    """
    for cell in cells:
        official, target = cell.data.official, data_file(cell, out)
        if official is None or target.exists():
            continue
        source = (folder or DOWNLOADS) / official.path
        if file_sha256(source) != official.sha256:
            raise UsageError(f"{source} has other bytes than its manifest lists: delete it, and download it again.")
        target.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(target) as partial:
            shutil.copyfile(source, partial)
