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

    source: a working folder of `bench` or a container. Raises UsageError for a folder of one run, which no suite
    compares with anything, and RunError where the results contradict themselves, name a machine or are too large.
    """
    source = Path(source)
    if any((source / name).exists() for name in ("config.json", "reference.json")):
        raise UsageError(
            f"{source} is one run, which a leaderboard cannot rank: data and start states are those of a suite. Name "
            "its policy in a suite file and give the folder of `robo-orl bench --suite FILE`."
        )
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


def check_submission(folder: Path) -> None:
    """RunError, one sentence, where a folder cannot be merged as a submission.

    It has the files of a container and no others, none above LARGEST, no rerun of its own, and it verifies.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UsageError(f"There is no folder {folder}.")
    names = {path.name for path in folder.iterdir()}
    if RERUNS in names:
        raise RunError(f"{folder} holds {RERUNS}, which only somebody else may add: take it out of the submission.")
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
