"""launch/slurm_nodes.sh on two nodes: two network namespaces, each with a launcher of its own, train one policy."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import synthetic
import tiny
import torch
import yaml
from safetensors.torch import load_file

from robo_orl.engine.checkpoint import checkpoints
from robo_orl.engine.train import train

ROOT = Path(__file__).parents[2]
HOSTS = ("10.213.7.1", "10.213.7.2")
NODES = ("robo_orl_node0", "robo_orl_node1")
PORTS = ("robo_orl_p0", "robo_orl_p1")
POLICY = {"optim": {"steps": 3}}
pytestmark = pytest.mark.slow


def ip(*words: str, check: bool = True) -> int:
    return subprocess.run(["ip", *words], check=check, capture_output=True).returncode


@pytest.fixture
def network():
    """Two network namespaces with a cable between them."""
    if os.getuid() != 0 or shutil.which("ip") is None or ip("netns", "add", NODES[0], check=False) != 0:
        pytest.skip("needs the right to make network namespaces")
    try:
        ip("netns", "add", NODES[1])
        ip("link", "add", PORTS[0], "type", "veth", "peer", "name", PORTS[1])
        for node, port, host in zip(NODES, PORTS, HOSTS, strict=True):
            ip("link", "set", port, "netns", node)
            ip("-n", node, "addr", "add", f"{host}/24", "dev", port)
            ip("-n", node, "link", "set", port, "up")
            ip("-n", node, "link", "set", "lo", "up")
        yield
    finally:
        for node in NODES:
            ip("netns", "del", node, check=False)


@pytest.fixture
def launched(network, tmp_path):
    """A function that runs the recipe with a launch file on both nodes; returns the two ended processes."""
    for name, body in {"srun": 'exec "$@"', "scontrol": f"printf '{HOSTS[0]}\\n{HOSTS[1]}\\n'"}.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{body}\n")
        (tmp_path / name).chmod(0o755)
    (tmp_path / "task.yaml").write_text(yaml.safe_dump(synthetic.TASK.model_dump(mode="json")))
    run = tiny.run_of(tiny.write_data(tmp_path / "toy.hdf5"), POLICY)
    (tmp_path / "policy.yaml").write_text(yaml.safe_dump(run.policy.model_dump(mode="json")))
    path = f"{tmp_path}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    common = {"PATH": path, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": "", "SLURM_NNODES": "2"}
    common |= {"SLURM_GPUS_ON_NODE": "1", "SLURM_STEP_NUM_TASKS": "2", "SLURM_JOB_NODELIST": "node-[0-1]"}
    options = {"policy": "policy.yaml", "task": "task.yaml", "data": "toy.hdf5", "out": "run"}
    words = [word for name, file in options.items() for word in (f"--{name}", str(tmp_path / file))]

    def start(rank: int, config: Path) -> subprocess.Popen:
        """One node; its folder is the test's own, where DeepSpeed's launcher writes a file of the environment."""
        own = {"SLURM_NODEID": str(rank), "GLOO_SOCKET_IFNAME": PORTS[rank], "CONFIG": str(config)}
        command = [
            "ip",
            "netns",
            "exec",
            NODES[rank],
            "bash",
            str(ROOT / "launch" / "slurm_nodes.sh"),
            *words,
            "--tracker",
            "none",
        ]
        return subprocess.Popen(
            command,
            cwd=tmp_path,
            env=os.environ | common | own,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def launch(config: Path) -> list[tuple[int, str]]:
        processes = [start(rank, config) for rank in (0, 1)]
        outputs = [process.communicate(timeout=240)[0] for process in processes]
        return [(process.returncode, output) for process, output in zip(processes, outputs, strict=True)]

    return launch


def test_two_launchers_train_one_policy(launched, tmp_path):
    ended = launched(ROOT / "launch" / "cpu_zero2.yaml")
    assert [code for code, _ in ended] == [0, 0], ended
    engine = json.loads((tmp_path / "run" / "engine.json").read_text())
    assert (engine["engine"], engine["processes"], engine["zero_stage"]) == ("deepspeed", 2, 2)
    train(tiny.run_of(tmp_path / "toy.hdf5", POLICY), tmp_path / "alone", progress=False)
    ours, alone = (load_file(checkpoints(tmp_path / name)[-1] / "agent.safetensors") for name in ("run", "alone"))
    assert all(torch.allclose(ours[name], alone[name], atol=1e-5) for name in alone)


def test_launchers_that_would_train_apart_are_refused(launched, tmp_path):
    """DeepSpeed's own launcher, accelerate's default, uses the machine that it is on and no other."""
    launch_file = yaml.safe_load((ROOT / "launch" / "cpu_zero2.yaml").read_text())
    del launch_file["deepspeed_config"]["deepspeed_multinode_launcher"]
    (tmp_path / "default.yaml").write_text(yaml.safe_dump(launch_file))
    ended = launched(tmp_path / "default.yaml")
    assert all(code != 0 for code, _ in ended) and not (tmp_path / "run" / "train.json").exists()
    assert any("SLURM started 2 tasks" in output for _, output in ended), ended
