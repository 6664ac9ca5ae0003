"""A process that stands still ends the job within a limit, in a sentence that names it; its checkpoint stays."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import pytest
import tiny
import torch.distributed as dist

from robo_orl.engine.launch import Launch
from robo_orl.engine.process_group import Heartbeat

ROOT = Path(__file__).parents[2]
JOB = """
import runpy, sys
from robo_orl.engine import process_group
process_group.BEAT_S, process_group.LIMIT_S = 0.5, 10.0
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")"""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


@pytest.fixture
def training(tmp_path):
    """Two processes of a training without a launcher, which have saved a checkpoint; ended afterwards."""
    tiny.write_data(tmp_path / "toy.hdf5")
    jobs = [{"name": "bc", "policy": {"optim": {"steps": 100000}}, "run": {"checkpoint_every": 5}}]
    (tmp_path / "jobs.json").write_text(json.dumps(jobs))
    shared = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    shared |= {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "ACCELERATE_USE_CPU": "true"}
    shared |= {"PYTHONPATH": os.pathsep.join((str(ROOT), *filter(None, sys.path)))}
    command = [sys.executable, "-c", JOB, str(Path(__file__).with_name("engine_job.py")), str(tmp_path)]
    processes = [
        subprocess.Popen(command, env=os.environ | shared | {"RANK": r, "LOCAL_RANK": r}, stderr=subprocess.PIPE)
        for r in ("0", "1")
    ]
    try:
        end = time.monotonic() + 120
        while not list((tmp_path / "bc" / "checkpoints").glob("step_*")):
            assert time.monotonic() < end and all(process.poll() is None for process in processes)
            time.sleep(0.05)
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.wait()


def test_a_stopped_process_ends_the_others_with_a_sentence_that_names_it(training, tmp_path):
    other, stopped = training
    stopped.send_signal(signal.SIGSTOP)
    _, said = other.communicate(timeout=120)
    assert other.returncode == 1, said
    named = (
        rf"robo-orl: Process 1 of 2 \({stopped.pid} on .* no sign of life for 10 s.*goes on from the newest checkpoint"
    )
    assert re.search(named, said.decode()), said
    assert list((tmp_path / "bc" / "checkpoints").glob("step_*"))


OWNER = """
import time, torch.distributed as dist
store = dist.TCPStore("127.0.0.1", 0, 2, is_master=True, wait_for_workers=False)
store.set("robo_orl/heartbeat/0", "1 of the owner")
print(store.port, flush=True); time.sleep(600)"""


def test_a_stopped_owner_of_the_meeting_point_is_named_too():
    """Rank 0 or the launcher: its store does not answer any more, whatever limit the client has."""
    owner, lost = subprocess.Popen([sys.executable, "-c", OWNER], stdout=subprocess.PIPE, text=True), []
    try:
        store = dist.TCPStore("127.0.0.1", int(owner.stdout.readline()), 2, timeout=timedelta(seconds=60))
        heartbeat = Heartbeat(store, Launch(world=2, rank=1, started=True), lost.append, 0.05, 1.0)
        heartbeat.start()
        while not heartbeat._sign:
            time.sleep(0.01)
        owner.send_signal(signal.SIGSTOP)
        heartbeat.join(timeout=60)
    finally:
        owner.kill()
        owner.wait()
    assert len(lost) == 1 and lost[0].startswith("Process 0 of 2 or its launcher, which keeps the meeting point"), lost


def two_ranks(on_loss, beat_s=0.05, limit_s=0.5):
    store = dist.TCPStore("127.0.0.1", 0, 2, is_master=True, wait_for_workers=False, timeout=timedelta(seconds=20))
    other = dist.TCPStore("127.0.0.1", store.port, 2, is_master=False, timeout=timedelta(seconds=20))
    return [
        Heartbeat(own, Launch(world=2, rank=rank, started=True), on_loss, beat_s, limit_s)
        for rank, own in enumerate((store, other))
    ]


def test_a_process_that_ends_in_order_is_not_missed():
    lost = []
    first, second = two_ranks(lost.append)
    first.start(), second.start()
    time.sleep(0.3)
    second.end()
    first.join(timeout=10)
    assert not first.is_alive() and lost == []
    first.end()


def test_a_process_that_is_silent_is_named_once_with_its_number():
    lost = []
    first, second = two_ranks(lost.append)
    second._signs.set("1", "7 4711 on elsewhere")
    first.start()
    first.join(timeout=20)
    assert len(lost) == 1 and lost[0].startswith("Process 1 of 2 (4711 on elsewhere) has given no sign of life"), lost
