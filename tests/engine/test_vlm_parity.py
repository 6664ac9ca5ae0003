"""Vision-language policies under ZeRO-3 and offload: two CPU processes end with the parameters of one.

Critics with a model of their own are the largest agents here, and models of `transformers` the ones that would be
partitioned while they are built.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

ROOT = Path(__file__).parents[2]
JOB = "tests/engine/vlm_job.py"
TOLERANCE = 1e-5
CASES = {
    "cpu_zero3": ["separate", "lora", "insulated", "frozen"],
    "cpu_zero3_offload": ["separate", "separate_saving"],
    "cpu_ddp": ["separate", "lora"],
}


def run(folder: Path, *command: str) -> None:
    folder.mkdir()
    quiet = {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "TOKENIZERS_PARALLELISM": "false"}
    done = subprocess.run(command, cwd=ROOT, env=os.environ | quiet, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.fixture(scope="module")
def alone(tmp_path_factory) -> Path:
    """Every case in one process: the reference."""
    folder = tmp_path_factory.mktemp("vlm") / "alone"
    run(folder, sys.executable, JOB, str(folder), *sorted({case for cases in CASES.values() for case in cases}))
    return folder


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("config", CASES)
def test_two_processes_end_with_the_parameters_of_one(config, alone, tmp_path):
    folder, launch = tmp_path / config, [sys.executable, "-m", "accelerate.commands.launch"]
    run(folder, *launch, "--config_file", f"launch/{config}.yaml", JOB, str(folder), *CASES[config])
    for case in CASES[config]:
        found, reference = (load_file(at / f"{case}.safetensors") for at in (folder, alone))
        assert found.keys() == reference.keys()
        worst = max(((found[name] - reference[name]).abs().max().item(), name) for name in reference)
        assert worst[0] <= TOLERANCE, (case, worst)
        engine = json.loads((folder / f"{case}.json").read_text())
        assert engine["processes"] == 2 and engine["zero_stage"] == (3 if "zero3" in config else 0)
        assert engine["offload_param"] == ("cpu" if "offload" in config else "none")
