"""A submission holds records, episodes, costs and suite, verifies, and says what it holds and what comes next."""

import json
import re
import shlex
import shutil
from pathlib import Path

import pytest
import yaml
from cell_examples import example_record, example_rows
from typer.testing import CliRunner

from robo_orl.base.errors import RunError, UsageError
from robo_orl.base.machine import Code, Hardware
from robo_orl.cli.app import app
from robo_orl.report.leaderboard.site import gather
from robo_orl.results import submission
from robo_orl.results.container import FILES
from robo_orl.results.pack import pack, unpack
from robo_orl.results.reruns import ENOUGH, Rerun, add_reruns, confirmed, read_reruns, rerun_faults
from robo_orl.results.store import read_cells
from robo_orl.results.submission import check_submission, submit
from robo_orl.results.verify import verify

ROOT = Path(__file__).resolve().parents[2]
QUICK = ROOT / "results" / "quick"


@pytest.fixture
def container(tmp_path):
    return shutil.copytree(QUICK, tmp_path / "quick")


def rerun_of(record, rows, count=ENOUGH, **changes) -> Rerun:
    values = {
        "cell": record.cell, "checkpoint_sha256": record.evaluation.checkpoint_sha256 or "0" * 64,
        "episodes_sha256": record.evaluation.episodes_sha256, "episodes": [row.episode for row in rows[:count]],
        "success": [row.success_once for row in rows[:count]], "length": [row.length for row in rows[:count]],
        "versions": {"python": "3"}, "hardware": Hardware(cpu="another", cores=1, memory_bytes=None),
        "code": Code(version="0", commit=None, dirty=None), "created": "2026-01-01T00:00:00Z",
    }  # fmt: skip
    return Rerun(**(values | changes))


