"""The results of finished jobs: kept in steps/ so that no call repeats one, and collected into the records of cells."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from robo_orl.base.errors import RunError, UsageError
from robo_orl.base.files import file_sha256, read_json, write_text
from robo_orl.base.machine import code, hardware, versions
from robo_orl.config import SuiteConfig
from robo_orl.data.info import describe
from robo_orl.results.cost_record import CalibrationRecord, CostRecord, CostRow, LargestModelRow
from robo_orl.results.curves import curve_of, read_points
from robo_orl.results.record import (
    Annotation,
    Count,
    CriticRanking,
    DataRef,
    Evaluation,
    OwnPolicyValues,
    PolicyRef,
    Record,
    RewardQuality,
    SuiteRef,
    TaskRef,
    TaskShare,
    TrainingCost,
    ValueErrors,
)
from robo_orl.results.store import CELLS, parse_rows, write_cell, write_cost, write_record
from robo_orl.sweep.cells import Cell
from robo_orl.sweep.cost_cells import CostCell
from robo_orl.sweep.job import EVALUATE, MAKES_DATA, ONLINE, RANK, TRAIN, VALUE, Job
from robo_orl.sweep.online_cells import online_record


def rows_of(job: Job) -> Path | None:
    """The episode rows of a job that plays episodes of a record."""
    folder = {EVALUATE: job.output, ONLINE: job.output / "eval"}.get(job.kind)
    return None if folder is None else folder / "episodes.jsonl"


class Ledger:
    """The results of the jobs of a results folder, by job key."""

    def __init__(self, out: Path, jobs: Iterable[Job]):
        self.folder = out / "steps"
        self.results: dict[str, dict[str, Any]] = {}
        for job in jobs:
            # The rows of an evaluation are part of the record; every other result speaks for itself.
            if rows_of(job) is None or rows_of(job).exists():
                with suppress(UsageError, RunError):  # a missing or damaged file: its job runs once more
                    self.results[job.key] = read_json(self._file(job))

    def add(self, job: Job, result: dict[str, Any]) -> None:
        """Store a result, on disk first."""
        write_text(self._file(job), json.dumps(result) + "\n")
        self.results[job.key] = result

    def forget(self, job: Job) -> None:
        """Take no result of this job from here on: the caller has moved its file away."""
        self.results.pop(job.key, None)

    def complete(self, jobs: Sequence[Job]) -> bool:
        """True if all of these jobs have results."""
        return all(job.key in self.results for job in jobs)

    def needed(self, jobs: Sequence[Job]) -> list[Job]:
        """Of these jobs, those that have to run so that all have results, in their order.

        A job that has its result runs once more only where another needs its output and the output is gone. The
        returned jobs need only one another.
        """
        by_key = {job.key: job for job in jobs}
        selected: set[str] = set()

        def select(job: Job) -> None:
            selected.add(job.key)
            for key in job.needs:
                if key not in self.results or not by_key[key].output.exists():
                    select(by_key[key])

        for job in jobs:
            if job.key not in self.results:
                select(job)
        return [
            replace(job, needs=tuple(key for key in job.needs if key in selected))
            for key, job in by_key.items()
            if key in selected
        ]

    def _file(self, job: Job) -> Path:
        return self.folder / f"{job.key}.json"


# -------------------------------------------------------------------------------------------------------------- records


def describe_data(file: Path) -> dict[str, Any]:
    """The part of a record that describes a data file, as JSON."""
    episodes = describe(file).all
    return {
        "sha256": file_sha256(file),
        "episodes": episodes.episodes,
        "frames": episodes.frames,
        "success": {"k": episodes.success_k, "n": episodes.success_n},
    }


def curves_of(run: Path) -> dict[str, dict[str, Any]]:
    """The learning curves of a run, task -> LearningCurve as JSON; empty where it has none."""
    tasks = sorted({point.task for point in read_points(run)})
    curves = {task: curve_of(run, task) for task in tasks}
    return {task: curve.model_dump(mode="json") for task, curve in curves.items() if curve is not None}


def store_cell(
    suite: SuiteConfig, cell: Cell, jobs: list[Job], results: dict[str, dict[str, Any]], out: Path
) -> Record:
    """Write and return the record of a cell whose jobs are all done. results: by kind of job."""
    judged = next(job for job in jobs if job.kind == (EVALUATE if cell.online is None else ONLINE))
    rows = parse_rows(rows_of(judged))
    if cell.online is not None:
        results = results | {EVALUATE: read_json(judged.output / "eval" / "eval.json")}
    record = record_of(suite, cell, results)
    write_cell(out / CELLS / cell.name, record, rows)
    return record


def record_of(suite: SuiteConfig, cell: Cell, results: dict[str, dict[str, Any]]) -> Record:
    """The record of a cell from what its jobs answered, by kind; versions and hardware are those of here and now."""
    return Record(
        cell=cell.key,
        kind="reference" if cell.is_reference else "policy",
        suite=suite_ref(suite),
        task=task_ref(cell.task),
        regime=cell.regime,
        policy=PolicyRef(
            name=cell.policy.name, digest=cell.policy.digest(), config=cell.policy.model_dump(mode="json")
        ),
        size=cell.size,
        seed=cell.seed,
        data=_data(cell, next(results[kind] for kind in reversed(MAKES_DATA) if kind in results)),
        train=_training(cell, results[TRAIN]),
        evaluation=_only(Evaluation, results[EVALUATE]),
        value_errors=_value_errors(results.get(VALUE)),
        own_policy=_own_policy(results.get(VALUE)),
        curve=results[TRAIN].get("curves", {}).get(cell.task.name) if cell.online is None else None,
        ranking=_only(CriticRanking, results[RANK]) if RANK in results else None,
        online=None if cell.online is None else online_record(cell, results[ONLINE]),
        tuning=cell.tuning,
        together=[TaskShare(task=task_ref(s.task), weight=s.weight) for s in cell.together] or None,
        **_origin(),
    )


def update_provenance(suite: SuiteConfig, cell: Cell, record: Record, out: Path) -> Record:
    """Store the suite and the tuning of today in a record, neither of which changes a result; returns the record."""
    updated = record.model_copy(update={"suite": suite_ref(suite), "tuning": cell.tuning})
    if updated != record:
        write_record(out / CELLS / cell.name, updated)
    return updated


def store_cost(suite: SuiteConfig, cell: CostCell, result: dict[str, Any], out: Path) -> None:
    """Write the record of a cost cell. result: the JSON of `robo-orl profile`."""
    rows = [_only(CostRow, row) for row in result.get("rows", ())]
    optim = cell.policies[-1].optim
    origin = _origin() | ({} if rows else {"hardware": None})
    calibration = result.get("calibration") if len(rows) != 2 else None  # that of a pair is in the base's own record
    record = CostRecord(
        key=cell.key,
        suite=suite_ref(suite),
        task=task_ref(cell.task),
        base=cell.base.name,
        batch_size=optim.batch_size,
        precision=optim.precision,
        launched=cell.launched,
        world=result.get("world", 1),
        zero=cell.zero,
        rows=rows,
        largest=[_largest(found) for found in result.get("largest", ())],
        calibration=_only(CalibrationRecord, calibration) if calibration else None,
        threads=result["rows"][0]["threads"] if rows else None,
        load_before=result.get("load_before"),
        **origin,
    )
    write_cost(out, cell.key, record)


def _largest(found: dict[str, Any]) -> LargestModelRow:
    model = found["largest"] or {}
    return LargestModelRow(policy=found["policy"], card=found["card"], usable_bytes=found["usable_bytes"], **model)


def suite_ref(suite: SuiteConfig) -> SuiteRef:
    """The reference of a record to its suite."""
    return SuiteRef(name=suite.name, version=suite.version)


def task_ref(task: Any) -> TaskRef:
    """The reference of a record to its task."""
    return TaskRef(
        name=task.name,
        digest=task.digest(),
        version=task.version,
        horizon=task.horizon,
        control_hz=task.control_hz,
        padding=task.padding,
        stages=task.stages,
    )


def _data(cell: Cell, result: dict[str, Any]) -> DataRef:
    file, rewards = result["file"], result.get("reward") or {}
    return DataRef(
        sha256=file["sha256"],
        seed=cell.data.seed,
        episodes=file["episodes"],
        frames=file["frames"],
        success=Count(**file["success"]),
        requested=None if cell.data.reward is None and cell.data.official is None else cell.data.episodes,
        reward=cell.data.reward,
        annotation=_only(Annotation, rewards["annotation"]) if rewards else None,
        quality=_only(RewardQuality, rewards["quality"]) if rewards.get("quality") else None,
        official=cell.data.official,
    )


def _training(cell: Cell, result: dict[str, Any]) -> TrainingCost:
    parameters = {name: count for name, count in result["parameters"].items() if name != "total"}
    return TrainingCost(
        run=cell.run_key,
        steps=result["steps"],
        batch_size=cell.trained.policy.batch_size,
        wall_s=result["wall_s"],
        steps_per_s=1 / result["step_s"],
        samples_per_s=result["samples_per_s"],
        step_s_median=result["step_s"],
        peak_memory_bytes=result["peak_memory_bytes"],
        peak_memory_kind=result["peak_memory_of"],
        parameters=parameters | {"total": result["parameters"].get("total", sum(parameters.values()))},
    )


def _value_errors(result: dict[str, Any] | None) -> ValueErrors | None:
    """None without a critic, and where no frame of the data has a return that a time-out did not cut."""
    return _only(ValueErrors, result) if result and result["n"] else None


def _own_policy(result: dict[str, Any] | None) -> OwnPolicyValues | None:
    """None without a critic, and where the suite asks for no rollouts from stored states."""
    return _only(OwnPolicyValues, result["own_policy"]) if result and "own_policy" in result else None


def _only(schema: type, values: dict[str, Any]) -> Any:
    """The schema filled from a result that holds more keys than it has fields."""
    return schema.model_validate({name: values[name] for name in schema.model_fields if name in values})


def _origin() -> dict[str, Any]:
    created = datetime.now(UTC).isoformat(timespec="seconds")
    return {"versions": versions(), "hardware": hardware(), "code": code(), "created": created}
