"""A bench computes what is missing, once, and nothing else; fake commands stand in for data, training, evaluation."""

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
from interruptible import start_interruptible

from robo_orl.base.errors import RunError, UsageError
from robo_orl.base.locks import BENCH_LOCK, folder_lock
from robo_orl.results.store import read_cells, read_costs, read_manifest
from robo_orl.results.verify import verify
from robo_orl.sweep.bench import bench
from robo_orl.sweep.forecast import forecast_of
from robo_orl.sweep.runners.choice import Machines

GROUP = {"tasks": ["toy"], "regimes": ["mg"], "policies": ["flow", "control", "critic"]}


@pytest.mark.slow
def test_a_suite_with_points_on_the_way_has_the_cells_of_one_without(presets, fakes, tmp_path):
    bench(presets(groups=[GROUP]), tmp_path / "without", progress=False)
    points = {"every": 4, "episodes": 10, "held_out": 3}
    assert bench(presets(groups=[GROUP], curve=points), tmp_path / "with", progress=False).done == 3
    with_points, without = (dict(_by_policy(tmp_path / name)) for name in ("with", "without"))
    assert {name: record.cell for name, record in with_points.items()} == {n: r.cell for n, r in without.items()}
    curve = with_points["critic"].curve
    assert [point.step for point in curve.points] == [4, 8] and curve.episodes == 10 and without["critic"].curve is None
    assert with_points["flow"].data.episodes == 5 and verify(tmp_path / "with").faults == {}
    recorded = [call["command"] for call in fakes.calls() if call["kind"] == "data"]
    assert [(c[c.index("--episodes") + 1], c[c.index("--seed") + 1]) for c in recorded[1:]] == [
        ("3", "1000000"),
        ("5", "0"),
    ]


def _by_policy(folder):
    return ((record.policy.name, record) for record, _ in read_cells(folder))


def test_a_suite_becomes_verified_records(presets, fakes, tmp_path):
    cost = {"task": "toy", "policies": ["flow", "critic"], "steps": 5}
    summary = bench(presets(groups=[GROUP], cost=cost), tmp_path / "out", workers=2, progress=False)
    assert (summary.cells, summary.done, summary.computed, summary.failed) == (3, 3, 3, [])
    # One data set for all, one training for two policies that only select differently.
    assert fakes.kinds() == ["data", "eval", "eval", "eval", "profile", "train", "train", "value-error"]
    found = verify(tmp_path / "out")
    assert (found.cells, found.faults, found.missing) == (3, {}, [])
    records = {record.policy.name: record for record, _ in read_cells(tmp_path / "out")}
    assert records["critic"].value_errors.mean_absolute == 0.1 and records["control"].value_errors is None
    assert records["flow"].train.run == records["control"].train.run
    assert records["flow"].data.success.k == 2 and records["flow"].train.parameters["total"] == 12
    (measured,) = read_costs(tmp_path / "out")
    assert read_manifest(tmp_path / "out").costs == [measured.key]
    assert [row.policy for row in measured.rows] == ["flow", "critic"] and measured.batch_size == 128
    assert all(cell.state == "done" for cell in read_manifest(tmp_path / "out").cells)


def test_the_order_of_a_critic_is_measured_where_a_suite_asks_and_a_critic_chooses(presets, fakes, tmp_path):
    searching = {"use": "flow", "name": "searching", "set": {"selection": {"num_samples": 4, "look_ahead": 9}}}
    group = GROUP | {"policies": ["flow", "control", "critic", searching]}
    summary = bench(presets(groups=[group], ranking=3), tmp_path / "out", workers=2, progress=False)
    assert summary.failed == [] and fakes.kinds().count("ranking") == 1
    records = {record.policy.name: record for record, _ in read_cells(tmp_path / "out")}
    assert {name for name, record in records.items() if record.ranking} == {"critic"}
    assert (records["critic"].ranking.episodes, records["critic"].ranking.samples) == (3, 4)
    assert records["searching"].train.run == records["flow"].train.run


def test_every_job_has_one_thread_and_the_selection_of_its_cell(presets, fakes, tmp_path):
    bench(presets(groups=[GROUP]), tmp_path / "out", workers=2, progress=False)
    assert {call["threads"] for call in fakes.calls()} == {"1"}
    evaluations = [" ".join(call["command"]) for call in fakes.calls() if call["kind"] == "eval"]
    assert sum("selection.untrained_critic=true" in command for command in evaluations) == 1


