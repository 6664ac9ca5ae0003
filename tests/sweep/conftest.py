"""A folder of presets small enough to read, and commands that answer at once."""

import hashlib
import json
import sys
from pathlib import Path

import pytest
import yaml

FAKE = Path(__file__).parent / "fake_robo_orl.py"

POLICIES = {  # fmt: skip
    "bc": {"optim": {"steps": 10}},
    "flow": {"extends": "bc", "action_head": {"kind": "flow"}},
    "control": {"extends": "flow", "selection": {"num_samples": 4, "untrained_critic": True}},
    "critic": {
        "extends": "flow",
        "critic": {"topology": "shared"},
        "objective": {"name": "qc"},
        "selection": {"num_samples": 4},
    },
}
TASK = {"env": "chain", "stages": ["first", "second"], "max_seconds": 10}


@pytest.fixture(autouse=True)
def presets(tmp_path, monkeypatch):
    """The user's own presets, found before those of the checkout; returns a function that writes a suite."""
    root = tmp_path / "presets"
    for kind, files in {"policies": POLICIES, "tasks": {"toy": TASK, "toy_long": {**TASK, "max_seconds": 20}}}.items():
        (root / kind).mkdir(parents=True)
        for name, values in files.items():
            (root / kind / f"{name}.yaml").write_text(yaml.safe_dump(values))
    monkeypatch.setenv("ROBO_ORL_PRESETS", str(root))

    def write_suite(name="small", **changes):
        values = {
            "groups": [{"tasks": ["toy"], "regimes": ["mg"], "policies": ["bc", "critic"]}],
            "data": {"episodes": 5},
            "evaluation": {"episodes": 6},
        } | changes
        path = root / "tasks" / "suites" / f"{name}.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(yaml.safe_dump(values))
        return name

    return write_suite


def describe_fake_data(file):
    """The description of a data file of fake_robo_orl, whose last word is the number of its episodes."""
    text = file.read_text()
    n = int(text.split()[-1])
    return {
        "sha256": hashlib.sha256(text.encode()).hexdigest(),
        "episodes": n,
        "frames": 10 * n,
        "success": {"k": 2 * n // 5, "n": n},
    }


@pytest.fixture
def fakes(tmp_path, monkeypatch):
    """Jobs run the fake commands. Returns a function that changes their behaviour, with .calls() -> what ran."""
    log = tmp_path / "calls.jsonl"
    monkeypatch.setattr("robo_orl.sweep.jobs.ROBO_ORL", (sys.executable, str(FAKE)))
    monkeypatch.setattr(
        "robo_orl.sweep.bench.describe_data",
        describe_fake_data,
    )

    def behave(**behaviour):
        monkeypatch.setenv("FAKE_BEHAVIOUR", json.dumps({"log": str(log)} | behaviour))

    behave.calls = lambda: [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    behave.kinds = lambda: sorted(call["kind"] for call in behave.calls())
    behave()
    return behave
