"""Benchmarks that take minutes keep their rows when interrupted, and never mix rows of different measurements."""

import importlib.util
import json
from pathlib import Path

import pytest

LEDGER = Path(__file__).parents[2] / "benchmarks" / "ledger.py"


@pytest.fixture
def ledger():
    spec = importlib.util.spec_from_file_location("ledger", LEDGER)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def opened(ledger, path: Path, *more: str, **settings):
    options = ledger.parser("", "x.py").parse_args(["--out", str(path), *more])
    return ledger.Ledger(options, settings)


def test_a_benchmark_that_is_started_again_measures_what_is_missing(ledger, tmp_path):
    path = tmp_path / "result.json"
    first = opened(ledger, path, episodes=3)
    assert first.missing(["lift", "stack"]) == ["lift", "stack"]
    first.keep("lift", {"ratio": 4.0})
    second = opened(ledger, path, episodes=3)
    assert second.missing(["lift", "stack"]) == ["stack"]
    second.keep("stack", {"ratio": 3.0})
    written = json.loads(path.read_text())
    assert {name: row["ratio"] for name, row in written["rows"].items()} == {"lift": 4.0, "stack": 3.0}
    assert written["versions"]["mujoco"] and written["machine"]["cores"] >= 1


def test_rows_of_another_measurement_are_left_out(ledger, tmp_path):
    path = tmp_path / "result.json"
    opened(ledger, path, episodes=3).keep("lift", {"ratio": 4.0})
    assert opened(ledger, path, episodes=4).missing(["lift"]) == ["lift"]
    assert opened(ledger, path, "--again", episodes=3).missing(["lift"]) == ["lift"]
    held = json.loads(path.read_text())
    path.write_text(json.dumps(held | {"machine": {"cores": 9999, "processor": "another"}}))
    assert opened(ledger, path, episodes=3).missing(["lift"]) == ["lift"]


def test_the_command_in_the_result_is_the_one_to_type(ledger):
    assert ledger._told(["--tasks", "lift", "--out", "/tmp/x.json", "--again"]) == ["--tasks", "lift"]
    assert ledger._told(["--out=/tmp/x.json", "--episodes", "3"]) == ["--episodes", "3"]
