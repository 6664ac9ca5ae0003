"""Cost cells are ordinary jobs of a suite: made by `profile`, resumed, left out where this machine cannot run them."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from robo_orl.base.errors import UsageError
from robo_orl.config.presets import available
from robo_orl.report.build import build
from robo_orl.results.record import Hardware
from robo_orl.results.store import open_results, read_costs, write_cost
from robo_orl.sweep import cost_cells as module
from robo_orl.sweep.bench import bench
from robo_orl.sweep.cells import load_suite
from robo_orl.sweep.cost_cells import cost_cells, engines
from robo_orl.sweep.job import COSTS, TRAIN, Job, JobResult, write_inputs
from robo_orl.sweep.jobs import cost_job
from robo_orl.sweep.resources import Node
from robo_orl.sweep.schedule import DONE, WAITING, Schedule

ROOT = Path(__file__).parents[2]
ACTS = {"use": "critic", "name": "critic", "set": {"selection": {"num_samples": 4}}}  # one that can be built
TEN = {"use": "critic", "name": "ten", "set": {"critic": {"ensemble": 10}}}
COST = {
    "task": "toy", "policies": ["flow", "critic", TEN], "sizes": ["tiny"], "turns": "pairs", "zero": [0, 2], "steps": 5,
    "set": {"optim": {"batch_size": 8}},
}  # fmt: skip


@pytest.fixture
def run(presets, fakes, tmp_path):
    """A function that runs a suite of costs alone."""

    def run_costs(retry_failed=False, **cost):
        suite = presets(groups=[], cost=COST | cost)
        return bench(suite, tmp_path / "out", workers=2, progress=False, retry_failed=retry_failed)

    return run_costs


def profiled(fakes):
    """--policy and --beside of every call, by the names in their files."""
    named = []
    for call in fakes.calls():
        words = call["command"]
        files = [words[i + 1] for i, word in enumerate(words) if word in ("--policy", "--beside")]
        named.append(sorted(Path(file).stem.split("-")[1] for file in files))
    return named


def test_every_cell_is_measured_beside_the_base_once(run, fakes, tmp_path):
    first = run(zero=[0])
    assert sorted(profiled(fakes)) == [["critic", "flow"], ["flow"], ["flow", "ten"]]
    assert (first.cost_cells, first.cost_done, first.failed, first.left_out) == (3, 3, [], [])
    second = run(zero=[0])
    assert len(fakes.calls()) == 3 and second.cost_done == 3
    for record in read_costs(tmp_path / "out"):
        assert record.base == "flow" and record.batch_size == 8 and record.rows[0].policy == "flow"


def test_a_measurement_has_the_machine_to_itself_and_its_threads(run, fakes, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    run(zero=[0])
    assert {call["threads"] for call in fakes.calls()} == {None}


def test_zero_stages_are_launched_with_plain_ddp_beside_them(run, fakes, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "processes", lambda: 2)
    monkeypatch.setattr("robo_orl.sweep.jobs.processes", lambda: 2)
    run(policies=["flow", "critic"])
    launched = [call["command"] for call in fakes.calls() if "--launch" in call["command"]]
    assert len(launched) == 4 and all(words[words.index("--world") + 1] == "2" for words in launched)
    records = read_costs(tmp_path / "out")
    assert (
        sorted((r.launched, r.zero, r.world) for r in records)
        == [(False, 0, 1)] * 2 + [(True, 0, 2)] * 2 + [(True, 2, 2)] * 2
    )


@pytest.mark.parametrize(
    ("stages", "pairs"),
    [
        ([0], [(0, False)]),
        ([0, 1, 3], [(0, False), (0, True), (1, True), (3, True)]),
        ([2], [(0, True), (2, True)]),
    ],
)
def test_plain_ddp_stands_beside_every_zero_stage(stages, pairs):
    assert engines(stages) == pairs


def test_a_cell_that_this_machine_cannot_run_is_left_out_with_the_reason(run, fakes, monkeypatch):
    monkeypatch.setattr(module, "processes", lambda: 3)
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None if name == "deepspeed" else object())
    left = run().left_out
    assert sum("ZeRO needs deepspeed, not installed here" in line for line in left) == 3
    assert sum("the batch does not divide" in line for line in left) == 3 and len(fakes.calls()) == 3


def test_a_cell_that_fails_does_not_take_the_others_with_it(run, fakes):
    fakes(fail="cost-ten")
    summary = run(zero=[0])
    assert summary.cost_done == 2 and len(summary.failed) == 1 and "ten" in summary.failed[0].cell
    fakes()
    assert run(zero=[0], retry_failed=True).cost_done == 3


def test_rows_from_another_device_are_not_joined_by_this_ones(run, fakes, tmp_path):
    run(zero=[0])
    out = tmp_path / "out"
    elsewhere = Hardware(cpu="x86_64", cores=99, memory_bytes=None, accelerator="NVIDIA of another machine")
    for record in read_costs(out):
        write_cost(out, record.key, record.model_copy(update={"hardware": elsewhere}))
    next((out / "cost").glob("*ten*.json")).unlink()
    summary = run(zero=[0])
    assert len(fakes.calls()) == 3 and summary.cost_done == 2
    assert "the rows there were measured on NVIDIA of another machine" in summary.left_out[0]


def test_the_largest_models_are_predicted_once_and_shown(run, fakes, tmp_path):
    for _ in range(2):
        run(zero=[0], policies=["flow", "critic"], cards=["rtx4090-24gb", "h100-80gb"])
    assert sum("--largest" in call["command"] for call in fakes.calls()) == 2
    largest = [record for record in read_costs(tmp_path / "out") if record.largest]
    assert [model.depth for model in largest[0].largest] == [None, 4] and largest[0].hardware is None
    build(tmp_path / "out", tmp_path / "out")
    page = (tmp_path / "out" / "report.html").read_text()
    assert "The largest model that fits" in page and "critic none" in page and "8 observations a step, fp32" in page


def test_what_a_suite_says_of_costs_is_checked(presets):
    for change, sentence in (
        ({"policies": ["critic", "flow"]}, "put plain behaviour cloning there"),
        ({"sizes": ["tinny"]}, "Did you mean 'tiny'"),
        ({"cards": ["h100-80g"]}, "Did you mean 'h100-80gb'"),
    ):
        with pytest.raises(UsageError, match=sentence):
            cost_cells(load_suite(presets(groups=[], cost=COST | change)))


def test_every_shipped_cost_record_belongs_to_a_cell_of_its_suite(monkeypatch):
    monkeypatch.delenv("ROBO_ORL_PRESETS")
    for folder in sorted(path for path in (ROOT / "results").iterdir() if path.is_dir()):
        records = open_results(folder).cost_records
        if records:
            suite = load_suite(folder.name)
            cells = {cell.key: cell for cell in cost_cells(suite)}
            assert open_results(folder).manifest.costs == list(cells)
            for record in records:
                cell = cells[record.key]
                names = [row.policy for row in record.rows] or [model.policy for model in record.largest]
                assert set(names) <= {policy.name for policy in cell.policies} and record.base == cell.base.name
                assert (record.launched, record.zero) == (cell.launched, cell.zero)
                assert record.batch_size == cell.base.optim.batch_size
                assert record.precision == cell.base.optim.precision


def test_the_shipped_suites_measure_every_policy_on_every_engine(monkeypatch):
    monkeypatch.delenv("ROBO_ORL_PRESETS")
    cells = cost_cells(load_suite("cost"))
    assert sum(not cell.cards for cell in cells) == 10 * 6 * 5 and sum(bool(cell.cards) for cell in cells) == 10
    assert {"cost", "cost_cpu", "cost_methods"} <= set(available("tasks/suites"))


def test_further_batches_are_measured_in_one_process_beside_the_policies_own(monkeypatch):
    monkeypatch.delenv("ROBO_ORL_PRESETS")
    cells = cost_cells(load_suite("cost_batches"))
    assert {(cell.batch, cell.base.optim.batch_size) for cell in cells} == {(None, 64), (1024, 1024), (4096, 4096)}
    assert len(cells) == len({cell.key for cell in cells}) == len({(c.title, c.size) for c in cells}) == 3 * 5 * 4
    assert not any(cell.launched for cell in cells)


class Slow:
    """A runner whose jobs take a while."""

    def __init__(self, cores=1):
        self.cores = cores

    def nodes(self):
        return [Node(self.cores)]

    def flush(self):
        pass

    def where(self, handle):
        return ""

    def start(self, job, grant):
        return job, time.monotonic(), grant

    def result(self, handle):
        return JobResult({}) if time.monotonic() - handle[1] > 0.05 else None

    def stop(self, handles):
        pass


def job(kind, key, exclusive=False):
    return Job(kind, key, (), (), 1.0, 1, Path(), exclusive)


def test_no_job_is_started_that_would_end_too_late():
    jobs = [job(COSTS, str(i)) for i in range(50)]
    states = Schedule(jobs, Slow(), lambda *_: None, lambda _: None, poll_s=0.01, minutes=0.2 / 60).run()
    ended = [state.state for state in states.values()]
    assert ended.count(DONE) >= 1 and set(ended) == {DONE, WAITING}


def test_an_exclusive_job_runs_alone_on_all_cores():
    running = []

    class Watched(Slow):
        def start(self, job, grant):
            running.append((job.key, grant.cores))
            return super().start(job, grant)

    beside = []
    jobs = [job(COSTS, "a", True), job(TRAIN, "t"), job(TRAIN, "u"), job(COSTS, "b", True)]
    Schedule(
        jobs, Watched(2), lambda *_: None,
        lambda states: beside.append({k for k, s in states.items() if s.state == "running"}), poll_s=0.01,
    ).run()  # fmt: skip
    assert dict(running) == {"a": 2, "b": 2, "t": 1, "u": 1}
    assert all(states in (set(), {"t", "u"}, {"t"}, {"u"}, {"a"}, {"b"}) for states in beside)


@pytest.mark.slow
def test_a_cost_suite_imports_no_simulator(presets, tmp_path):
    """On a machine with torch alone and a folder of wheels there is none."""
    name = presets(groups=[], cost=COST | {"zero": [0], "policies": ["flow", ACTS]})
    script = (
        "import sys\n"
        "class NoSimulator:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] in ('robosuite', 'mujoco', 'robomimic'):\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, NoSimulator())\n"
        "from robo_orl.cli.app import main\n"
        "main()\n"
    )
    sitecustomize = tmp_path / "path"
    sitecustomize.mkdir()
    (sitecustomize / "sitecustomize.py").write_text(script.split("from robo_orl")[0])
    environment = {"PYTHONPATH": f"{sitecustomize}:{ROOT}", "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"}
    environment |= {"ROBO_ORL_PRESETS": str(tmp_path / "presets"), "HOME": str(tmp_path)}
    words = ["bench", "--suite", name, "--out", str(tmp_path / "out"), "--json"]
    done = subprocess.run(
        [sys.executable, "-c", script, *words], env=environment, capture_output=True, text=True, timeout=250
    )
    assert done.returncode == 0, done.stderr[-2000:]
    summary = json.loads(done.stdout.splitlines()[-1])
    assert (summary["cost_done"], summary["failed"]) == (2, [])
    for record in read_costs(tmp_path / "out"):
        for row in record.rows:
            assert row.predicted.peak_bytes == pytest.approx(row.peak_memory_bytes, rel=0.02)
            assert row.step_relative and row.memory_parts and row.oom is None
    page = (tmp_path / "out" / "report.html").read_text()
    assert "At size tiny, beside flow (n = 5 steps, quartiles): critic" in page and "out of memory" not in page
    assert "optimiser: " in page


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_two_processes_measure_ddp_and_every_zero_stage(stage, presets, tmp_path):
    """On the CPU, so that the path of every engine is walked on any machine."""
    if stage:
        pytest.importorskip("deepspeed")
    suite = load_suite(presets(groups=[], cost=COST | {"zero": [1, 2, 3], "policies": ["flow", ACTS]}))
    cell = next(c for c in cost_cells(suite) if c.policies[-1].name == "critic" and c.zero == stage)
    job = cost_job(cell, tmp_path)
    write_inputs([job])
    done = subprocess.run(job.command, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr[-2000:]
    measurement = json.loads(done.stdout.splitlines()[-1])
    base, row = measurement["rows"]
    assert row["oom"] is None and measurement["world"] == 2 and base["step_relative"] == 1
    assert row["engine"]["zero_stage"] == stage and row["step_s"] > 0
    assert row["predicted"]["peak_bytes"] == pytest.approx(row["peak_memory_bytes"], rel=0.05)
