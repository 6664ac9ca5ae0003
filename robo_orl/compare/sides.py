"""A side of a comparison, read from a run's folder, a record's folder, or a row of results."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from robo_orl.base.errors import UsageError, unknown
from robo_orl.base.files import read_json
from robo_orl.config import PolicyConfig
from robo_orl.engine.run_folder import read_run
from robo_orl.evaluate.result import EvaluationResult
from robo_orl.evaluate.scores import EPISODES, SCORES
from robo_orl.results.record import EpisodeRow, Record
from robo_orl.results.store import CELLS, RECORD, StoredCell, folder_cell, is_results, open_results, parse_rows


@dataclass(frozen=True)
class Trained:
    """One training of a side. settings: nested, as far as they are known; run: its folder, where it is here."""

    settings: dict[str, Any]
    rows: list[EpisodeRow]
    seed: int
    run: Path | None


@dataclass(frozen=True)
class Side:
    """A policy with its trainings, and the task and start states that all of them were judged on."""

    name: str
    task: str
    task_digest: str
    horizon: int
    stages: list[str]
    starts_sha256: str
    loop: str
    trainings: list[Trained]


def read_side(text: str) -> Side:
    """A side by RUN (a trained run that was evaluated), CELL (a folder with a record) or RESULTS:ROW.

    ROW is TASK-REGIME-POLICY-SIZE, all training seeds of it, or with -sSEED one. Raises UsageError where there is no
    such thing, or a run was not evaluated.
    """
    path, row = Path(text), ""
    if not path.exists() and ":" in text:
        place, _, row = text.rpartition(":")
        path = Path(place)
    if row:
        return _of_row(path, row)
    if (path / RECORD).is_file():
        return _of_records(path.name, [(folder_cell(path), path.parents[1])])
    if (path / "config.json").is_file():
        return _of_run(path)
    if is_results(path):
        rows = sorted({_row_name(cell.name) for cell in open_results(path).cells})
        example = f", for example {path}:{rows[0]}" if rows else ""
        raise UsageError(f"{path} holds many rows: name one as RESULTS:TASK-REGIME-POLICY-SIZE{example}.")
    if (path / "reference.json").is_file():
        raise UsageError(f"{path} is a run of robomimic: compare its record, in the cells of a suite.")
    raise UsageError(f"{path} is no trained run, no record and no results folder.")


def _of_run(path: Path) -> Side:
    """A run's folder with the evaluation that `robo-orl eval` wrote into it."""
    run, scores = read_run(path), path / "eval" / SCORES
    if not any(source.task.has_environment for source in run.tasks):
        raise UsageError(
            f"{path} learned {run.task.name}, which has no environment (env: none): there are no episodes to compare; "
            f"`robo-orl eval {path}` says its errors on held-out data."
        )
    if not scores.is_file():
        raise UsageError(f"{path} was not evaluated yet: run `robo-orl eval {path}` first.")
    try:
        result = EvaluationResult.from_json(read_json(scores))
    except (KeyError, TypeError, ValidationError):
        raise UsageError(f"{scores} is damaged or of another version: run `robo-orl eval {path}` again.") from None
    source = next((s for s in run.tasks if s.task.digest() == result.task_digest), None)
    if source is None:
        raise UsageError(f"{scores} is of another task than the run learned: run `robo-orl eval {path}` again.")
    policy = run.policy.model_copy(update={"selection": result.selection})
    files = read_json(path / "data.json").get("files") or [{}]
    settings = {
        "policy": _settings(policy), "seed": run.seed, "data": {"sha256": files[0].get("sha256")},
        "filter": source.filter, "evaluation": {"seed": result.scores.seed}, "versions": result.versions,
    }  # fmt: skip
    rows = parse_rows(path / "eval" / EPISODES)
    trained = Trained(settings, rows, run.seed, path)
    task, scored = source.task, result.scores
    name = path.resolve().name
    return Side(name, task.name, task.digest(), task.horizon, task.stages, scored.starts_sha256, scored.loop, [trained])


def _of_row(folder: Path, row: str) -> Side:
    results = open_results(folder)
    named = [cell for cell in results.cells if row in (_row_name(cell.name), _seed_name(cell.name))]
    if not named:
        rows = {_row_name(cell.name) for cell in results.cells}
        raise unknown(f"row of {folder}", row, rows, listed_by=f"robo-orl report {folder}")
    return _of_records(row, [(cell, folder) for cell in named])


def _seed_name(cell: str) -> str:
    """TASK-REGIME-POLICY-SIZE-sSEED of the name of a cell, which ends in its key."""
    return cell.rsplit("-", 1)[0]


def _row_name(cell: str) -> str:
    return _seed_name(cell).rsplit("-s", 1)[0]


def _of_records(name: str, cells: list[tuple[StoredCell, Path]]) -> Side:
    trainings, records = [], []
    for cell, folder in cells:
        record = cell.record()
        records.append(record)
        trainings.append(Trained(_of_record(record), cell.rows(record), record.seed, _run_of(folder, record)))
    first, scored = records[0].task, records[0].evaluation
    if len({(r.task.digest, r.evaluation.starts_sha256, r.evaluation.loop) for r in records}) > 1:
        raise UsageError(f"{name}: its trainings were not judged on the same task, start states and physics loop.")
    if len({r.seed for r in records}) < len(records):
        raise UsageError(
            f"{name} has two records of one training seed, made by different settings: compare CELL folders."
        )
    return Side(
        name, first.name, first.digest, first.horizon, first.stages, scored.starts_sha256, scored.loop, trainings
    )


def _of_record(record: Record) -> dict[str, Any]:
    config = record.policy.config
    policy = config if record.kind == "reference" else _settings(PolicyConfig.model_validate(config))
    return {
        "policy": policy, "seed": record.seed, "regime": record.regime,
        "data": {"sha256": record.data.sha256, "episodes": record.data.episodes, "seed": record.data.seed},
        "filter": record.data.filter, "evaluation": {"seed": record.evaluation.seed}, "versions": record.versions,
    }  # fmt: skip


def _settings(policy: PolicyConfig) -> dict[str, Any]:
    """All settings of a policy, those that are defaults too; what it is called is none."""
    return policy.model_dump(mode="json", exclude={"name", "description"})


def _run_of(folder: Path, record: Record) -> Path | None:
    """The run of a record in the working folder that holds it, None where it was deleted or packed."""
    found = sorted((folder / "runs").glob(f"*-{record.train.run[:10]}"))
    return found[0] if (folder / CELLS).is_dir() and found else None
