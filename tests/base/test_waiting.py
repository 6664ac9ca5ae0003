"""Waiting threads sleep by default, and a machine without a free core is one sentence of advice."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from robo_orl.base import machine
from robo_orl.base.machine import PASSIVE, crowding_advice, wait_passively

ROOT = Path(__file__).parents[2]
STEPS = """
import hashlib, torch
torch.set_num_threads(2)
torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Linear(64, 256), torch.nn.GELU(), torch.nn.Linear(256, 8))
optimizer = torch.optim.AdamW(model.parameters())
for _ in range(3):
    optimizer.zero_grad()
    model(torch.randn(512, 64)).square().mean().backward()
    optimizer.step()
print(hashlib.sha256(b"".join(p.detach().numpy().tobytes() for p in model.parameters())).hexdigest())
"""


@pytest.mark.parametrize("variable", ["OMP_WAIT_POLICY", "KMP_BLOCKTIME", "GOMP_SPINCOUNT"])
def test_a_choice_of_the_user_stays(variable):
    environment = {variable: "7"}
    wait_passively(environment)
    assert environment == {variable: "7"}


def test_the_command_sets_it_before_torch_loads():
    code = """
import os, sys
from robo_orl.cli import app
assert 'torch' not in sys.modules
app.app = lambda **_: print(os.environ['OMP_WAIT_POLICY'], os.environ['KMP_BLOCKTIME'], 'torch' in sys.modules)
app.main()
"""
    environment = {key: value for key, value in os.environ.items() if key not in PASSIVE}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.stdout.split() == ["passive", "0", "False"], done.stderr


@pytest.mark.slow
def test_the_weights_are_bit_equal():
    spinning = {key: value for key, value in os.environ.items() if key not in PASSIVE} | {"OMP_NUM_THREADS": "2"}
    environments = (spinning, spinning | PASSIVE)
    weights = [
        subprocess.run([sys.executable, "-c", STEPS], cwd=ROOT, env=env, capture_output=True, text=True, check=True)
        for env in environments
    ]
    assert weights[0].stdout == weights[1].stdout and weights[0].stdout


@pytest.mark.parametrize(
    ("load", "threads", "advice"), [(3.0, 2, "OMP_NUM_THREADS=1 "), (9.0, 8, "OMP_NUM_THREADS=1 "), (1.0, 2, None)]
)
def test_a_load_above_the_cores_is_advice(monkeypatch, load, threads, advice):
    monkeypatch.setattr(machine, "cores", lambda: 2)
    monkeypatch.setattr(machine.os, "getloadavg", lambda: (load, 0.0, 0.0))
    sentence = crowding_advice(threads)
    assert sentence is None if advice is None else advice in sentence


def test_one_thread_needs_no_advice(monkeypatch):
    monkeypatch.setattr(machine.os, "getloadavg", lambda: (99.0, 0.0, 0.0))
    assert crowding_advice(1) is None
