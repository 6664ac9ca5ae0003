"""Trainings of a suite under `accelerate launch`, with the launch file that it names."""

import json

import pytest
import yaml

from robo_orl.base.errors import UsageError
from robo_orl.sweep.bench import bench
from robo_orl.sweep.cells import expand, load_suite
from robo_orl.sweep.job import EVALUATE, TRAIN
from robo_orl.sweep.jobs import jobs_of_cell
from robo_orl.sweep.requirements import Requirements
from robo_orl.sweep.resources import Node, Resources

GROUP = {"tasks": ["toy"], "regimes": ["mg"], "policies": ["bc"], "set": {"optim": {"batch_size": 16}}}
EIGHT = Node(16, gpus=8, gpu_bytes=80 * 2**30)


@pytest.fixture
def jobs_of(presets, tmp_path):
    """A function of a suite's settings: its only training and evaluation."""

    def jobs(**suite):
        (cell,) = expand(load_suite(presets(**{"groups": [GROUP]} | suite)))
        own = {job.kind: job for job in jobs_of_cell(cell, tmp_path, False)}
        return cell, own[TRAIN], own[EVALUATE]

    return jobs


def test_a_training_is_launched_with_the_file_that_the_suite_names(jobs_of):
    plain, alone, _ = jobs_of()
    cell, train, evaluate = jobs_of(launch="ddp")
    at = train.command.index("--config_file")
    assert train.command[1:at] == ("-m", "accelerate.commands.launch") and train.command[at + 1].endswith("ddp.yaml")
    assert train.command[at + 2 :] == alone.command[1:]  # the same command, on several processes
    assert "accelerate.commands.launch" not in evaluate.command
    assert (train.processes, train.zero, train.on_cpu) == (2, 0, False)
    assert (cell.key, train.key) == (plain.key, alone.key)  # no part of an address


def test_a_launched_training_has_a_gpu_for_each_process(jobs_of):
    needs = Requirements(EIGHT, per_gpu=4)
    _, train, evaluate = jobs_of(launch="zero2")
    assert train.zero == 2 and needs(train).gpus == 2.0 and needs(train).cores == 2
    assert needs(evaluate).gpus == 0.25
    _, on_cpu, _ = jobs_of(launch="cpu_zero2")
    assert needs(on_cpu).gpus == 0.0 and needs(on_cpu).cores == 2


def test_a_group_may_have_a_launch_file_of_its_own(jobs_of):
    _, train, _ = jobs_of(launch="ddp", groups=[GROUP | {"launch": "zero3"}])
    assert train.zero == 3


def test_what_cannot_be_launched_is_one_sentence(jobs_of, tmp_path):
    several = tmp_path / "several.yaml"
    several.write_text(yaml.safe_dump({"num_processes": 16, "num_machines": 2}))
    strange = tmp_path / "strange.yaml"
    strange.write_text("num_processes: many\n")
    odd = GROUP | {"set": {"optim": {"batch_size": 18}}}
    for suite, said in (
        ({"launch": "ddb"}, "Unknown launch file 'ddb'.*ddp"),
        ({"launch": str(several)}, "a training of a suite runs within one machine: set num_machines to 1"),
        ({"launch": str(strange)}, "num_processes is 'many', and not a number of 1 or more"),
        ({"launch": "ddp", "groups": [odd]}, "batch_size 18 of 'bc' does not divide .* 2 processes of ddp.yaml"),
    ):
        with pytest.raises(UsageError, match=said):
            jobs_of(**suite)


def test_large_models_take_more_of_a_gpu_than_their_place(jobs_of):
    """Four places, but a model that fills half a small card has half of it."""
    big = GROUP | {"set": {"optim": {"batch_size": 16}, "backbone": {"size": "m"}}}
    _, train, _ = jobs_of(groups=[big])
    _, small, _ = jobs_of()
    needed = Requirements(EIGHT, per_gpu=4).predicted_bytes(train, always=True)
    card = Requirements(Node(4, gpus=1, gpu_bytes=2 * needed), per_gpu=4)
    assert card(train).gpus == pytest.approx(0.5) and card(small).gpus == 0.25
    assert (
        Requirements(Node(4, gpus=1, gpu_bytes=needed // 2), per_gpu=4)(train).gpus == 1.0
    )  # it says itself what fits


def test_a_machine_without_gpus_gives_cores_and_memory(jobs_of):
    _, train, evaluate = jobs_of()
    needs = Requirements(Node(4, memory_bytes=2**30))
    assert needs(train) == Resources(1, 0.0, needs(train).memory_bytes) and needs(train).memory_bytes <= 2**30
    assert needs(evaluate).gpus == 0.0 and needs(evaluate).core_bytes > 0


@pytest.mark.slow
def test_a_suite_trains_on_two_processes(tmp_path, monkeypatch):
    pytest.importorskip("robosuite", reason="robosuite is not installed")
    monkeypatch.delenv("ROBO_ORL_PRESETS")
    monkeypatch.setenv("ROBO_ORL_CACHE", str(tmp_path / "cache"))
    group = {"tasks": ["lift"], "regimes": ["mg"], "policies": ["bc"], "sizes": ["tiny"]}
    values = {"groups": [group], "launch": "cpu_ddp", "data": {"episodes": 2}, "evaluation": {"episodes": 2}}
    values["set"] = {"optim": {"steps": 4, "batch_size": 16}}
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(values))
    summary = bench(str(tmp_path / "tiny.yaml"), tmp_path / "out", progress=False)
    assert summary.failed == [] and summary.done == 1
    (engine,) = (tmp_path / "out" / "runs").glob("*/engine.json")
    assert json.loads(engine.read_text())["processes"] == 2
