"""The same suite on this machine, through SLURM's script and on Ray: counts, episodes and weights equal to the byte.

ROBO_ORL_TEST_CELLS=20 takes as many cells; docs/howto/cluster.md has the outcome.
"""

import hashlib
import json
import os
import threading
import time
from pathlib import Path

import pytest
import real_slurm
import yaml
from test_ray import start_cluster  # noqa: F401
from test_slurm import queue  # noqa: F401

from robo_orl.results.store import read_cells
from robo_orl.results.verify import verify
from robo_orl.sweep.bench import bench
from robo_orl.sweep.runners import slurm
from robo_orl.sweep.runners.choice import Machines

ROOT = Path(__file__).parents[2]
CELLS = int(os.environ.get("ROBO_ORL_TEST_CELLS", "2"))  # 20: five seeds of all four, for a longer look
POLICIES = ["bc+flow", "qc", "bc+flow+zero_noise", "qc+half_noise"][:CELLS]  # two trainings, each decoded twice
SEEDS = list(range(max(1, CELLS // len(POLICIES))))
SUITE = {
    "groups": [
        {
            "tasks": ["lift"],
            "regimes": ["mg"],
            "policies": POLICIES,
            "sizes": ["tiny"],
            "seeds": SEEDS,
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


def same(out, summary, local):
    """Whether a bench that ended in `out` did what the local one did, and its records verify."""
    return summary.failed == [] and told(out) == local and verify(out).faults == {}


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """The folder of the suite, of its local run and of what the runs share."""
    return tmp_path_factory.mktemp("same")


@pytest.fixture(scope="module")
def suite(shared):
    pytest.importorskip("robosuite", reason="robosuite is not installed")
    path = shared / "tiny.yaml"
    path.write_text(yaml.safe_dump(SUITE))
    return str(path)


@pytest.fixture(scope="module")
def local(suite, shared):
    """What this machine alone gives."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("ROBO_ORL_PRESETS", raising=False)
        patch.setenv("ROBO_ORL_CACHE", str(shared / "cache"))
        summary = bench(suite, shared / "local", progress=False)
    assert summary.failed == [] and summary.done == len(POLICIES) * len(SEEDS)
    return told(shared / "local")


@pytest.fixture(autouse=True)
def variables(shared, presets, monkeypatch):
    """Without the small presets of other tests; jobs find the package and the cache."""
    monkeypatch.delenv("ROBO_ORL_PRESETS")
    monkeypatch.setenv("ROBO_ORL_CACHE", str(shared / "cache"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


def test_through_the_script_of_slurm(suite, local, queue, tmp_path):  # noqa: F811
    out = tmp_path / "slurm"
    assert same(out, bench(suite, out, progress=False, machines=Machines("slurm")), local)


@pytest.mark.skipif(bool(real_slurm.why_not()), reason=real_slurm.why_not() or "it can be started")
def test_on_a_real_slurm_of_two_machines(suite, local, tmp_path, monkeypatch):
    out, folder = tmp_path / "slurm", tmp_path / "daemons"
    folder.mkdir()
    with real_slurm.slurm(folder, machines=2) as environment:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(slurm, "QUEUE_S", 1.0)
        summary = bench(suite, out, progress=False, machines=Machines("slurm"))
    assert same(out, summary, local)


def test_on_ray_with_a_machine_that_is_lost(suite, local, start_cluster, tmp_path):  # noqa: F811
    cluster, out = start_cluster(), tmp_path / "ray"

    def lose():
        while not list((out / "runs").glob("*/metrics.jsonl")):  # in the middle of the first trainings
            time.sleep(0.1)
        cluster.remove_node(cluster.second, allow_graceful=False)

    thread = threading.Thread(target=lose)
    thread.start()
    summary = bench(suite, out, progress=False, machines=Machines("ray", address=cluster.address))
    thread.join()
    assert same(out, summary, local)