def test_a_second_call_runs_nothing(presets, fakes, tmp_path):
    suite = presets(groups=[GROUP], cost={"task": "toy", "policies": ["flow", "critic"], "steps": 5})
    bench(suite, tmp_path / "out", workers=2, progress=False)
    before = fakes.calls()
    summary = bench(suite, tmp_path / "out", workers=2, progress=False)
    assert fakes.calls() == before and summary.computed == 0 and summary.done == 3


def test_records_alone_are_enough(presets, fakes, tmp_path):
    import shutil

    suite = presets(groups=[GROUP])
    bench(suite, tmp_path / "out", workers=2, progress=False)
    for folder in ("data", "runs", "evaluations", "steps", "logs", "requests"):
        shutil.rmtree(tmp_path / "out" / folder)
    before = fakes.calls()
    assert bench(suite, tmp_path / "out", workers=2, progress=False).done == 3
    assert fakes.calls() == before


def test_what_a_larger_suite_shares_with_a_smaller_one_is_not_computed_again(presets, fakes, tmp_path):
    bench(presets(groups=[GROUP | {"policies": ["flow"]}]), tmp_path / "out", workers=1, progress=False)
    assert fakes.kinds() == ["data", "eval", "train"]
    bench(presets(groups=[GROUP | {"policies": ["flow", "control"]}]), tmp_path / "out", workers=1, progress=False)
    assert fakes.kinds() == ["data", "eval", "eval", "train"]


def test_a_file_that_tuning_left_as_it_was_keeps_its_result_and_tells_the_trials(presets, fakes, tmp_path):
    suite = presets(groups=[GROUP])
    bench(suite, tmp_path / "out", workers=2, progress=False)
    tuned = {"objective": "bc", "set": {}, "trial": 0, "trials": 4, "k": 1, "n": 2}
    search = {"suite": "s", "task": "toy", "regime": "mg", "trials": 4, "episodes": 2, "seed": 0, "steps": 5}
    (tmp_path / "tuned.yaml").write_text(json.dumps(search | {"policies": {"flow": tuned}}))
    before = fakes.calls()
    again = presets(groups=[GROUP], tuned=str(tmp_path / "tuned.yaml"))
    assert bench(again, tmp_path / "out", workers=2, progress=False).computed == 0 and fakes.calls() == before
    records = {record.policy.name: record for record, _ in read_cells(tmp_path / "out")}
    assert records["flow"].tuning.trials == 4
    assert verify(tmp_path / "out").faults == {}


def test_the_first_blocks_of_a_suite_are_a_suite_and_the_others_follow(presets, fakes, tmp_path):
    suite = presets(groups=[GROUP | {"policies": ["flow"]}, GROUP | {"policies": ["bc"]}])
    first = bench(suite, tmp_path / "out", workers=1, progress=False, blocks=1)
    assert first.cells == first.done == len(read_manifest(tmp_path / "out").cells) == 1
    whole = bench(suite, tmp_path / "out", workers=1, progress=False)
    assert (whole.cells, whole.done, whole.computed) == (2, 2, 1)
    with pytest.raises(UsageError, match="has 2 groups: --blocks 3 is more"):
        bench(suite, tmp_path / "out", workers=1, progress=False, blocks=3)


def test_a_failed_cell_is_reported_with_its_reason_and_the_others_go_on(presets, fakes, tmp_path):
    fakes(fail="toy_long")
    suite = presets(groups=[GROUP | {"tasks": ["toy_long", "toy"], "policies": ["bc"]}])
    summary = bench(suite, tmp_path / "out", workers=1, progress=False)
    assert summary.done == 1
    (failure,) = summary.failed
    assert failure.step == "data" and failure.reason == "ValueError: the fake was told to fail."
    assert "the fake was told to fail" in Path(failure.log).read_text()
    states = {cell.task: (cell.state, cell.reason) for cell in read_manifest(tmp_path / "out").cells}
    assert states == {"toy": ("done", ""), "toy_long": ("failed", "ValueError: the fake was told to fail.")}
    fakes()
    before = len(fakes.calls())
    summary = bench(suite, tmp_path / "out", workers=1, progress=False)  # it failed twice alike
    assert len(fakes.calls()) == before and summary.done == 1
    reason = "ValueError: the fake was told to fail (--retry-failed tries it again)."
    assert [failure.reason for failure in summary.failed] == [reason]
    summary = bench(suite, tmp_path / "out", workers=1, progress=False, retry_failed=True)
    assert summary.failed == [] and summary.done == 2 and summary.computed == 1
    assert not list((tmp_path / "out" / "failures").iterdir())


