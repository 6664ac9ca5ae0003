"""A submission to a public results folder: a container that verifies, with nothing personal in it, and not too large.

It holds records, episodes, costs and the suite, and nothing else: no weights, no data, no logs, and no rerun, which
only somebody else can add.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from robo_orl.base.errors import RunError, UsageError
from robo_orl.results.container import EPISODES, FILES, RECORDS, is_container
from robo_orl.results.pack import pack, pack_again
from robo_orl.results.reruns import RERUNS
from robo_orl.results.store import open_results
from robo_orl.results.verify import verify

LARGEST = 10 << 20  # bytes of a file: half a million episodes


@dataclass(frozen=True, slots=True)
class Submission:
    """A packed submission: its files with their bytes, the rows by ranking, and the fields that its records have."""

    folder: str
    suite: str
    files: dict[str, int]
    cells: int
    episodes: int
    costs: int
    policies: dict[str, int]
    fields: list[str]
    claimed: list[str]
    next_step: str

    def to_json(self) -> dict[str, Any]:
        """For --json."""
        return asdict(self)


def submit(source: Path, out: Path | None = None) -> Submission:
    """Verify the results of a suite, pack them and say what is in the package.

    source: a working folder of `bench` or a container; of a single run sweep/single_run.py makes one. Raises UsageError
    where there is no cell, and RunError where the results contradict themselves, name a machine or are too large.
    """
    source = Path(source)
    results = open_results(source)
    if not results.cells:
        raise UsageError(f"{source} holds no evaluated cell; `robo-orl bench --out {source}` makes some.")
    manifest = results.manifest
    suite = manifest.suite.name if manifest else source.resolve().name
    out = Path("runs") / f"submission-{suite}" if out is None else Path(out)
    (pack_again if is_container(source) else pack)(source, out)
    check_submission(out)
    verification, packed = verify(out), open_results(out)
    records = [cell.record() for cell in packed.cells]
    return Submission(
        folder=str(out),
        suite=suite,
        files={path.name: path.stat().st_size for path in sorted(out.iterdir())},
        cells=verification.cells,
        episodes=verification.episodes,
        costs=verification.costs,
        policies=dict(sorted(Counter(record.policy.name for record in records).items())),
        fields=sorted({name for record in records for name in record.model_dump(exclude_none=True)}),
        claimed=verification.claimed,
        next_step=(
            f"Copy {out} to results/{out.name.removeprefix('submission-')} in a fork of the repository and open a pull "
            "request: its checks verify every number again, and after the merge the leaderboard has your rows."
        ),
    )


def check_submission(folder: Path, merged: Path | None = None) -> None:
    """RunError, one sentence, where a folder cannot be merged as a submission.

    It has the files of a container and no others, none above LARGEST, and it verifies, its reruns included. merged:
    the results folder as it was before, in which the same name may be. Reruns come to results that were merged
    before, from somebody else, and not together with the rows that they confirm.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UsageError(f"There is no folder {folder}.")
    names = {path.name for path in folder.iterdir()}
    if RERUNS in names:
        _check_reruns(folder, None if merged is None else Path(merged) / folder.resolve().name)
        names.remove(RERUNS)
    if strange := sorted(names - set(FILES)):
        raise RunError(f"{folder} holds {strange[0]}, which is no file of packed results: take it out.")
    if not {RECORDS, EPISODES} <= names:
        raise RunError(f"{folder} lacks {RECORDS} or {EPISODES}: pack it with `robo-orl leaderboard submit`.")
    for path in sorted(folder.iterdir()):
        if path.stat().st_size > LARGEST:
            raise RunError(f"{path} has {path.stat().st_size} bytes, the limit is {LARGEST}: submit fewer cells.")
    if faults := verify(folder).faults:
        name, sentences = next(iter(faults.items()))
        raise RunError(f"{folder} contradicts itself: {name}: {sentences[0]}")


def _check_reruns(folder: Path, before: Path | None) -> None:
    """RunError where a folder brings reruns together with other rows than were there before."""
    if before is None or not before.is_dir():
        raise RunError(
            f"{folder} holds {RERUNS}, which only somebody else may add, to results that are merged: take it out of "
            "the submission."
        )
    same = (folder / RERUNS).read_bytes() == _bytes(before / RERUNS)
    if same:
        return  # they were there before; those of cells that changed do not verify
    changed = [name for name in (RECORDS, EPISODES) if _bytes(folder / name) != _bytes(before / name)]
    if changed:
        raise RunError(
            f"{folder} changes {changed[0]} and {RERUNS} at once: reruns are of results that are merged, so send one "
            "after the other."
        )


def _bytes(path: Path) -> bytes | None:
    return path.read_bytes() if path.exists() else None