def test_a_container_and_its_working_folder_give_the_same_submission(tmp_path):
    working = tmp_path / "working"
    unpack(QUICK, working)
    (working / "logs").mkdir()
    (working / "logs" / "secret.txt").write_text("/home/somebody")
    made = submit(working, tmp_path / "a")
    again = submit(QUICK, tmp_path / "b")
    assert set(made.files) == set(again.files) <= set(FILES)
    assert all((tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes() for name in made.files)
    assert (made.cells, made.suite) == (11, "quick") and made.policies["qc"] == 2
    assert "pull request" in made.next_step and "hardware" in made.fields


def test_the_command_shows_what_it_packs(tmp_path):
    done = CliRunner().invoke(app, ["leaderboard", "submit", str(QUICK), "--out", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    for words in ("records.jsonl", "episodes.jsonl.gz", "Fields of a record", "Not packed: weights", "Next: Copy"):
        assert words in done.stdout
    checked = CliRunner().invoke(app, ["leaderboard", "check", str(tmp_path / "out")])
    assert checked.exit_code == 0 and "1 submission(s) verify" in checked.stdout


def test_traces_of_a_machine_and_contradictions_are_not_submitted(container, tmp_path):
    path = container / "records.jsonl"
    before = path.read_text()
    path.write_text(before.replace('"cpu":"AMD EPYC"', '"cpu":"/home/somebody/cpu"'))
    with pytest.raises(RunError, match="belongs to one machine"):
        submit(container, tmp_path / "out")
    path.write_text(re.sub(r'"batch_size":128', '"batch_size":64', before, count=1))
    with pytest.raises(RunError, match="is not packed"):
        submit(container, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_without_cells_and_its_own_folder_are_usage_errors(container, tmp_path):
    with pytest.raises(UsageError, match="holds no evaluated cell"):
        submit(ROOT / "results" / "cost_cpu", tmp_path / "out")
    with pytest.raises(UsageError, match="choose another --out"):
        submit(container, container)


def test_what_is_no_packed_result_what_is_large_and_a_rerun_of_ones_own_are_refused(container, tmp_path, monkeypatch):
    check_submission(container)
    (container / "weights.bin").write_text("")
    with pytest.raises(RunError, match="holds weights.bin"):
        check_submission(container)
    (container / "weights.bin").unlink()
    record, rows = read_cells(container)[0]
    add_reruns(container, [rerun_of(record, rows)])
    with pytest.raises(RunError, match="only somebody else may add"):
        check_submission(container)
    (container / "reruns.jsonl").unlink()
    monkeypatch.setattr(submission, "LARGEST", 1000)
    with pytest.raises(RunError, match="the limit is 1000"):
        check_submission(container)
    with pytest.raises(RunError, match="lacks records.jsonl"):
        (container / "records.jsonl").unlink()
        check_submission(container)


def test_a_rerun_comes_to_results_that_are_merged_and_from_somebody_else(container, tmp_path):
    """A pull request that adds reruns to a merged folder passes; one that brings its own confirmation does not."""
    merged = tmp_path / "before"
    shutil.copytree(container, merged / "quick")
    record, rows = read_cells(container)[0]
    add_reruns(container, [rerun_of(record, rows)])
    check_submission(container, merged)
    with pytest.raises(RunError, match="only somebody else may add, to results that are merged"):
        check_submission(container, tmp_path / "nowhere")
    done = CliRunner().invoke(app, ["leaderboard", "check", str(container), "--merged", str(merged)])
    assert done.exit_code == 0, done.output
    tiers = [s.tier for ranking in gather([container]).divisions[0].rankings for s in ranking.standings]
    assert tiers.count("rerun") == 1
    lie = rerun_of(record, rows, length=[row.length + 1 for row in rows[:ENOUGH]])
    (container / "reruns.jsonl").write_text(lie.model_dump_json() + "\n")
    with pytest.raises(RunError, match="another outcome or length in 10 of 10 episodes"):
        check_submission(container, merged)
    add_reruns(container, [rerun_of(record, rows)])
    (merged / "quick" / "records.jsonl").write_text("")  # rows of today and their confirmation in one request
    with pytest.raises(RunError, match="changes records.jsonl and reruns.jsonl at once"):
        check_submission(container, merged)
    shutil.copy(container / "reruns.jsonl", merged / "quick" / "reruns.jsonl")
    check_submission(container, merged)  # the reruns were there; what they do not fit would be a fault


def test_a_rerun_that_agrees_gives_the_tier_and_one_that_does_not_is_a_fault(container):
    cells = read_cells(container)
    record, rows = cells[0]
    add_reruns(container, [rerun_of(record, rows)])
    assert confirmed(container, cells) == {record.cell} and verify(container).faults == {}
    made = gather([container])
    tiers = [s.tier for ranking in made.divisions[0].rankings for s in ranking.standings]
    assert tiers.count("rerun") == 1 and tiers.count("self") == len(cells) - 1
    few = rerun_of(record, rows, count=ENOUGH - 1)
    add_reruns(container, [few])
    assert confirmed(container, cells) == frozenset() and len(read_reruns(container)) == 1
    lies = {
        "another outcome or length in 10 of 10": {"length": [row.length + 1 for row in rows[:ENOUGH]]},
        "no record beside it": {"cell": "f" * 64},
        "other rows than those here": {"episodes_sha256": "0" * 64},
        "names a path": None,
    }
    for words, change in lies.items():
        if change is None:
            words, change = "belongs to one machine", {"versions": {"python": "/home/somebody/python"}}
        (container / "reruns.jsonl").write_text(rerun_of(record, rows, **change).model_dump_json() + "\n")
        assert any(words in sentence for sentences in verify(container).faults.values() for sentence in sentences), (
            words
        )
        assert change.get("versions") or confirmed(container, cells) == frozenset()


def test_a_rerun_of_another_checkpoint_is_a_fault():
    rows = example_rows(12)
    record = example_record(rows)
    assert rerun_faults(rerun_of(record, rows), record, rows) == []
    other = rerun_of(record, rows, checkpoint_sha256="1" * 64)
    assert "another checkpoint" in rerun_faults(other, record, rows)[0]


def test_a_damaged_rerun_is_one_sentence(container):
    (container / "reruns.jsonl").write_text('{"cell": 1}\n')
    assert any("is no rerun" in s for sentences in verify(container).faults.values() for s in sentences)
    with pytest.raises(ValueError, match="each episode once"):
        rerun_of(*read_cells(container)[0], episodes=[1] * ENOUGH)


def test_packing_again_keeps_the_reruns_of_cells_that_are_the_same(container, tmp_path):
    record, rows = read_cells(container)[0]
    add_reruns(container, [rerun_of(record, rows), rerun_of(record, rows, cell="e" * 64)])
    unpack(container, tmp_path / "working")
    pack(tmp_path / "working", container)
    assert [rerun.cell for rerun in read_reruns(container)] == [record.cell]


def test_the_workflow_of_submissions_calls_commands_that_exist_and_reads_only():
    workflow = yaml.safe_load((ROOT / ".github/workflows/submissions.yml").read_text())
    assert workflow["permissions"] == {"contents": "read"} and workflow[True]["pull_request"]["paths"] == ["results/**"]
    steps = [step.get("run", "") for step in workflow["jobs"]["verify"]["steps"]]
    commands = [line for run in steps for line in run.splitlines() if "robo-orl" in line]
    assert len(commands) == 2
    for line in commands:
        words = shlex.split(line[line.index("robo-orl") :])[1:3]
        assert CliRunner().invoke(app, [*words, "--help"]).exit_code == 0, line


def test_json_of_a_submission_is_one_object(tmp_path):
    done = CliRunner().invoke(app, ["leaderboard", "submit", str(QUICK), "--out", str(tmp_path / "o"), "--json"])
    assert json.loads(done.stdout)["cells"] == 11