def test_a_suite_of_which_nothing_works_is_an_error_with_the_reason(presets, fakes, tmp_path):
    fakes(fail="generate")
    with pytest.raises(RunError, match="No cell could be computed; .* failed at data: ValueError: the fake was told"):
        bench(presets(), tmp_path / "out", workers=1, progress=False)


def test_a_killed_bench_takes_its_jobs_with_it_and_the_next_call_goes_on(presets, fakes, tmp_path):
    fakes(sleep=0.4)
    suite = presets(groups=[GROUP])
    process = start_bench(suite, tmp_path / "out")
    wait_until(lambda: len(fakes.calls()) >= 3)
    process.send_signal(signal.SIGKILL)
    process.wait()
    wait_until(lambda: not any(alive(call["pid"]) for call in fakes.calls()))
    finished = len(list((tmp_path / "out" / "steps").glob("*.json")))
    before = len(fakes.calls())
    fakes()
    summary = bench(suite, tmp_path / "out", workers=2, progress=False)
    assert summary.done == 3 and finished >= 1
    assert len(fakes.calls()) - before == 7 - finished  # what was finished before the kill is not run again
    assert verify(tmp_path / "out").faults == {}


def test_jobs_do_not_outlive_a_killed_bench(presets, fakes, tmp_path):
    fakes(sleep=60)
    process = start_bench(presets(groups=[GROUP]), tmp_path / "out")
    wait_until(lambda: fakes.calls())
    process.send_signal(signal.SIGKILL)
    process.wait()
    wait_until(lambda: not any(alive(call["pid"]) for call in fakes.calls()), seconds=5)
    with folder_lock(tmp_path / "out", "running a bench", BENCH_LOCK):
        pass  # free for the next call


def test_a_bench_that_is_told_to_end_says_what_is_done(presets, fakes, tmp_path):
    fakes(sleep=1.5)
    out = tmp_path / "out"
    words = ["robo-orl", "bench", "--suite", presets(groups=[GROUP]), "--out", str(out), "--workers", "1"]
    process = start(f"from robo_orl.cli import app; sys.argv = {words!r}; app.main()")
    wait_until(lambda: list(out.glob("cells/*/record.json")), 60)
    process.send_signal(signal.SIGTERM)
    told = process.communicate(timeout=60)[1].decode()
    assert process.returncode == 130 and "continues where it stopped" in told, told
    states = [cell.state for cell in read_manifest(out).cells]
    assert states.count("done") == len(list(out.glob("cells/*/record.json"))) >= 1 and "missing" in states


def test_an_interrupted_bench_stops_its_jobs(presets, fakes, tmp_path):
    fakes(sleep=5)
    process = start_bench(presets(groups=[GROUP]), tmp_path / "out")
    wait_until(lambda: fakes.calls())
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) != 0
    assert not any(alive(call["pid"]) for call in fakes.calls())


def test_two_benches_on_one_folder_are_told_apart(tmp_path):
    sentence = f"Another process is running a bench in .* \\(process {os.getpid()} on .*\\)"
    lock = partial(folder_lock, tmp_path, "running a bench", BENCH_LOCK)
    with lock(), pytest.raises(UsageError, match=sentence), lock(patience_s=0.2):
        pass
    with lock():
        pass  # free again


def test_the_lock_outlives_the_bench_while_one_of_its_jobs_is_alive(tmp_path):
    with folder_lock(tmp_path, "running a bench", BENCH_LOCK) as lock:
        job = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(30)"], pass_fds=(lock,))
    with (tmp_path / BENCH_LOCK).open("r+") as file:
        with pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        job.kill()
        job.wait()
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def start_bench(suite, out):
    """The same bench in a process of its own."""
    return start(f"print(json.dumps(bench.bench({suite!r}, {str(out)!r}, workers=2, progress=False).to_json()))")


