"""The folder of a reference run: its request, its checkpoints, its summary; and whether it may be resumed.

RUN/reference.json           the request and the keys of the data (ReferenceRun)
RUN/versions.json            Python and packages
RUN/metrics.jsonl            one row per ten steps: robomimic's own log, and the time of a step
RUN/checkpoints/epoch_00050/ model.pth (robomimic's own format), learning.pt (optimisers and counters) and run.json (the
                             identity of the run, for those who only act); a run stopped within an epoch has an
                             epoch_00050_step_00000037, with its random numbers besides
RUN/train.json               the summary, written when the run is finished
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError

from robo_orl.base.errors import RunError, UsageError
from robo_orl.base.files import flush, read_json, write_json
from robo_orl.base.machine import versions
from robo_orl.base.os_errors import describe_os_errors
from robo_orl.config import ReferenceConfig, Strict, TaskConfig, sha256_of
from robo_orl.engine.run_folder import SUMMARY, TrainingSummary, first_difference
from robo_orl.robomimic.weights import read_state

RUN, MODEL, LEARNING, OF_RUN = "reference.json", "model.pth", "learning.pt", "run.json"
KEEP = 2


class ReferenceRun(Strict):
    """One training of a reference, fully resolved. obs: the keys that it reads and their sizes."""

    reference: ReferenceConfig
    task: TaskConfig
    data: str
    data_sha256: str
    seed: int
    obs: dict[str, int]
    action_dim: int


class ReferenceSummary(TrainingSummary):
    """The summary of a reference's training: train.json, once it is finished."""

    algorithm: str
    library: str
    epochs: int


def is_reference(path: Path) -> bool:
    """True if `path` is the folder of a reference run or a checkpoint of robomimic."""
    return (path / RUN).exists() or path.suffix == ".pth"


def write_run(out: Path, run: ReferenceRun) -> None:
    """Write reference.json and versions.json."""
    write_json(out / RUN, {"digest": run.digest(), "run": run.model_dump(mode="json")})
    write_json(out / "versions.json", versions())


def read_run(out: Path) -> ReferenceRun:
    """The request of a run's folder; UsageError where there is none, RunError where it is damaged."""
    values = read_json(out / RUN, "remove its folder and train anew")
    try:
        return ReferenceRun.model_validate(values["run"])
    except (KeyError, TypeError, ValidationError):
        raise RunError(f"{out / RUN} was written by another version of robo_orl and cannot be read.") from None


def check_resumable(out: Path, run: ReferenceRun) -> None:
    """UsageError where `out` holds another run; the same data may lie elsewhere."""
    if not (out / RUN).exists():
        if checkpoints(out) or (out / SUMMARY).exists():
            raise UsageError(f"{out} holds results without the {RUN} of their run; choose another --out.")
        return
    stored = read_run(out)
    if run.data_sha256 != stored.data_sha256:
        raise UsageError(
            f"{out} was trained on other data than {run.data}; choose another --out, or give the file that it was "
            "trained on."
        )
    ours, theirs = _identity(run), _identity(stored)
    if changed := first_difference(ours, theirs):
        name = changed.removeprefix("reference.")
        raise UsageError(
            f"{out} holds a run with another {name} ({_at(theirs, changed)} there, {_at(ours, changed)} here); choose "
            "another --out or remove that folder."
        )


def run_identity(run: ReferenceRun) -> str:
    """The identity of a run, which its checkpoints and its summary carry; the place of the data is no part of it."""
    return sha256_of(_identity(run))


def check_belongs(file: Path, named: str | None, run: ReferenceRun) -> None:
    """UsageError where a file names another run than its folder's reference.json; older files name none."""
    if named not in (None, run_identity(run)):
        raise UsageError(f"{file} belongs to another run than its folder's {RUN}; choose another --out.")


def check_checkpoint(checkpoint: Path, run: ReferenceRun) -> None:
    """UsageError where a checkpoint is of another run. What training goes on from, which is large, is not read for it.

    model.pth is what robomimic's own trainer would write, which names no run; checkpoints of earlier versions have
    their identity in learning.pt alone.
    """
    file = checkpoint / OF_RUN
    if file.exists():
        check_belongs(file, read_json(file, "remove its folder to go on from the one before").get("run"), run)
    else:
        check_belongs(checkpoint / LEARNING, read_state(checkpoint / LEARNING).get("run"), run)


def _identity(run: ReferenceRun) -> dict[str, Any]:
    """The values that must be equal, the algorithm first: name and settings follow from it."""
    return {"algorithm": run.reference.algorithm} | run.model_dump(mode="json", exclude={"data", "obs"})


def _at(values: dict[str, Any], path: str) -> Any:
    """The value at a dotted path, None where there is none."""
    for key in path.split("."):
        values = values.get(key) if isinstance(values, dict) else None
    return values


# ---------------------------------------------------------------------------------------------------------- checkpoints


def checkpoints(out: Path) -> list[Path]:
    """The complete checkpoints of a run, oldest first."""
    return sorted(path for path in (out / "checkpoints").glob("epoch_*") if path.is_dir())


def trained(checkpoint: Path) -> tuple[int, int]:
    """(epochs, steps of the next epoch) behind a checkpoint."""
    epoch, _, within = checkpoint.name.removeprefix("epoch_").partition("_step_")
    return int(epoch), int(within or 0)


def save_checkpoint(out: Path, epoch: int, within: int, model: dict, learning: dict) -> None:
    """Write checkpoints/epoch_<epoch>[_step_<within>], complete or absent, then drop all but the last two."""
    name = f"epoch_{epoch:05d}" + (f"_step_{within:08d}" if within else "")
    folder = out / "checkpoints" / name
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    with describe_os_errors(folder):
        try:
            partial.mkdir(parents=True)
            for name, values in ((MODEL, model), (LEARNING, learning)):
                with (partial / name).open("wb") as stream:  # an open file, so that its errors are Python's
                    torch.save(values, stream)
                flush(partial / name)
            write_json(partial / OF_RUN, {"run": learning["run"]})
            flush(partial)
            shutil.rmtree(folder, ignore_errors=True)
            os.rename(partial, folder)
            flush(folder.parent)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    for old in checkpoints(out)[:-KEEP]:
        shutil.rmtree(old)
