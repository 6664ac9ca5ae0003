"""The plan of a bench: what is missing, its time from like records, and where a budget ends."""

import json

import pytest

from robo_orl.base.machine import hardware
from robo_orl.cli.plan import WIDTH, print_plan
from robo_orl.results.store import read_cells
from robo_orl.sweep import forecast as module
from robo_orl.sweep import speeds
from robo_orl.sweep.bench import Bench, bench
from robo_orl.sweep.cells import expand, load_suite
from robo_orl.sweep.forecast import forecast, forecast_of
from robo_orl.sweep.resources import Node
from robo_orl.sweep.runners.choice import Machines
from robo_orl.sweep.speeds import START_S, Speeds, speeds_on

GROUP = {"tasks": ["toy"], "regimes": ["mg"], "policies": ["flow", "critic"]}


@pytest.fixture
def alone(monkeypatch, tmp_path):
    """No records but those of the test."""
    monkeypatch.setattr(module, "folders_with_records", lambda out: [out] if out.is_dir() else [])
    return tmp_path / "out"


def test_nothing_is_written_and_unknown_times_are_said(presets, alone, capsys):
    plan = forecast_of(presets(groups=[GROUP]), alone, Machines(workers=2))
    assert not alone.exists()
    assert (plan.cells, plan.missing, plan.done, plan.records, plan.wall_s) == (2, 2, 0, 0, None)
    assert {kind.kind: kind.jobs for kind in plan.kinds} == {"data": 1, "train": 2, "value": 1, "eval": 2}
    assert plan.disk_bytes > 0 and plan.disk_free_bytes > 0 and plan.gpus == 0
    print_plan(plan.to_json())
    text = capsys.readouterr().out
    assert "2 missing" in text and "not known: 0 records of this kind of machine" in text
    assert max(map(len, text.splitlines())) <= WIDTH


def test_times_are_those_of_like_records_on_this_kind_of_machine(presets, fakes, alone):
    bench(presets(groups=[GROUP]), alone, workers=2, progress=False)
    plan = forecast_of(presets("more", groups=[GROUP | {"seeds": [0, 1]}]), alone, Machines(workers=1), minutes=60)
    assert (plan.done, plan.missing, plan.records) == (2, 2, 2)
    seconds = {kind.kind: kind.seconds for kind in plan.kinds}
    # Both trainings took a second, and so did the evaluations; the data are there.
    assert seconds["train"] == pytest.approx(2 * (START_S + 1.0)) and seconds["eval"] == pytest.approx(
        2 * (START_S + 1)
    )
    assert plan.wall_s == pytest.approx(sum(seconds.values()))
    assert (plan.budget.cells, plan.budget.first_left) == (2, "")
    short = forecast_of(presets("more", groups=[GROUP | {"seeds": [0, 1]}]), alone, Machines(workers=1), minutes=0.3)
    assert (short.budget.cells, short.budget.first_left) == (1, "toy mg critic tiny seed 1")


def test_records_of_another_machine_tell_no_time(presets, fakes, alone):
    bench(presets(groups=[GROUP]), alone, workers=2, progress=False)
    other = hardware().model_copy(update={"cpu": "another"})
    assert speeds_on(hardware(), [alone, alone]).records == 2  # each once
    assert speeds_on(other, [alone]).records == 0


def test_the_closest_record_tells_the_time(presets, fakes, alone):
    bench(presets(groups=[GROUP]), alone, workers=2, progress=False)
    found = Speeds()
    for record, _ in read_cells(alone):
        slow = record.policy.name == "critic"
        found.add(record.model_copy(update={"train": record.train.model_copy(update={"wall_s": 9.0 if slow else 1.0})}))
    suite = load_suite(presets("more", groups=[GROUP | {"seeds": [3]}]))
    jobs = {job.key: job for own in Bench(suite, expand(suite), alone).jobs.values() for job in own}
    times = {job.policy.name: found.seconds(job) - START_S for job in jobs.values() if job.kind == "train"}
    assert times == pytest.approx({"flow": 1.0, "critic": 9.0})


def test_places_on_gpus_decide_the_time(presets, fakes, alone, monkeypatch):
    """Eight trainings on one GPU: one after the other, or two at a time."""
    bench(presets(groups=[GROUP]), alone, workers=2, progress=False)
    suite = load_suite(presets("more", groups=[GROUP | {"policies": ["flow"], "seeds": list(range(1, 9))}]))
    cells, nodes = expand(suite), [Node(16, gpus=1)]
    alone_on_it, two = (forecast(suite, cells, alone, nodes, per_gpu=places) for places in (1, 2))
    assert 0.5 * alone_on_it.wall_s <= two.wall_s < 0.6 * alone_on_it.wall_s
    assert {kind.kind: kind.gpus for kind in two.kinds} == {"train": 0.5, "eval": 0.5}


def test_the_plan_of_thousands_of_cells_takes_seconds_of_reading(presets, alone, monkeypatch):
    """Policies and tasks are read once a size, whatever the number of cells, and no file is written."""
    reads = []
    own = module.Bench.__init__.__globals__["check_policies"]
    monkeypatch.setattr("robo_orl.sweep.bench.check_policies", lambda suite, cells: own(suite, cells[:4]))
    from robo_orl.sweep import cells as cells_module

    loaded = cells_module.preset_values
    monkeypatch.setattr(cells_module, "preset_values", lambda *names: reads.append(names) or loaded(*names))
    monkeypatch.setattr(speeds, "START_S", 1.0)
    plan = forecast_of(presets(groups=[GROUP | {"seeds": list(range(1000))}]), alone, Machines(workers=2))
    assert plan.missing == 2000 and len(reads) <= 3
    json.dumps(plan.to_json())