def start(call):
    """A process of its own with the fakes in place."""
    code = (
        "import sys, json; from robo_orl.sweep import bench, jobs\n"
        f"jobs.ROBO_ORL = jobs.STEPS = (sys.executable, {str(Path(__file__).parent / 'fake_robo_orl.py')!r})\n"
        f"sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "import conftest; bench.describe_data = conftest.describe_fake_data\n"
    )
    return start_interruptible([sys.executable, "-c", code + call], stderr=subprocess.PIPE)


def wait_until(condition, seconds=60.0):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "nothing happened"
        time.sleep(0.02)


def alive(pid):
    """Whether a process runs (a zombie does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_record_that_was_written_as_the_signal_came_is_counted(presets, fakes, tmp_path, monkeypatch):
    from robo_orl.sweep import bench as module

    def interrupted(*arguments):
        module_store(*arguments)
        raise KeyboardInterrupt

    module_store = module.store_cell
    monkeypatch.setattr(module, "store_cell", interrupted)
    fakes()
    with pytest.raises(KeyboardInterrupt):
        module.bench(presets(groups=[GROUP]), tmp_path / "out", workers=1, progress=False)
    states = [cell["state"] for cell in json.loads((tmp_path / "out" / "suite.json").read_text())["cells"]]
    assert states.count("done") == 1


def tamper(out):
    """Write another number of steps into the record of `bc`; returns its folder."""
    record = next(out.glob("cells/*-bc-*/record.json"))
    record.write_text(record.read_text().replace('"steps": 10,\n  "batch_size"', '"steps": 10000,\n  "batch_size"'))
    return record.parent


def test_a_record_that_contradicts_itself_is_set_aside_and_its_episodes_are_played_anew(
    presets, fakes, tmp_path, capsys
):
    suite, out = presets(), tmp_path / "out"
    bench(suite, out, workers=2, progress=False)
    cell, before = tamper(out), len(fakes.calls())
    capsys.readouterr()
    plan = forecast_of(suite, out, Machines(workers=2))
    assert (plan.done, plan.missing, [(kind.kind, kind.jobs) for kind in plan.kinds]) == (1, 1, [("eval", 1)])
    said = capsys.readouterr().err
    assert "train.steps is 10000" in said and "counts as missing" in said and said.count("\n") == 1
    assert cell.exists() and len(fakes.calls()) == before
    summary = bench(suite, out, workers=2, progress=False)
    assert (summary.computed, summary.done, summary.failed) == (1, 2, []) and fakes.kinds().count("eval") == 3
    assert "set_aside" in capsys.readouterr().err and verify(out).faults == {}
    kept = out / "set_aside" / cell.name
    assert '"steps": 10000' in (kept / "cells" / "record.json").read_text()
    assert sorted(path.name for path in kept.iterdir()) == ["cells", "evaluation", "evaluation.json"]
    tamper(out)  # once more: what was kept stays
    assert bench(suite, out, workers=2, progress=False).computed == 1
    assert sorted(path.name for path in (out / "set_aside").iterdir()) == [cell.name, f"{cell.name}-2"]


def test_a_record_of_ours_that_contradicts_itself_fails_its_cell_and_the_others_go_on(presets, fakes, tmp_path):
    """The training answers with other steps than the suite asks for: playing again mends nothing."""
    suite, out = presets(), tmp_path / "out"
    bench(suite, out, workers=2, progress=False)
    for path in (out / "steps").glob("train-*"):
        path.write_text(path.read_text().replace('"steps": 10,', '"steps": 11,'))
    shutil.rmtree(next((out / "cells").glob("*-bc-*")))
    summary = bench(suite, out, workers=2, progress=False)
    (failure,) = summary.failed
    assert summary.done == 1 and "train.steps is 11" in failure.reason and "bench trains it anew" in failure.reason
    assert verify(out).faults == {}


def test_a_results_folder_holds_no_path_of_this_machine(presets, fakes, tmp_path):
    policy = tmp_path / "private" / "mine.yaml"
    policy.parent.mkdir()
    policy.write_text("optim: {steps: 10}\nname: mine\n")
    group = {"tasks": ["toy"], "regimes": ["mg"], "policies": ["bc", str(policy)]}
    bench(presets(groups=[group]), tmp_path / "out", workers=2, progress=False)
    assert str(tmp_path) not in (tmp_path / "out" / "suite.json").read_text()
    checked = verify(tmp_path / "out")
    assert (checked.cells, checked.faults, checked.personal) == (2, {}, [])
