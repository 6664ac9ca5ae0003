"""The launch recipes are read as their readers read them, and agree with what `profile` assumes."""

import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest
import yaml

from robo_orl.cost.parallelism import Layout

LAUNCH = Path(__file__).parents[1] / "launch"
SLURM = [LAUNCH / "slurm_node.sh", LAUNCH / "slurm_nodes.sh"]  # slurm_array.sh: tests/sweep/test_slurm.py
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


COMMANDS = {
    "srun": 'exec "$@"',
    "scontrol": 'if [ "$1" = show ]; then printf "node-a\\nnode-b\\n"; else echo "$@" >>"$CALLS"; fi',
    "scancel": 'echo "$@" >>"$CALLS"; kill -TERM "$(cat "$CALLS.pid")"',
    "accelerate": 'printf "%s\\n" "$@"',
}
# A training that saves when it is told to end, and whose launcher then fails, as accelerate does.
TRAINING = """echo $$ >"$CALLS.pid"
trap 'echo saved; exit 1' TERM
echo begun >"$CALLS.begun"
for _ in $(seq 600); do sleep 0.1; done"""


@pytest.fixture
def node(tmp_path):
    """A function that starts a recipe on a node whose commands only say what they were told."""

    def start(recipe, *words, accelerate=COMMANDS["accelerate"]):
        for name, body in (COMMANDS | {"accelerate": accelerate}).items():
            (tmp_path / name).write_text(f"#!/bin/bash\n{body}\n")
            (tmp_path / name).chmod(0o755)
        environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "SLURM_JOB_NODELIST": "node-[a-b]", "SLURM_JOB_ID": "7"}
        environment |= {"SLURM_NNODES": "2", "SLURM_NODEID": "1", "CALLS": str(tmp_path / "calls")}
        command = ["bash", str(LAUNCH / recipe), *words]
        return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)

    return start


def test_several_nodes_get_their_own_rank_and_one_address(node):
    told = node("slurm_nodes.sh", "--policy", "qc", "--out", "runs/a b").communicate(timeout=60)[0].split("\n")
    for option, value in {"--num_machines": "2", "--num_processes": "16", "--machine_rank": "1"}.items():
        assert told[told.index(option) + 1] == value
    assert told[told.index("--main_process_ip") + 1] == "node-a"
    assert told[told.index("-m") :][:5] == ["-m", "robo_orl", "train", "--policy", "qc"] and "runs/a b" in told


@pytest.mark.parametrize("recipe", ["slurm_node.sh", "slurm_nodes.sh"])
def test_at_the_time_limit_the_training_saves_and_waits_in_the_queue_again(node, tmp_path, recipe):
    script = node(recipe, "--policy", "qc", accelerate=TRAINING)
    until = time.monotonic() + 60
    while not (tmp_path / "calls.begun").exists():
        assert time.monotonic() < until, "nothing began"
        time.sleep(0.02)
    script.send_signal(signal.SIGTERM)  # as --signal=B:TERM@120 does
    assert script.communicate(timeout=60)[0].strip() == "saved"
    assert (tmp_path / "calls").read_text().splitlines() == ["--signal=TERM 7", "requeue 7"]


@pytest.mark.parametrize("recipe", ["slurm_node.sh", "slurm_nodes.sh"])
def test_a_training_that_fails_by_itself_is_not_queued_again(node, tmp_path, recipe):
    script = node(recipe, accelerate="exit 3")
    assert script.wait(timeout=60) == 3 and not (tmp_path / "calls").exists()


@pytest.mark.parametrize("recipe", sorted(path.name for path in LAUNCH.glob("slurm_*.sh")))
def test_every_slurm_recipe_is_told_in_time_and_can_be_queued_again(recipe):
    text = (LAUNCH / recipe).read_text()
    assert "#SBATCH --signal=B:TERM@120" in text and "#SBATCH --requeue" in text and "scontrol requeue" in text


@pytest.mark.parametrize("path", ACCELERATE, ids=lambda path: path.stem)
def test_an_accelerate_file_is_a_layout_that_profile_knows(path):
    launched = yaml.safe_load(path.read_text())
    deepspeed = launched.get("deepspeed_config", {})
    offload = deepspeed.get("offload_optimizer_device", "none") != "none"
    layout = Layout(launched["num_processes"], deepspeed.get("zero_stage", 0), offload)
    assert ("zero" in path.name) == layout.deepspeed and ("offload" in path.name) == layout.offload


MEASURES = """#!/usr/bin/env bash
if [ "$1" = -c ]; then exec python3 "$@"; fi
echo "$*" >>"$CALLS"
case "$*" in
    *--plan*) echo "{\\"kinds\\": [{\\"jobs\\": $(cat "$CALLS.left")}]}"; echo 0 >"$CALLS.left" ;;
    *benchmarks/*) if [ -e "$CALLS.fails" ]; then exit 1; fi; echo "{}" >"${@: -1}" ;;
esac
"""


def test_slices_on_a_gpu_go_on_where_they_stopped(tmp_path):
    """Every measurement once; one that failed is tried again; a suite until its plan has no job left."""
    stub, calls, out = tmp_path / "python", tmp_path / "calls", tmp_path / "out"
    stub.write_text(MEASURES)
    stub.chmod(0o755)
    (tmp_path / "calls.left").write_text("3")
    (tmp_path / "calls.fails").touch()
    environment = os.environ | {"PYTHON": str(stub), "CALLS": str(calls)}

    def run() -> subprocess.CompletedProcess:
        command = ["bash", str(LAUNCH / "gpu_slices.sh"), str(out)]
        return subprocess.run(command, env=environment, cwd=LAUNCH.parent, capture_output=True, text=True)

    assert run().returncode != 0 and not list(out.glob("*.json"))
    (tmp_path / "calls.fails").unlink()
    texts = [run().stdout for _ in range(3)]
    assert "next time: the suite cost" in texts[0]
    assert texts[1].strip().endswith("nothing is left") and "capture" not in texts[1]
    measured = [line.split(" --out")[0] for line in calls.read_text().splitlines() if "benchmarks/" in line]
    assert measured.count(measured[0]) == 2 and len(set(measured)) == len(measured) - 1
    assert all((LAUNCH.parent / line.split()[0]).exists() for line in measured)
