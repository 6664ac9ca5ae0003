"""Episodes of stored results are played again from their checkpoint, and compared with the rows."""

import json
import random
import shutil

import pytest
from cell_examples import example_record, example_rows
from scripted_scene import TASK, LineScene

from robo_orl.base.errors import UsageError
from robo_orl.base.files import file_sha256
from robo_orl.cli.app import main
from robo_orl.config.presets import load_task
from robo_orl.engine.checkpoint import AGENT, checkpoints, load_agent
from robo_orl.evaluate import success as module
from robo_orl.evaluate.rerun import checkpoints_below, drawn_episodes, replay
from robo_orl.evaluate.success import evaluate
from robo_orl.results.record import Evaluation, PolicyRef, TaskRef
from robo_orl.results.store import parse_rows, write_cell


@pytest.fixture
def results(trained_run, tmp_path, monkeypatch):
    """A results folder of one cell: twelve episodes of the trained run, as its evaluation wrote them."""
    monkeypatch.setattr(module, "TaskEnvSpec", lambda task, loop, *seen: LineScene(tmp_path))
    run = shutil.copytree(trained_run, tmp_path / "results" / "runs" / "toy")
    evaluate(run, 12, workers=1, progress=False)
    rows = parse_rows(run / "eval" / "episodes.jsonl")
    stored = json.loads((run / "eval" / "eval.json").read_text())
    policy = load_agent(run)[1].policy
    record = example_record(
        example_rows(12),
        evaluation=Evaluation.model_validate({key: stored[key] for key in Evaluation.model_fields if key in stored}),
        policy=PolicyRef(name=policy.name, digest=policy.digest(), config=policy.model_dump(mode="json")),
        task=TaskRef(name=TASK.name, digest=TASK.digest(), version=1, horizon=TASK.horizon, control_hz=TASK.control_hz,
                     padding=0, stages=TASK.stages),
    )  # fmt: skip
    assert record.evaluation.checkpoint_sha256 == file_sha256(checkpoints(run)[-1] / AGENT)
    write_cell(tmp_path / "results" / "cells" / "toy", record, rows)
    return tmp_path / "results"


def test_a_checkpoint_is_found_by_its_content_and_plays_the_same_episodes(results):
    assert list(checkpoints_below(results).values()) == [results / "runs" / "toy"]
    (cell,) = replay(results, 5, workers=1)
    assert len(cell.rerun.episodes) == 5 and cell.differing == [] and cell.rerun.code.version


def test_rows_that_were_changed_are_found(results):
    path = results / "cells" / "toy" / "episodes.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps(row | {"length": row["length"] + 1}) + "\n" for row in rows))
    (cell,) = replay(results, 12, workers=1)
    assert cell.differing == list(range(12))


def test_every_call_draws_other_episodes_and_half_of_them_successes():
    rows = example_rows(30)  # one in three succeeds
    drawn = [tuple(drawn_episodes(rows, 10, random.Random(seed))) for seed in range(20)]
    assert len(set(drawn)) > 15 and all(len(set(one)) == 10 for one in drawn)
    assert all(sum(rows[i].success_once for i in one) == 5 for one in drawn)
    assert drawn_episodes(rows, 99, random.Random(0)) == list(range(30))


def test_other_weights_and_another_task_are_not_played(results, tmp_path, monkeypatch):
    with pytest.raises(UsageError, match="give the folder of the trained runs with --runs"):
        list(replay(results, 3, runs=tmp_path / "cells"))
    record = results / "cells" / "toy" / "record.json"
    value = json.loads(record.read_text())
    value["task"]["digest"] = load_task("lift").digest()
    record.write_text(json.dumps(value))
    with pytest.raises(UsageError, match="their digests differ"):
        list(replay(results, 3, workers=1))


def test_the_command_needs_results_that_verify_first(results, monkeypatch, capsys):
    """The toy task is in no catalogue and its cell has a made-up address: verification refuses it before it plays."""
    monkeypatch.setattr("sys.argv", ["robo-orl", "results", "verify", str(results), "--rerun", "3"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1 and not (results / "reruns.jsonl").exists()
    assert "episodes have the same" not in capsys.readouterr().err
