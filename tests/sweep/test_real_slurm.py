"""The array script and the recipes of a training under a real SLURM of one machine, where one can be started.

tests/sweep/test_slurm.py and tests/test_launch.py hold the same under commands that stand in for SLURM's.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import real_slurm
import yaml

from robo_orl.results.verify import verify
from robo_orl.sweep.bench import bench
from robo_orl.sweep.job import TRAIN, Job
from robo_orl.sweep.resources import Grant, Resources
from robo_orl.sweep.runners import slurm
from robo_orl.sweep.runners.choice import Machines

ROOT = Path(__file__).parents[2]
GROUP = {"tasks": ["toy"], "regimes": ["mg"], "policies": ["flow", "critic"]}
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(bool(real_slurm.why_not()), reason=real_slurm.why_not() or "it can be started"),
]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with real_slurm.slurm(tmp_path_factory.mktemp("slurm")) as environment:
        yield environment


@pytest.fixture(autouse=True)
def variables(cluster, monkeypatch):
    """The variables of SLURM's commands, and a package that its jobs find."""
    for name, value in (cluster | {"PYTHONPATH": str(ROOT)}).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(slurm, "QUEUE_S", 1.0)


def wait_until(condition, seconds=200.0):
    until = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < until, subprocess.run(["squeue"], capture_output=True, text=True).stdout
        time.sleep(0.1)
    return value


def queue(*columns):
    """The jobs in the queue, each its columns of squeue."""
    command = ["squeue", "--noheader", "--array", f"--format={'|'.join(columns)}"]
    return [line.split("|") for line in subprocess.run(command, capture_output=True, text=True).stdout.splitlines()]


def test_a_suite_becomes_verified_records(presets, fakes, tmp_path):
    summary = bench(presets(groups=[GROUP]), tmp_path / "out", progress=False, machines=Machines("slurm"))
    assert (summary.done, summary.failed) == (2, [])
    assert fakes.kinds() == ["data", "eval", "eval", "train", "train", "value-error"]
    assert verify(tmp_path / "out").faults == {}  # each job ran once


SAVES = """
import json, signal, sys, time
from pathlib import Path
tries = Path(sys.argv[1])
count = len(tries.read_text()) if tries.exists() else 0
if count == 0:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(130))
    tries.write_text("x")
    time.sleep(120)
tries.write_text("xx")
print(json.dumps({"tries": 2}))
"""


def test_a_job_with_a_gpu_is_told_before_its_time_ends_and_queued_again(tmp_path):
    runner = slurm.SlurmRunner(tmp_path / "out")
    assert runner.nodes()[0].gpus == 2
    job = Job(TRAIN, "job", (sys.executable, "-c", SAVES, str(tmp_path / "tries")), (), 1.0, 1, tmp_path)
    handle = runner.start(job, Grant(Resources(1, 0.5), 1, gpus=(0,)))
    runner.flush()
    wait_until((tmp_path / "tries").exists)
    ((number, state, devices),) = queue("%A", "%T", "%b")
    assert state == "RUNNING" and devices.endswith("gpu:1")
    # What --signal=B:TERM@120 does two minutes before the end.
    subprocess.run(["scancel", "--batch", "--signal=TERM", number], check=True)
    result = wait_until(lambda: runner.result(handle))
    assert result.result == {"tries": 2}


def test_jobs_that_are_stopped_leave_the_queue_and_do_not_come_back(tmp_path):
    runner = slurm.SlurmRunner(tmp_path / "out")
    code = SAVES.replace("time.sleep(120)", "time.sleep(120); raise SystemExit(1)")
    job = Job(TRAIN, "job", (sys.executable, "-c", code, str(tmp_path / "tries")), (), 1.0, 1, tmp_path)
    handle = runner.start(job, Grant(Resources(), 1))
    runner.flush()
    wait_until((tmp_path / "tries").exists)
    runner.stop([handle])
    assert queue("%j") == [] and handle.files.ended() is None and (tmp_path / "tries").read_text() == "x"


def test_two_processes_of_a_recipe_save_together_and_go_on(tmp_path):
    """launch/slurm_node.sh with the CPU's twin of its launch file, told to end in the middle of a training."""
    sys.path[:0] = [str(ROOT / "tests" / name) for name in ("engine", "data")]
    import synthetic
    import tiny

    run = tiny.run_of(tiny.write_data(tmp_path / "toy.hdf5"), {"optim": {"steps": 400}})
    (tmp_path / "policy.yaml").write_text(yaml.safe_dump(run.policy.model_dump(mode="json")))
    (tmp_path / "task.yaml").write_text(yaml.safe_dump(synthetic.TASK.model_dump(mode="json")))
    out = tmp_path / "run"
    options = {"policy": "policy.yaml", "task": "task.yaml", "data": "toy.hdf5", "out": "run"}
    words = [word for name, file in options.items() for word in (f"--{name}", str(tmp_path / file))]
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "CONFIG": str(ROOT / "launch" / "cpu_ddp.yaml"),
        "CUDA_VISIBLE_DEVICES": "",
        "ROBO_ORL_CACHE": str(tmp_path / "cache"),
    }
    log = tmp_path / "slurm.out"
    command = ["sbatch", "--parsable", "--gpus-per-node=2", "--cpus-per-task=2", f"--output={log}"]
    command += [str(ROOT / "launch" / "slurm_node.sh"), *words, "--tracker", "none"]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    number = done.stdout.strip()
    wait_until(lambda: (out / "metrics.jsonl").exists() and (out / "metrics.jsonl").read_text().count("\n") > 2)
    subprocess.run(["scancel", "--batch", "--signal=TERM", number], check=True)
    wait_until(lambda: list((out / "checkpoints").glob("step_*")))
    saved = int(next((out / "checkpoints").glob("step_*")).name.removeprefix("step_"))
    assert 0 < saved < 400, log.read_text()  # none was due before the end
    wait_until(lambda: (out / "train.json").exists())
    assert json.loads((out / "train.json").read_text())["steps"] == 400
    assert json.loads((out / "engine.json").read_text())["processes"] == 2
    assert f"goes on from step_{saved:08d}" in log.read_text()
