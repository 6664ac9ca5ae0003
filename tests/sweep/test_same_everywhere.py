"""The same suite on this machine, through SLURM's script and on Ray: counts, episodes and weights equal to the byte."""

import hashlib
import json
import os

import pytest
import yaml
from test_ray import start_cluster  # noqa: F401
from test_slurm import queue  # noqa: F401

from robo_orl.results.store import read_cells
from robo_orl.sweep.bench import bench
from robo_orl.sweep.runners.choice import Machines

CELLS = int(os.environ.get("ROBO_ORL_TEST_CELLS", "2"))  # trainings of other seeds, for a longer look
SUITE = {
    "groups": [
        {
            "tasks": ["lift"],
            "regimes": ["mg"],
            "policies": ["bc", "qc"],
            "sizes": ["tiny"],
            "seeds": list(range(max(1, CELLS // 2))),
        }
    ],
    "data": {"episodes": 2},
    "evaluation": {"episodes": 2},
    "set": {"optim": {"steps": 6, "batch_size": 16}},
    "value_error": False,
}
pytestmark = [pytest.mark.slow, pytest.mark.timeout(3000)]
TIMES = {"wall_s", "restarts"}


def told(out):
    """Of every cell the record without times and origin, the rows without times, and the hash of its weights."""
    cells = {}
    for record, rows in read_cells(out):
        values = record.model_dump(mode="json", include={"cell", "data", "evaluation"})
        evaluation = {k: v for k, v in values["evaluation"].items() if k not in TIMES | {"episodes_sha256"}}
        own = [row.model_dump(mode="json", exclude=TIMES) for row in rows]
        runs = [path for path in (out / "runs").iterdir() if record.train.run[:10] in path.name]
        weights = sorted((runs[0] / "checkpoints").iterdir())[-1] / "agent.safetensors"
        digest = hashlib.sha256(weights.read_bytes()).hexdigest()
        cells[values["cell"]] = json.dumps([values["data"], evaluation, own, digest], sort_keys=True)
    return cells


@pytest.fixture
def suite(tmp_path, monkeypatch):
    pytest.importorskip("robosuite", reason="robosuite is not installed")
    monkeypatch.delenv("ROBO_ORL_PRESETS")
    monkeypatch.setenv("ROBO_ORL_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(SUITE))
    return str(path)


@pytest.fixture
def local(suite, tmp_path):
    summary = bench(suite, tmp_path / "local", progress=False)
    assert summary.failed == [] and summary.done == 2 * max(1, CELLS // 2)
    return told(tmp_path / "local")


def test_through_the_script_of_slurm(suite, local, queue, tmp_path):  # noqa: F811
    assert bench(suite, tmp_path / "slurm", progress=False, machines=Machines("slurm")).failed == []
    assert told(tmp_path / "slurm") == local


def test_on_ray_with_a_machine_that_is_lost(suite, local, start_cluster, tmp_path):  # noqa: F811
    import threading
    import time

    cluster = start_cluster()
    out = tmp_path / "ray"

    def lose():
        while not list((out / "runs").glob("*/metrics.jsonl")):  # in the middle of the first trainings
            time.sleep(0.1)
        cluster.remove_node(cluster.second, allow_graceful=False)

    thread = threading.Thread(target=lose)
    thread.start()
    summary = bench(suite, out, progress=False, machines=Machines("ray", address=cluster.address))
    thread.join()
    assert summary.failed == [] and told(out) == local
