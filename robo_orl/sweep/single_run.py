"""A run of `robo-orl train`, evaluated by `robo-orl eval`, as the one cell of a suite: what a leaderboard can rank.

A board compares policies on the data and the start states of its suite. A run belongs there when its task is one of the
suite's, its data file is the recording that the suite asks for, and its evaluation has the suite's start states, seed
and number of episodes. How it was trained is its own business, and stands on its page.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pydantic import TypeAdapter, ValidationError

from robo_orl.base.errors import UsageError
from robo_orl.base.files import file_sha256, read_json, write_text
from robo_orl.config import (
    DataReading,
    EvaluationRequest,
    GridConfig,
    PolicyChoice,
    PolicyConfig,
    RunConfig,
    SuiteConfig,
    split_regime,
)
from robo_orl.config.presets import load_task
from robo_orl.config.strict import PlainName
from robo_orl.data import hdf5_schema as layout
from robo_orl.engine.checkpoint import AGENT, checkpoints
from robo_orl.engine.run_folder import read_run, read_summary, run_identity
from robo_orl.evaluate.result import EvaluationResult
from robo_orl.evaluate.scores import EPISODES, SCORES
from robo_orl.objectives import normalised
from robo_orl.results.record import EpisodeRow, Manifest, PlannedCell
from robo_orl.results.store import parse_rows, rows_text, write_cell, write_manifest
from robo_orl.results.submission import Submission, submit
from robo_orl.results.summary import summarise
from robo_orl.results.verification.tasks import start_bank
from robo_orl.sweep.cells import Cell, load_suite
from robo_orl.sweep.collect import curves_of, describe_data, record_of, suite_ref


def is_run(folder: Path) -> bool:
    """True for the folder of one training, by `train` or by `reference`."""
    return any((Path(folder) / name).exists() for name in ("config.json", "reference.json"))


def submit_run(run: Path, suite: str | None, name: str = "", out: Path | None = None) -> tuple[Submission, list[str]]:
    """Pack an evaluated run as a submission to the board of a suite; also what its training has of its own.

    name: of its row, default that of its policy. Raises UsageError, one sentence with the remedy, where the run cannot
    stand beside the rows of that suite; RunError as `submit` does.
    """
    run = Path(run)
    with _as_results(run, suite, name) as (cell, results, notes):
        where = f"submission-{results.name}-{cell.policy.name}-s{cell.seed}"
        return submit(results, Path("runs") / where if out is None else out), notes


@contextmanager
def _as_results(run: Path, suite_name: str | None, name: str) -> Iterator[tuple[Cell, Path, list[str]]]:
    """A working folder of the suite with this one cell."""
    config, summary = _finished_run(run)
    if suite_name is None:
        raise UsageError(
            f"{run} is one run: say with --suite whose data and start states it has, e.g. --suite controls "
            "(`robo-orl list suites`)."
        )
    suite = load_suite(suite_name)
    result, rows = _evaluation(run, config)
    cell = _cell(run, config, suite, result, name)
    scores, rows = _as_asked(run, suite.evaluation, cell, result, rows)
    with TemporaryDirectory() as folder:
        results = Path(folder) / suite.name
        parts = {
            "data": {"file": _data_file(run, config)},
            "train": summary | {"curves": curves_of(run)},
            "eval": scores,
        }
        record = record_of(suite, cell, parts).model_copy(update={"versions": result.versions})
        write_cell(results / "cells" / cell.name, record, rows)
        write_manifest(results, _manifest(suite, cell))
        yield cell, results, _own_settings(suite, cell.policy)


# ------------------------------------------------------------------------------------------------------------- the run


def _finished_run(run: Path) -> tuple[RunConfig, dict[str, Any]]:
    """Configuration and summary of a run that a suite could have trained."""
    if (run / "reference.json").exists():
        raise UsageError(
            f"{run} is a reference of another library: name it under `references` of a suite file and submit the "
            "folder of `robo-orl bench --suite FILE`."
        )
    config = read_run(run)
    summary = read_summary(run, run_identity(run, config))
    if summary is None:
        raise UsageError(f"The training of {run} is not finished: the command that began it goes on.")
    first = config.tasks[0]
    others = {
        f"its task {first.task.name} has no environment (env: none), so that no success can be ranked": (
            not first.task.has_environment
        ),
        "it learned several tasks": len(config.tasks) > 1,
        f"it began from the weights of {config.init}": config.init is not None,
        "it was extended after its first end": bool(config.extended_at),
        f"it read the episodes of the mask {first.filter} alone": first.filter is not None,
        "it read its data in another way (reading)": first.reading != DataReading(),
    }
    if reason := next((words for words, true in others.items() if true), ""):
        raise UsageError(
            f"{run} is no cell that a suite can ask for: {reason}. Name its policy in a suite file and submit the "
            "folder of `robo-orl bench --suite FILE`."
        )
    return config, summary.to_json()


def _data_file(run: Path, config: RunConfig) -> dict[str, Any]:
    """The description of the data file; UsageError where it is no more what the run was trained on."""
    path = Path(config.tasks[0].data)
    described = describe_data(path)
    trained_on = read_json(run / "data.json")["files"][0]["sha256"]
    if described["sha256"] != trained_on:
        raise UsageError(f"{path} has changed since {run} was trained on it: give that file back its place.")
    return described


def _evaluation(run: Path, config: RunConfig) -> tuple[EvaluationResult, list[EpisodeRow]]:
    """The evaluation in RUN/eval, of the last checkpoint."""
    folder = run / "eval"
    if not (folder / SCORES).exists() or not (folder / EPISODES).exists():
        raise UsageError(f"{run} was not evaluated: `robo-orl eval {run} --episodes N` writes {folder}.")
    try:
        result = EvaluationResult.from_json(read_json(folder / SCORES))
    except (KeyError, TypeError, ValidationError):
        raise UsageError(f"{folder / SCORES} is of another version; run `robo-orl eval {run}` once more.") from None
    saved = checkpoints(run)
    if not saved or file_sha256(saved[-1] / AGENT) != result.checkpoint_sha256 or not result.training_finished:
        raise UsageError(f"{folder} is not of the last checkpoint of {run}; run `robo-orl eval {run}` once more.")
    return result, parse_rows(folder / EPISODES)


# ----------------------------------------------------------------------------------------------------------- the suite


def _cell(run: Path, config: RunConfig, suite: SuiteConfig, result: EvaluationResult, name: str) -> Cell:
    """The run as a cell of the suite; UsageError where its task or its data are not the suite's."""
    task, path = config.task, Path(config.tasks[0].data)
    with layout.open_hdf5(path) as file:
        made, edited = layout.provenance(file), "edit" in file["data"].attrs
    if made is None or made.source is not None or edited:
        how = "is edited" if edited else "is no recording of `robo-orl data generate`"
        raise UsageError(f"{path} {how}: a board ranks policies that learned from the suite's own data.")
    groups = [group for group in suite.groups if task.digest() in map(_digest, group.tasks)]
    named = [(g, name) for g in groups for name in g.regimes if split_regime(name) == (made.regime, ())]
    if not named:
        boards = sorted({f"{t} {regime}" for g in suite.groups for t in g.tasks for regime in g.regimes})
        raise UsageError(
            f"The suite {suite.name} has no board of {task.name} {made.regime}, which {run} learned from: it has "
            f"{', '.join(boards) or 'none'}."
        )
    asked = [(regime, suite.data_of(group, regime)) for group, regime in named]
    if not (fitting := [(regime, request) for regime, request in asked if _answers(made, request)]):
        _, want = asked[0]
        raise UsageError(
            f"{path} is not the data of suite {suite.name}: it holds {made.episodes} episodes of seed {made.seed}, the "
            f"suite asks for {want.episodes} of seed {want.seed} (physics loop {want.loop}); record them with "
            f"`robo-orl data generate --task {task.name} --regime {made.regime} --episodes {want.episodes} --seed "
            f"{want.seed}` and train on that."
        )
    policy = normalised(config.policy).model_copy(update={"selection": result.selection})
    if name:
        policy = policy.model_copy(update={"name": TypeAdapter(PlainName).validate_python(name)})
    regime, data = fitting[0]
    return Cell(task, regime, policy, config.seed, data, suite.evaluation)


