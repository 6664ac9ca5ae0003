"""What a bench shows: progress from files, time left, a table on a terminal and lines elsewhere."""

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from robo_orl.sweep.job import COSTS, DATA, EVALUATE, ONLINE, TRAIN, Job
from robo_orl.sweep.live_view import LiveView, TableRow, clock, progress_of, seconds_left, visible
from robo_orl.sweep.schedule import DONE, FAILED, RUNNING, WAITING, JobProgress


def job(kind, output, total=20, work=100.0, key="k"):
    return Job(kind, key, ("x",), (), work, total, Path(output))


def test_a_training_is_as_far_as_the_last_whole_line_of_its_metrics(tmp_path):
    assert progress_of(job(TRAIN, tmp_path)) == (0.0, "")
    (tmp_path / "metrics.jsonl").write_text('{"step": 5}\n{"step": 10}\n{"ste')
    assert progress_of(job(TRAIN, tmp_path)) == (0.5, "step 10 of 20")


def test_an_evaluation_tells_its_successes_so_far(tmp_path):
    rows = [json.dumps({"success_once": i < 3}) for i in range(5)]
    (tmp_path / "finished.jsonl").write_text("\n".join(rows) + "\n")
    assert progress_of(job(EVALUATE, tmp_path)) == (0.25, "3 of 5 so far")


def test_recording_counts_the_finished_episodes(tmp_path):
    shards = tmp_path / ".data.hdf5.shards"
    shards.mkdir()
    for name in ("000000.hdf5", "000001.hdf5", ".000002.hdf5.77.partial", "request"):
        (shards / name).touch()
    assert progress_of(job(DATA, tmp_path / "data.hdf5")) == (0.1, "2 of 20 recorded")


def test_time_left_comes_from_the_speed_of_each_kind():
    done = JobProgress(job(TRAIN, "a", work=100), DONE, seconds=10, fraction=1.0)
    half = JobProgress(job(TRAIN, "b", work=100), RUNNING, seconds=5, fraction=0.5)
    wait = JobProgress(job(TRAIN, "c", work=200), WAITING)
    assert seconds_left([done, half, wait], cores=1) == pytest.approx(25)
    assert seconds_left([done, half, wait], cores=8) == pytest.approx(20)  # the longest job still takes its time
    assert seconds_left([done], cores=2) == 0


def test_no_time_is_told_before_every_kind_has_shown_its_speed():
    done = JobProgress(job(TRAIN, "a"), DONE, seconds=10, fraction=1.0)
    assert seconds_left([done, JobProgress(job(EVALUATE, "b"), WAITING)], cores=2) is None
    recorded = JobProgress(job(DATA, "c", work=100), DONE, seconds=10, fraction=1.0)
    assert seconds_left([recorded, JobProgress(job(EVALUATE, "b", work=200), WAITING)], cores=1) == pytest.approx(20)
    assert (clock(None), clock(65), clock(7265)) == ("--", "1:05", "2:01:05")


def states():
    return {
        "run": JobProgress(job(TRAIN, "a", key="run"), RUNNING, seconds=65),
        "bad": JobProgress(job(TRAIN, "b", key="bad"), FAILED, reason="It broke."),
        "next": JobProgress(job(TRAIN, "c", key="next"), WAITING),
        "fine": JobProgress(
            job(EVALUATE, "d", key="fine"), DONE, seconds=3, fraction=1.0, result={"success_once": {"k": 4, "n": 5}}
        ),
    }


ROWS = [
    TableRow(("chain1", "mg", "bc", "tiny", "0"), ("run",)),
    TableRow(("chain1", "mg", "qc", "tiny", "0"), ("bad",)),
    TableRow(("chain2", "mg", "bc", "tiny", "0"), ("next",)),
    TableRow(("chain2", "mg", "qc", "tiny", "0"), ("fine",)),
    TableRow(("chain4", "mg", "qc", "tiny", "0"), (), stored="9 of 9 episodes"),
]


def test_a_cell_that_learned_online_has_the_score_of_its_end_and_not_of_its_start():
    start = JobProgress(job(EVALUATE, "a", key="start"), DONE, result={"success_once": {"k": 4, "n": 5}})
    points = [{"at": 0, "success": {"k": 4, "n": 5}}, {"at": 1000, "success": {"k": 1, "n": 5}}]
    online = JobProgress(job(ONLINE, "b", key="online"), DONE, result={"points": points})
    row = TableRow(("lift", "mg", "bc_ppo", "tiny", "0"), ("start", "online"))
    assert row.now({"start": start, "online": online})[2] == "1 of 5 episodes"


def test_lines_elsewhere_tell_every_change_once():
    out = io.StringIO()
    with LiveView(ROWS, 2, console=Console(file=out, width=200), every_s=0) as display:
        display.update(states())
        display.update(states())
    text = out.getvalue()
    assert text.count("\n") == 3
    assert "[2/5] chain1 mg bc tiny 0: training" in text
    assert "chain1 mg qc tiny 0: failed, It broke." in text and "chain2 mg qc tiny 0: done, 4 of 5 episodes" in text


def test_the_table_shows_all_cells_and_the_sum():
    out = io.StringIO()
    console = Console(file=out, width=160, height=30, force_terminal=True)
    with LiveView(ROWS, 2, console=console, every_s=0) as display:
        display.update(states())
    scores, counts = ("4 of 5 episodes", "9 of 9 episodes"), ("2 of 5 done", "1 failed")
    for text in ("training", "failed", "waiting", *scores, *counts, "1:05"):
        assert text in out.getvalue()


def test_nothing_is_shown_when_nobody_asked():
    out = io.StringIO()
    with LiveView(ROWS, 2, show=False, console=Console(file=out)) as display:
        display.update(states())
    assert out.getvalue() == ""


def test_a_long_table_keeps_what_is_under_way_and_the_latest_news():
    states = ["done"] * 50 + ["training", "failed"] + ["waiting"] * 40
    rows = list(zip(states, range(92), strict=True))
    assert visible(rows, 5, lambda row: row[0]) == rows[47:52]
    assert visible(rows[:3], 5, lambda row: row[0]) == rows[:3]


def test_a_cost_measurement_has_its_line():
    progress = {"c": JobProgress(job(COSTS, "c", key="c"), RUNNING)}
    assert TableRow(("chain2", "", "cost", "", ""), ("c",)).now(progress)[0] == "measuring"
