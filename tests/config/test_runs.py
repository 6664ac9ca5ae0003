"""A run learns a list of tasks; one task may be given by its keys, as earlier versions wrote it."""

import json

import pytest

from robo_orl.base.errors import UsageError
from robo_orl.config import RunConfig, apply_overrides, parse
from robo_orl.config.presets import preset_values
from robo_orl.engine.run_folder import read_run
from robo_orl.engine.task_data import task_number

POLICY, LIFT, CHAIN = ({"name": "p"}, preset_values("tasks", "lift"), preset_values("tasks", "chain2+40hz"))


def test_one_task_by_its_keys_is_a_list_of_one():
    run = parse(RunConfig, {"policy": POLICY, "task": LIFT, "data": "a.hdf5", "filter": "success"}, "train")
    assert [(t.task.name, t.data, t.filter, t.weight) for t in run.tasks] == [("lift", "a.hdf5", "success", 1.0)]
    assert run.task.name == "lift"
    listed = {"policy": POLICY, "tasks": [{"task": LIFT, "data": "a.hdf5", "filter": "success"}]}
    assert parse(RunConfig, listed, "train") == run
    assert RunConfig.model_validate(run.model_dump(mode="json")) == run


def test_overrides_reach_the_first_task_by_its_keys():
    values = {
        "policy": POLICY,
        "task": LIFT,
        "data": "a.hdf5",
        "more": [{"task": CHAIN, "data": "b.hdf5", "weight": 3}],
    }
    run = parse(
        RunConfig, apply_overrides(values, ["task.padding=1.5", "weight=2", "reading.rewards=success"]), "train"
    )
    assert (run.task.padding, run.tasks[0].weight, run.tasks[0].reading.rewards) == (1.5, 2.0, "success")
    assert (run.tasks[1].task.name, run.tasks[1].weight) == ("chain2_40hz", 3.0)
    assert task_number(run, "chain2+40hz") == task_number(run, "chain2_40hz") == 1


@pytest.mark.parametrize(
    "values, sentence",
    [
        ({"tasks": []}, "train: tasks: .*at least 1"),
        ({"task": LIFT}, "train: tasks.0.data: Field required"),
        ({"task": LIFT, "data": "a", "tasks": [{"task": LIFT, "data": "a"}]}, "task is given beside tasks"),
        ({"task": LIFT, "data": "a", "seeds": 1}, "Unknown key 'seeds'. Did you mean 'seed'"),
        ({"task": LIFT | {"paddin": 1}, "data": "a"}, "Unknown key in tasks.0.task 'paddin'. Did you mean 'padding'"),
        ({"task": LIFT, "data": "a", "weight": 0}, "tasks.0.weight"),
    ],
)
def test_a_malformed_run_is_one_sentence(values, sentence):
    with pytest.raises(UsageError, match=sentence):
        parse(RunConfig, {"policy": POLICY} | values, "train")


def test_the_folder_of_an_earlier_version_is_read(tmp_path):
    """Its config.json has the first task at the top, the others in `more`, and no value that was at its default."""
    run = {
        "policy": POLICY, "task": LIFT, "data": "a.hdf5", "filter": None, "seed": 3, "checkpoint_every": 1000,
        "more": [{"task": CHAIN, "data": "b.hdf5", "filter": None, "weight": 3.0}], "weight": 2.0,
        "tracker": "none", "expect": {},
    }  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps({"digest": "of then", "run": run}))
    there = read_run(tmp_path)
    assert [(t.task.name, t.data, t.weight) for t in there.tasks] == [
        ("lift", "a.hdf5", 2.0), ("chain2_40hz", "b.hdf5", 3.0),
    ]  # fmt: skip
    assert there.seed == 3