def _digest(task: str) -> str:
    return load_task(task).digest()


def _answers(made: layout.Provenance, request: Any) -> bool:
    """Whether a file is the recording that a suite asks for; where a loop's assumptions do not hold, stock is used."""
    same = (made.episodes, made.seed, made.view) == (request.episodes, request.seed, request.view)
    return same and made.loop in (request.loop, "stock")


def _as_asked(
    run: Path, request: EvaluationRequest, cell: Cell, result: EvaluationResult, rows: list[EpisodeRow]
) -> tuple[dict[str, Any], list[EpisodeRow]]:
    """The first episodes of the evaluation, as many as the suite asks for, and their scores."""
    words = f"`robo-orl eval {run} --episodes {request.episodes} --seed {request.seed} --loop {request.loop}`"
    bank = start_bank(cell.task) if request.starts == "test" else None
    issues = {
        f"has {len(rows)} episodes, too few for a board of {request.episodes}": len(rows) < request.episodes,
        f"has the seed {result.scores.seed}, the suite {request.seed}": result.scores.seed != request.seed,
        f"has the physics loop {result.scores.loop}": result.scores.loop not in (request.loop, "stock"),
        "is not from the suite's start states": bank not in (None, result.scores.starts_sha256),
    }
    if issue := next((text for text, true in issues.items() if true), ""):
        raise UsageError(f"The evaluation of {run} {issue}: {words} makes one that can be ranked.")
    rows = sorted(rows, key=lambda row: row.episode)[: request.episodes]
    with TemporaryDirectory() as folder:
        write_text(Path(folder) / EPISODES, rows_text(rows))
        digest = file_sha256(Path(folder) / EPISODES)
    scores = result.scores.model_dump(mode="json") | summarise(rows, cell.task.stages)
    return scores | {"episodes_sha256": digest, "wall_s": result.scores.wall_s}, rows


