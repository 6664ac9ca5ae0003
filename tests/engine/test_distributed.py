"""Launches that accelerate accepts and gets silently wrong are errors here, each with its remedy."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import tiny
import yaml
from accelerate.utils import DistributedType
from torch import nn

from robo_orl.base.errors import RunError, UsageError
from robo_orl.engine import distributed
from robo_orl.engine.distributed import check_resolved, open_accelerator, prepare, resolved
from robo_orl.engine.launch import Launch
from robo_orl.engine.zero import deepspeed_config

ROOT = Path(__file__).parents[2]
LAUNCH = sorted((ROOT / "launch").glob("*.yaml"))


def launch(folder: Path, *flags: str, **environment: str) -> dict:
    """The outcome of one BC run under `accelerate launch` with these flags."""
    tiny.write_data(folder / "toy.hdf5")
    (folder / "jobs.json").write_text(json.dumps([{"name": "bc", "policy": {"optim": {"steps": 2}}}]))
    command = [sys.executable, "-m", "accelerate.commands.launch", *flags, "tests/engine/engine_job.py", str(folder)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""} | environment
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads((folder / "outcome.json").read_text())["bc"]


def test_deepspeed_that_use_cpu_drops_silently_is_an_error(tmp_path):
    found = launch(tmp_path, "--config_file", "launch/cpu_zero2.yaml", ACCELERATE_USE_CPU="true")
    assert "DeepSpeed was requested" in found["error"]


def test_cpu_processes_that_accelerate_does_not_start_are_an_error(tmp_path):
    found = launch(tmp_path, "--cpu", "--num_processes", "2", "--main_process_port", "0")
    assert "accelerate started one" in found["error"]


def test_the_launch_file_for_one_process_trains(tmp_path):
    assert launch(tmp_path, "--config_file", "launch/cpu_single.yaml")["summary"]["finished"]


def accelerate_says(processes: int, kind: DistributedType) -> SimpleNamespace:
    return SimpleNamespace(num_processes=processes, distributed_type=kind)


def test_fewer_processes_than_were_started_are_an_error():
    with pytest.raises(RunError, match="started 2 processes, but accelerate sees 1"):
        distributed._check_environment(accelerate_says(1, DistributedType.DEEPSPEED), Launch(world=2))


def test_processes_without_a_strategy_are_an_error():
    with pytest.raises(RunError, match="without a strategy"):
        distributed._check_environment(accelerate_says(2, DistributedType.NO), Launch(world=2))


def test_a_batch_that_does_not_divide_is_a_usage_error(data, tmp_path, monkeypatch):
    launched = {"WORLD_SIZE": "3", "RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}
    for variable, value in launched.items():
        monkeypatch.setenv(variable, value)
    with pytest.raises(UsageError, match="8 pairs, which do not divide among 3"):
        open_accelerator(tiny.run_of(data), tmp_path)


@pytest.mark.parametrize(
    ("variable", "value", "sentence"),
    [
        ("ACCELERATE_MIXED_PRECISION", "fp16", "precision belongs to the policy"),
        ("ACCELERATE_GRADIENT_CLIPPING", "0.5", "sets gradient_clipping 0.5, the run 1"),
        ("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "4", "sets gradient_accumulation_steps 4"),
        ("ACCELERATE_DEEPSPEED_CONFIG_FILE", "my.json", "instead of a deepspeed_config_file"),
    ],
)
def test_a_launch_file_may_not_change_the_run_behind_its_back(data, tmp_path, monkeypatch, variable, value, sentence):
    monkeypatch.setenv(variable, value)
    with pytest.raises(UsageError, match=sentence):
        open_accelerator(tiny.run_of(data), tmp_path)


@pytest.fixture
def found(data, tmp_path):
    """What one process resolves to, and what it was resolved from."""
    run, agent = tiny.run_of(data), tiny.ForgetfulAgent()
    accelerator = open_accelerator(run, tmp_path)
    model, _ = prepare(accelerator, agent, distributed.torch.optim.AdamW(agent.parameters()))
    return SimpleNamespace(run=run, agent=agent, model=model, engine=resolved(accelerator, model))


def check(found: SimpleNamespace, **expect: object) -> None:
    run = found.run.model_copy(update={"expect": expect})
    check_resolved(found.engine, run, found.agent, found.model)


def test_what_is_as_expected_passes(found):
    check(found, engine="single", processes=1, zero_stage=0, precision="fp32", offload_optimizer="none")


def test_what_is_not_as_expected_is_an_error(found):
    with pytest.raises(RunError, match="Requested zero_stage 2, but accelerate resolved 0"):
        check(found, zero_stage=2)


def test_an_unknown_expectation_gets_the_nearest_name(found):
    with pytest.raises(UsageError, match="zero_stage"):
        check(found, zero_stag=2)


def test_another_stage_than_the_launcher_asked_for_is_an_error(found, monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "true")
    monkeypatch.setenv("ACCELERATE_DEEPSPEED_ZERO_STAGE", "3")
    with pytest.raises(RunError, match="deepspeed"):
        check(found)


def test_processes_that_share_no_gradients_are_an_error(found):
    found.engine = replace(found.engine, processes=2)
    found.run = found.run.model_copy(update={"expect": {}})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WORLD_SIZE", "2")
        with pytest.raises(RunError, match="unwrapped"):
            check(found)
        found.model = nn.Module()
        check(found)


# -------------------------------------------------------------------------------------------------------- launch files


@pytest.mark.parametrize("path", LAUNCH, ids=lambda path: path.stem)
def test_a_launch_file_is_one_that_accelerate_reads(path):
    from accelerate.commands.config.config_args import load_config_from_file

    loaded = load_config_from_file(str(path))
    assert loaded.num_processes == (1 if "single" in path.stem else 2)
    assert "auto" not in path.read_text()


@pytest.mark.parametrize("name", ["single", "ddp", "zero1", "zero2", "zero3", "zero3_offload"])
def test_every_launch_file_has_a_cpu_twin_with_the_same_engine(name):
    gpu, cpu = (yaml.safe_load((ROOT / "launch" / f"{n}.yaml").read_text()) for n in (name, f"cpu_{name}"))
    assert gpu.get("deepspeed_config") == cpu.get("deepspeed_config")
    assert gpu["distributed_type"] == cpu["distributed_type"]
    assert not (cpu["distributed_type"] == "DEEPSPEED" and "use_cpu" in cpu), "use_cpu drops DeepSpeed silently"


@pytest.mark.parametrize("stage", ["1", "2", "3"])
@pytest.mark.parametrize("cpu", [True, False], ids=["cpu", "gpu"])
def test_the_deepspeed_configuration_leaves_nothing_to_defaults(data, monkeypatch, stage, cpu):
    monkeypatch.setenv("ACCELERATE_DEEPSPEED_ZERO_STAGE", stage)
    config = deepspeed_config(tiny.run_of(data, {"optim": {"clip_norm": 0.3}}), 2, cpu)
    assert '"auto"' not in json.dumps(config)
    assert config["gradient_clipping"] == 0.3
    assert (config["train_batch_size"], config["train_micro_batch_size_per_gpu"]) == (8, 4)
    assert config["zero_optimization"]["stage3_param_persistence_threshold"] == 0


def test_a_stage_that_does_not_exist_is_a_usage_error(data, monkeypatch):
    monkeypatch.setenv("ACCELERATE_DEEPSPEED_ZERO_STAGE", "4")
    with pytest.raises(UsageError, match="zero_stage 4"):
        deepspeed_config(tiny.run_of(data), 2, True)


@pytest.mark.slow
def test_zero3_with_offload_trains(tmp_path):
    found = launch(tmp_path, "--config_file", "launch/cpu_zero3_offload.yaml")
    assert found["summary"]["finished"]
    engine = json.loads((tmp_path / "bc" / "engine.json").read_text())
    assert (engine["offload_optimizer"], engine["offload_param"]) == ("cpu", "cpu")
