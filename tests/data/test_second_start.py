"""The second start on a large file reads what it trains on and nothing else: the file itself is not read again."""

import json
import os
import subprocess
import sys
import time

import foreign
import h5py
import pytest

from robo_orl.data.cache import SETTLED_S

UNREAD_BYTES = 128 * 2**20
START = """
import json, sys
from pathlib import Path
from robo_orl.config import RunConfig
from robo_orl.config.presets import load_policy, load_task
from robo_orl.engine.task_data import make_windows, open_data

def bytes_read():
    lines = Path("/proc/self/io").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("rchar")).split()[1])

run = RunConfig(policy=load_policy("iql"), task=load_task("lift"), data=sys.argv[1])
before = bytes_read()
windows = make_windows(run, open_data(run))
windows.batch(0, 0, 0, 1, 8)
print(json.dumps({"read": bytes_read() - before, "file": Path(sys.argv[1]).stat().st_size}))"""


@pytest.fixture
def large_file(tmp_path):
    """A small file of lift with a depth picture that no policy reads: bytes that are there and were never written."""
    path = foreign.lift_file(tmp_path / "large.hdf5")
    creation = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    creation.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    creation.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    with h5py.File(path, "r+") as file:
        obs = file["data/demo_0/obs"]
        frames = len(file["data/demo_0/actions"])
        space = h5py.h5s.create_simple((frames, UNREAD_BYTES // frames))
        h5py.h5d.create(obs.id, b"agentview_depth", h5py.h5t.NATIVE_UINT8, space, creation)
    return path


def started(path, cache):
    done = subprocess.run(
        [sys.executable, "-c", START, str(path)],
        env=os.environ | {"ROBO_ORL_CACHE": str(cache)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.skipif(not os.path.exists("/proc/self/io"), reason="the kernel does not count what a process reads")
def test_the_second_start_reads_less_than_a_megabyte(large_file, tmp_path):
    time.sleep(SETTLED_S)  # a file that has just changed is hashed at the next start too
    first, second = (started(large_file, tmp_path / "cache") for _ in range(2))
    assert first["file"] > UNREAD_BYTES and first["read"] > first["file"]
    assert second["read"] < 2**20
