"""Settings of a launcher are read in one place; those left over from another job, or unsupported, are one sentence."""

import pytest
import tiny

from robo_orl.base.errors import RunError, UsageError
from robo_orl.engine.launch import Launch, check_launch, process_rank, read_launch
from robo_orl.engine.train import train

STARTED = {"RANK": "0", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}


@pytest.mark.parametrize(
    ("environment", "sentence"),
    [
        ({"WORLD_SIZE": "4"}, "WORLD_SIZE is 4, but no launcher started this process .* unset WORLD_SIZE"),
        ({"ACCELERATE_USE_DEEPSPEED": "true"}, "ACCELERATE_USE_DEEPSPEED is set, but no launcher"),
        ({"WORLD_SIZE": "two"}, "variable WORLD_SIZE is 'two', no whole number"),
        ({"RANK": "3", "WORLD_SIZE": "2"}, "RANK is 3 and WORLD_SIZE is 2, which do not belong together"),
        ({"RANK": "1"}, "RANK is 1 and WORLD_SIZE is 1"),
        ({"RANK": "1", "WORLD_SIZE": "4"}, "WORLD_SIZE is 4, but MASTER_ADDR of .* left over from another job"),
        (STARTED | {"WORLD_SIZE": "4", "MASTER_PORT": ""}, "WORLD_SIZE is 4, but MASTER_PORT of the address"),
        ({"ACCELERATE_DYNAMO_BACKEND": "INDUCTOR"}, "compile the model .dynamo_backend inductor.*unset ACCELERATE_DY"),
        ({"ACCELERATE_USE_FSDP": "true"}, "requests FSDP, which is not supported; use launch/ddp.yaml"),
        ({"ACCELERATE_USE_MEGATRON_LM": "true"}, "requests Megatron-LM"),
        ({"ACCELERATE_GRADIENT_CLIPPING": "much"}, "sets gradient_clipping much, the run 1"),
    ],
)
def test_left_over_and_unsupported_settings_are_one_sentence(data, environment, sentence):
    with pytest.raises(UsageError, match=sentence):
        check_launch(read_launch(environment), tiny.run_of(data))


@pytest.mark.parametrize("variable", ["ACCELERATE_DYNAMO_BACKEND", "ACCELERATE_USE_FSDP", "WORLD_SIZE"])
def test_a_training_reads_them_before_it_writes(data, tmp_path, monkeypatch, variable):
    monkeypatch.setenv(variable, {"ACCELERATE_USE_FSDP": "true", "WORLD_SIZE": "2"}.get(variable, "inductor"))
    with pytest.raises(UsageError):
        train(tiny.run_of(data), tmp_path / "run", progress=False)
    assert not list((tmp_path / "run").glob("*"))


@pytest.mark.parametrize("environment", [{}, {"ACCELERATE_DYNAMO_BACKEND": "NO", "WORLD_SIZE": "1"}])
def test_a_process_without_a_launcher_trains(data, environment):
    launch = read_launch(environment)
    check_launch(launch, tiny.run_of(data))
    assert (launch.world, launch.rank, launch.tasks) == (1, 0, 1)


@pytest.mark.parametrize(
    ("world", "local", "tasks", "apart"),
    [
        (1, 1, 2, True),  # srun of two plain trainings
        (8, 8, 2, True),  # DeepSpeed's own launcher on each of two nodes
        (16, 8, 2, False),
        (8, 8, 1, False),
        (4, 1, 4, False),  # srun starts every process
        (2, 1, 4, True),
    ],
)
def test_tasks_of_slurm_that_would_train_apart_are_an_error(data, world, local, tasks, apart):
    environment = STARTED | {"WORLD_SIZE": str(world), "LOCAL_SIZE": str(local), "SLURM_STEP_NUM_TASKS": str(tasks)}
    launch, run = read_launch(environment), tiny.run_of(data, {"optim": {"batch_size": 32}})
    if apart:
        with pytest.raises(RunError, match=f"SLURM started {tasks} tasks.*deepspeed_multinode_launcher: standard"):
            check_launch(launch, run)
    else:
        check_launch(launch, run)


def test_the_rank_is_that_of_the_launcher_or_left_over(monkeypatch):
    for variable in ("RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(variable, raising=False)
    assert process_rank() == 0 == Launch().rank
    monkeypatch.setenv("RANK", "3")
    assert process_rank() == 0
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", "29500")
    assert process_rank() == 3
