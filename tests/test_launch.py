"""The launch recipes are read as their readers read them, and agree with what `profile` assumes."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from robo_orl.cost.parallelism import Layout

LAUNCH = Path(__file__).parents[1] / "launch"
SLURM = sorted(LAUNCH.glob("slurm_*.sh"))
RAY = sorted(LAUNCH.glob("ray/*.yaml"))
ACCELERATE = sorted(LAUNCH.glob("*.yaml"))


def assumed(text: str) -> dict[str, int]:
    """--world and --zero of the `profile` line in a recipe's comment."""
    line = next(line for line in text.splitlines() if "robo-orl profile" in line)
    return {name: int(value) for name, value in re.findall(r"--(world|zero) (\d+)", line)}


@pytest.mark.parametrize("path", SLURM, ids=lambda path: path.stem)
def test_a_slurm_recipe_starts_what_profile_assumes(path):
    text = path.read_text()
    asked = dict(re.findall(r"^#SBATCH --([a-z-]+)=(\S+)", text, flags=re.MULTILINE))
    gpus = int(asked["nodes"]) * int(asked["gpus-per-node"])
    config = re.search(r"CONFIG:-(launch/\S+?\.yaml)", text)[1]
    launched = yaml.safe_load((LAUNCH.parent / config).read_text())
    layout = Layout(**assumed(text))
    assert layout.world == gpus and asked["ntasks-per-node"] == "1"
    assert layout.zero == launched.get("deepspeed_config", {}).get("zero_stage", 0)
    assert subprocess.run(["bash", "-n", str(path)]).returncode == 0


def test_several_nodes_get_their_own_rank_and_one_address(tmp_path):
    """The script itself, on a node where srun and accelerate only say what they were told."""
    for name, body in {
        "srun": 'exec "$@"',
        "scontrol": "printf 'node-a\\nnode-b\\n'",
        "accelerate": 'printf "%s\\n" "$@"',
    }.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{body}\n")
        (tmp_path / name).chmod(0o755)
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "SLURM_JOB_NODELIST": "node-[a-b]"}
    environment |= {"SLURM_NNODES": "2", "SLURM_NODEID": "1"}
    command = ["bash", str(LAUNCH / "slurm_nodes.sh"), "--policy", "qc", "--out", "runs/a b"]
    told = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.split("\n")
    for option, value in {"--num_machines": "2", "--num_processes": "16", "--machine_rank": "1"}.items():
        assert told[told.index(option) + 1] == value
    assert told[told.index("--main_process_ip") + 1] == "node-a"
    assert told[told.index("-m") :][:5] == ["-m", "robo_orl", "train", "--policy", "qc"] and "runs/a b" in told


@pytest.mark.parametrize("path", RAY, ids=lambda path: path.stem)
def test_a_ray_recipe_offers_every_gpu_of_every_machine(path):
    cluster = yaml.safe_load(path.read_text())
    workers = cluster["provider"].get("worker_ips", [])
    starts = [cluster["head_start_ray_commands"], *([cluster["worker_start_ray_commands"]] if workers else [])]
    assert cluster["max_workers"] == len(workers)
    assert all(any("ray start" in line and "--num-gpus=8" in line for line in start) for start in starts)


@pytest.mark.parametrize("path", ACCELERATE, ids=lambda path: path.stem)
def test_an_accelerate_file_is_a_layout_that_profile_knows(path):
    launched = yaml.safe_load(path.read_text())
    deepspeed = launched.get("deepspeed_config", {})
    offload = deepspeed.get("offload_optimizer_device", "none") != "none"
    layout = Layout(launched["num_processes"], deepspeed.get("zero_stage", 0), offload)
    assert ("zero" in path.name) == layout.deepspeed and ("offload" in path.name) == layout.offload
