"""A group whose policies learn all of its tasks at once: one training, and one record for each task."""

import json

import pytest

from robo_orl.base.errors import UsageError
from robo_orl.config.presets import load_task
from robo_orl.results.store import read_cells
from robo_orl.results.verify import verify
from robo_orl.sweep.bench import bench
from robo_orl.sweep.cells import expand, load_suite
from robo_orl.sweep.job import DATA, TRAIN, VALUE
from robo_orl.sweep.jobs import jobs_of_cell

TOLD = {"observation": {"instruction": True}}
WEIGHTS = {"toy": 1, "toy_long": 3}
GROUP = {"tasks": ["toy", "toy_long"], "regimes": ["mg"], "policies": ["bc"], "set": TOLD, "together": WEIGHTS}


def cells(presets, **changes):
    return expand(load_suite(presets(groups=[GROUP | changes])))


def test_the_tasks_share_a_training_and_have_their_own_data_and_records(presets):
    one, other = cells(presets)
    assert (one.task.name, other.task.name) == ("toy", "toy_long")
    assert one.run_key == other.run_key and one.run_name == other.run_name
    assert one.data_key != other.data_key and one.key != other.key and one.name != other.name


def test_its_data_are_those_of_cells_that_learn_one_task(presets):
    together, alone = cells(presets), cells(presets, together={})
    assert [c.data_key for c in together] == [c.data_key for c in alone]
    assert not {c.run_key for c in together} & {c.run_key for c in alone}


def test_weights_and_the_order_of_tasks_decide_the_run(presets):
    keys = {
        cells(presets)[0].run_key,
        cells(presets, together=WEIGHTS | {"toy": 2})[0].run_key,
        cells(presets, tasks=["toy_long", "toy"])[0].run_key,  # draws are numbered in this order
    }
    assert len(keys) == 3
    assert cells(presets, together=dict(reversed(WEIGHTS.items())))[0].run_key in keys


@pytest.mark.parametrize(
    "change, sentence",
    [
        ({"together": {"toy": 1}}, "a weight, here toy, toy_long"),
        ({"together": WEIGHTS | {"lift": 1}}, "a weight, here toy, toy_long"),
        ({"together": WEIGHTS | {"toy": 0}}, "above 0"),
        ({"set": {}}, "'bc' learns several tasks and does not read which one: set observation.instruction"),
        ({"references": ["iql"]}, "references learn one task each"),
        ({"tasks": ["toy"], "together": {"toy": 1}}, "each of several tasks"),
    ],
)
def test_what_cannot_be_learned_together_is_refused(presets, change, sentence):
    with pytest.raises(UsageError, match=sentence):
        cells(presets, **change)


def test_the_training_is_given_every_task_with_its_file_and_weight(presets, tmp_path):
    cell = cells(presets, policies=["critic"])[1]
    jobs = jobs_of_cell(cell, tmp_path, value_error=True)
    data = [job for job in jobs if job.kind == DATA]
    assert data[-1].key == f"data-{cell.data_name}", "the cell's own data are the last"
    train = next(job for job in jobs if job.kind == TRAIN)
    assert set(train.needs) == {job.key for job in data}
    settings = dict(word.removeprefix("--set=").split("=", 1) for word in train.command if word.startswith("--set="))
    (other,) = json.loads(settings["more"])
    assert (settings["weight"], other["weight"], other["task"]["name"]) == ("1.0", 3.0, "toy_long")
    assert other["data"] == str(data[-1].output)
    value = next(job for job in jobs if job.kind == VALUE)
    assert value.command[value.command.index("--task") + 1] == "toy_long" and "toy_long" in value.key


def test_a_bench_trains_once_and_judges_on_each_task(presets, fakes, tmp_path):
    suite = presets(groups=[GROUP | {"policies": ["critic"]}])
    summary = bench(suite, tmp_path / "out", workers=2, progress=False)
    assert (summary.cells, summary.done, summary.failed) == (2, 2, [])
    assert fakes.kinds() == ["data", "data", "eval", "eval", "train", "value-error", "value-error"]
    judged = [call["command"] for call in fakes.calls() if call["kind"] == "eval"]
    assert sorted(words[words.index("--task") + 1] for words in judged) == ["toy", "toy_long"]
    found = verify(tmp_path / "out")
    assert (found.cells, found.faults, found.missing) == (2, {}, [])
    records = [record for record, _ in read_cells(tmp_path / "out")]
    assert len({record.train.run for record in records}) == 1 and {r.task.name for r in records} == set(WEIGHTS)
    assert all({s.task.name: s.weight for s in record.together} == WEIGHTS for record in records)


def test_a_second_task_added_later_trains_anew_and_keeps_the_data(presets, fakes, tmp_path):
    alone = GROUP | {"together": {}, "tasks": ["toy"]}
    bench(presets(groups=[alone]), tmp_path / "out", workers=1, progress=False)
    bench(presets(groups=[GROUP]), tmp_path / "out", workers=1, progress=False)
    assert fakes.kinds() == ["data", "data", "eval", "eval", "eval", "train", "train"]


def test_the_shipped_suite_tells_its_policies_what_to_do():
    suite = load_suite("multitask")
    found = expand(suite)
    assert {c.task.name for c in found if c.together} >= {"lift", "chain1"}
    for cell in found:
        assert cell.policy.observation.instruction and load_task(cell.task.name).instruction
        assert set(cell.policy.observation.cameras) <= set(suite.data.view.cameras)
