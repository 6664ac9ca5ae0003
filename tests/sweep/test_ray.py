"""A suite on a Ray cluster of two nodes on this machine, one of which is killed in the middle.

Where Ray is not installed these are skipped; tests/sweep/test_work.py holds without it what they rest on.
"""

import signal
import socket
import sys
import threading
import time
from pathlib import Path

import pytest
from interruptible import start_interruptible

from robo_orl.base.errors import RunError
from robo_orl.results.verify import verify
from robo_orl.sweep.bench import bench
from robo_orl.sweep.job import TRAIN, Job
from robo_orl.sweep.resources import Grant, Resources
from robo_orl.sweep.runners.choice import Machines

ROOT = Path(__file__).parents[2]
GROUP = {"tasks": ["toy"], "regimes": ["mg"], "policies": ["flow", "bc", "critic"]}


def test_without_ray_there_is_one_sentence(presets, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(RunError, match="needs Ray .*pip install 'robo-orl\\[ray\\]'"):
        bench(presets(groups=[GROUP]), tmp_path / "out", progress=False, machines=Machines("ray"))


def test_an_address_where_nobody_answers_is_one_sentence(presets, tmp_path):
    pytest.importorskip("ray", reason="Ray is not installed")
    with socket.socket() as taken:  # bound, and nobody listens
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(RunError, match="No Ray cluster answers at --address 127.0.0.1.*start one with `ray start"):
            bench(presets(groups=[GROUP]), tmp_path / "out", progress=False, machines=Machines("ray", address=address))


def test_another_version_is_one_sentence(monkeypatch):
    ray = pytest.importorskip("ray", reason="Ray is not installed")
    from robo_orl.sweep.runners import ray_core

    def refuses(**_):
        raise RuntimeError("Version mismatch: The cluster was started with:\n    Ray: 1.0.0\n    Python: 3.9.0")

    monkeypatch.setattr(ray, "init", refuses)
    with pytest.raises(RunError, match="another Ray or Python than this machine, which has Ray .*Ray: 1.0.0"):
        ray_core._connect("auto")


@pytest.fixture
def start_cluster(monkeypatch):
    """A function: two machines of one core each, whose jobs have the environment of now."""
    pytest.importorskip("ray", reason="Ray is not installed")
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    started = []

    def start():
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
        started.append(cluster)
        cluster.second = cluster.add_node(num_cpus=1)
        return cluster

    yield start
    for cluster in started:
        cluster.shutdown()


def wait_until(condition, seconds=120.0):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "nothing happened"
        time.sleep(0.05)


def completed(calls):
    """The jobs that came to their end, by their kind and what they write."""
    return sorted(" ".join(call["command"][:3]) + call["command"][-2] for call in calls if call["kind"] == "completed")


@pytest.mark.slow
def test_a_node_that_is_killed_in_the_middle_loses_nothing_and_nothing_is_done_twice(
    presets, fakes, start_cluster, tmp_path
):
    fakes(sleep=2.0, completes=True)
    suite, out, cluster = presets(groups=[GROUP]), tmp_path / "out", start_cluster()

    def kill():
        wait_until(lambda: sum(call["kind"] == "train" for call in fakes.calls()) >= 2)
        cluster.remove_node(cluster.second, allow_graceful=False)

    killer = threading.Thread(target=kill)
    killer.start()
    summary = bench(suite, out, progress=False, machines=Machines("ray", address=cluster.address))
    killer.join()
    assert (summary.done, summary.failed) == (3, [])
    done = completed(fakes.calls())
    assert len(done) == len(set(done)) == 8  # data, three trainings and evaluations, a value error: each once
    assert len([call for call in fakes.calls() if call["kind"] != "completed"]) >= 9  # the lost one began twice
    assert verify(out).faults == {}


@pytest.mark.slow
def test_a_bench_that_is_killed_is_started_again_and_does_nothing_twice(presets, fakes, start_cluster, tmp_path):
    fakes(sleep=1.0, completes=True)
    suite, out, cluster = presets(groups=[GROUP]), tmp_path / "out", start_cluster()
    folder = str(Path(__file__).parent)
    code = (
        "import sys; from pathlib import Path; from robo_orl.sweep import bench, jobs\n"
        "from robo_orl.sweep.runners.choice import Machines\n"
        f"jobs.ROBO_ORL = (sys.executable, {folder + '/fake_robo_orl.py'!r}); sys.path.insert(0, {folder!r})\n"
        "import conftest; bench.describe_data = conftest.describe_fake_data\n"
        f"bench.bench({suite!r}, Path({str(out)!r}), progress=False, "
        f"machines=Machines('ray', address={cluster.address!r}))\n"
    )
    driver = start_interruptible([sys.executable, "-c", code])
    wait_until(lambda: len(completed(fakes.calls())) >= 2)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    before = completed(fakes.calls())
    summary = bench(suite, out, progress=False, machines=Machines("ray", address=cluster.address))
    done = completed(fakes.calls())
    assert summary.done == 3 and len(done) == len(set(done)) == 8 and set(before) <= set(done)
    assert verify(out).faults == {}


@pytest.mark.slow
def test_a_job_that_the_bench_stops_is_told_to_end(start_cluster, tmp_path):
    from robo_orl.sweep.runners.ray_core import RayRunner

    code = (
        "import signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: (open(sys.argv[1], 'w').write('saved'), "
        "sys.exit(130))); open(sys.argv[1] + '.began', 'w').write('x'); time.sleep(60)"
    )
    runner = RayRunner(tmp_path / "logs", start_cluster().address)
    try:
        job = Job(TRAIN, "job", (sys.executable, "-c", code, str(tmp_path / "file")), (), 1.0, 1, tmp_path)
        assert sorted(node.cores for node in runner.nodes()) == [1, 1]
        task = runner.start(job, Grant(Resources(), 1))
        wait_until(lambda: (tmp_path / "file.began").exists())
        assert runner.where(task).startswith(socket.gethostname()) and runner.result(task) is None
        runner.stop([task])
        assert (tmp_path / "file").read_text() == "saved" and task.files.ended() is None
    finally:
        runner.close()