def _manifest(suite: SuiteConfig, cell: Cell) -> Manifest:
    """The suite as it asks for this cell alone."""
    group = GridConfig(
        tasks=[cell.task.name], regimes=[cell.regime], policies=[PolicyChoice(use=cell.policy.name)],
        sizes=[cell.size], seeds=[cell.seed], episodes=cell.data.episodes,
    )  # fmt: skip
    own = suite.model_copy(update={"groups": [group], "set": {}, "tuned": None, "cost": None, "launch": None})
    planned = PlannedCell(
        cell=cell.key, task=cell.task.name, regime=cell.regime, policy=cell.policy.name, size=cell.size,
        seed=cell.seed, state="done",
    )  # fmt: skip
    return Manifest(
        suite=suite_ref(suite), description=suite.description, config=own.model_dump(mode="json"), cells=[planned],
        costs=[],
    )  # fmt: skip


def _own_settings(suite: SuiteConfig, policy: PolicyConfig) -> list[str]:
    """What the suite lays on every policy and this one has otherwise, a sentence each."""
    return [f"{path} is {own}, the suite's policies have {value}" for path, value, own in _leaves(suite.set, policy)
            if own != value]  # fmt: skip


def _leaves(values: dict[str, Any], config: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    for key, value in values.items():
        own = config.get(key) if isinstance(config, dict) else getattr(config, key, None)
        name = f"{path}.{key}" if path else key
        if isinstance(value, dict):
            yield from _leaves(value, own, name)
        else:
            yield name, value, own
