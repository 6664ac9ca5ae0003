"""Processes that do not come, and processes that are killed, are one sentence with the remedy."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import tiny

from robo_orl.base.errors import RunError
from robo_orl.engine import process_group as module
from robo_orl.engine.launch import Launch
from robo_orl.engine.process_group import describe_lost_process, meet

ROOT = Path(__file__).parents[2]
STALE = "left over from another job, unset them"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


@pytest.fixture
def address(monkeypatch):
    """A complete set of launch variables, and a limit of a second."""
    monkeypatch.setattr(module, "MEETING_S", 1.0)
    monkeypatch.setattr(module, "AGENT_MEETING_S", 1.0)
    values = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": "2"}
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("agent", ["True", "False"])
def test_a_left_over_set_of_launch_variables_is_a_sentence_within_the_limit(address, rank, agent):
    address.setenv("RANK", str(rank))
    address.setenv("TORCHELASTIC_USE_AGENT_STORE", agent)
    began = time.monotonic()
    with pytest.raises(RunError, match=f"Process {rank} of 2 did not meet the others at 127.0.0.1:.* within 1 s") as e:
        meet(Launch(world=2, rank=rank, started=True))
    assert STALE in str(e.value) and time.monotonic() - began < 15


def test_one_process_meets_nobody():
    assert meet(Launch()) is None


def test_other_errors_stay_what_they_are():
    with pytest.raises(RuntimeError, match="shapes"), describe_lost_process(list):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")


def test_a_killed_process_is_a_sentence_in_the_other(tmp_path):
    """Two processes without a launcher that would end the second one with a signal."""
    tiny.write_data(tmp_path / "toy.hdf5")
    jobs = [{"name": "bc", "policy": {"optim": {"steps": 100000}}, "run": {"checkpoint_every": 5}}]
    (tmp_path / "jobs.json").write_text(json.dumps(jobs))
    shared = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    shared |= {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "ACCELERATE_USE_CPU": "true"}
    command = [sys.executable, str(Path(__file__).with_name("engine_job.py")), str(tmp_path)]
    first, second = (
        subprocess.Popen(command, cwd=ROOT, env=os.environ | shared | {"RANK": rank, "LOCAL_RANK": rank})
        for rank in ("0", "1")
    )
    try:
        end = time.monotonic() + 120
        while not list((tmp_path / "bc" / "checkpoints").glob("step_*")):
            assert time.monotonic() < end and first.poll() is None and second.poll() is None
            time.sleep(0.05)
        second.send_signal(signal.SIGKILL)
        first.wait(timeout=30)
    finally:
        for process in (first, second):
            process.kill()
            process.wait()
    error = json.loads((tmp_path / "outcome.json").read_text())["bc"]["error"]
    assert error.startswith("Another process of this training has ended") and "goes on from step_" in error
