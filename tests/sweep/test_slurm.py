"""A suite through SLURM's array script, under commands that stand in for SLURM's own."""

import json
import os
import signal
import sys
import time
from pathlib import Path

import pytest

from robo_orl.base.errors import RunError, UsageError
from robo_orl.results.verify import verify
from robo_orl.sweep.bench import bench
from robo_orl.sweep.job import TRAIN, Job
from robo_orl.sweep.resources import Grant, Resources
from robo_orl.sweep.runners import slurm
from robo_orl.sweep.runners.choice import Machines

ROOT = Path(__file__).parents[2]
FAKE = Path(__file__).parent / "fake_slurm.py"
GROUP = {"tasks": ["toy"], "regimes": ["mg"], "policies": ["flow", "critic"]}


@pytest.fixture
def queue(tmp_path, monkeypatch):
    """SLURM's commands; returns a function that gives the calls of one of them."""
    commands, state = tmp_path / "bin", tmp_path / "slurm"
    commands.mkdir()
    state.mkdir()
    (commands / "py").mkdir()
    for name in slurm.COMMANDS:
        (commands / "py" / name).symlink_to(FAKE)
        (commands / name).write_text(f'#!/bin/bash\nexec {sys.executable} {commands}/py/{name} "$@"\n')
        (commands / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{commands}:{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("FAKE_SLURM", str(state))
    monkeypatch.setattr(slurm, "QUEUE_S", 0.2)
    monkeypatch.setattr(slurm, "GRACE_S", 1.0)

    def calls(name):
        lines = (state / "calls").read_text().splitlines() if (state / "calls").exists() else []
        return [words[1:] for words in map(json.loads, lines) if words[0] == name]

    calls.state = state
    return calls


def test_a_suite_through_the_array_script_becomes_verified_records(presets, fakes, queue, tmp_path):
    suite, out = presets(groups=[GROUP]), tmp_path / "out"
    summary = bench(suite, out, progress=False, machines=Machines("slurm", slurm="--partition=short"))
    assert (summary.done, summary.failed) == (2, [])
    assert fakes.kinds() == ["data", "eval", "eval", "train", "train", "value-error"]
    assert verify(out).faults == {}
    arrays = queue("sbatch")
    # Both trainings are lines of one array; the options of the site come after ours.
    sizes = [next(word for word in words if word.startswith("--array=")) for words in arrays]
    assert sizes[:2] == ["--array=0-0", "--array=0-1"]
    assert all(words.index("--partition=short") > words.index("--nodes=1") for words in arrays)
    lines = [json.loads(line) for path in (out / "slurm").glob("*.jsonl") for line in path.read_text().splitlines()]
    assert sum(line["command"][2] == "train" for line in lines) == 2
    assert bench(suite, out, progress=False, machines=Machines("slurm")).computed == 0 and queue("sbatch") == arrays


# Its first try waits to be told to end, as a training does that saves a checkpoint; the second one ends.
TOLD = """
import json, signal, sys, time
from pathlib import Path
tries = Path(sys.argv[1])
tries.write_text(tries.read_text() + "x" if tries.exists() else "x")
if len(tries.read_text()) == 1:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(130))
    time.sleep(60)
print(json.dumps({"tries": len(tries.read_text())}))
"""


def job_of(tmp_path, key="job", code=TOLD):
    command = (sys.executable, "-c", code, str(tmp_path / f"{key}.tries"))
    return Job(TRAIN, key, command, (), 1.0, 1, tmp_path)


def started(runner, job):
    handle = runner.start(job, Grant(Resources(), 1))
    runner.flush()
    return handle


def wait_until(condition, seconds=60.0):
    until = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < until, "nothing happened"
        time.sleep(0.05)
    return value


def running_script(queue):
    """The number of the batch script of the only task, once it runs."""
    return json.loads(next(queue.state.glob("*.task")).read_text())["pid"]


def test_a_job_that_the_scheduler_ends_is_queued_again_and_goes_on(queue, tmp_path):
    runner = slurm.SlurmRunner(tmp_path / "out")
    handle = started(runner, job_of(tmp_path))
    wait_until(lambda: (tmp_path / "job.tries").exists() and handle.files.where())
    time.sleep(0.5)  # until the first try listens
    os.kill(running_script(queue), signal.SIGTERM)  # as --signal=B:TERM@120 does
    assert wait_until(lambda: runner.result(handle)).result == {"tries": 2}
    assert queue("scontrol") == [["requeue", "1_0"]]


def test_a_bench_that_is_started_again_finds_its_jobs_in_the_queue(queue, tmp_path):
    first = slurm.SlurmRunner(tmp_path / "out")
    job = job_of(tmp_path, code="import time; time.sleep(3); print('{\"k\": 1}')")
    started(first, job)
    second = slurm.SlurmRunner(tmp_path / "out")  # the first one is gone without a word
    handle = started(second, job)
    assert len(queue("sbatch")) == 1
    assert wait_until(lambda: second.result(handle)).result == {"k": 1}


def test_a_bench_that_is_told_to_end_takes_its_jobs_out_of_the_queue(queue, tmp_path):
    runner = slurm.SlurmRunner(tmp_path / "out")
    handle = started(runner, job_of(tmp_path))
    wait_until(lambda: (tmp_path / "job.tries").exists() and handle.files.where())
    time.sleep(0.5)
    runner.stop([handle])
    assert not list(queue.state.glob("*.task")) and queue("scontrol") == []
    assert (tmp_path / "job.tries").read_text() == "x" and handle.files.ended() is None


def test_a_job_that_the_queue_lost_fails_with_a_sentence(queue, tmp_path):
    runner = slurm.SlurmRunner(tmp_path / "out")
    handle = started(runner, job_of(tmp_path))
    wait_until(lambda: handle.files.where())
    task = next(queue.state.glob("*.task"))
    script = running_script(queue)
    task.unlink()
    os.killpg(os.getpgid(script), signal.SIGKILL)
    reason = wait_until(lambda: runner.result(handle)).reason
    assert reason.startswith("SLURM ended it without a result") and "its log is" in reason


def test_a_share_of_a_gpu_is_a_gpu_and_a_machine_is_a_machine():
    share = Grant(Resources(1, 0.5, 3 * slurm.MIB), 1, gpus=(0,))
    assert slurm._resources(share) == ["--nodes=1", "--ntasks=1", "--cpus-per-task=1", "--mem=3M", "--gres=gpu:1"]
    assert slurm._resources(Grant(Resources(whole=True), 8)) == ["--nodes=1", "--ntasks=1", "--exclusive", "--mem=0"]
    assert slurm._gpus("gpu:a100:8(S:0-1),shard:64") == 8 and slurm._gpus("(null)") == 0
    eight = Grant(Resources(8, 8.0), 8, gpus=tuple(range(8)))
    assert "--gres=gpu:8" in slurm._resources(eight)


def test_without_slurm_and_with_a_refusal_there_is_one_sentence(queue, tmp_path, monkeypatch):
    refused = tmp_path / "bin" / "sbatch"
    refused.write_text("#!/bin/bash\necho 'sbatch: error: Invalid partition' >&2\nexit 1\n")
    with pytest.raises(RunError, match="SLURM refused `sbatch .*: sbatch: error: Invalid partition"):
        started(slurm.SlurmRunner(tmp_path / "out"), job_of(tmp_path))
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(RunError, match="--runner slurm needs SLURM's sbatch, which is not here"):
        slurm.SlurmRunner(tmp_path / "out")


def test_options_that_mean_nothing_to_a_runner_are_refused(presets, tmp_path):
    suite = presets(groups=[GROUP])
    for machines, said in (
        (Machines("slrum"), "Unknown runner 'slrum'.*slurm"),
        (Machines(address="auto"), "--address is that of a Ray cluster"),
        (Machines(slurm="--mem=1G"), "--slurm holds options of sbatch"),
        (Machines("ray", workers=2), "--workers counts cores of this machine"),
    ):
        with pytest.raises(UsageError, match=said):
            bench(suite, tmp_path / "out", progress=False, machines=machines)
