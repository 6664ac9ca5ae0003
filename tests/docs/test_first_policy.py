"""The script of the page From Python runs as a file of its own, without a guard for its main module."""

import os
import subprocess
import sys

import pytest
import snippets

SCRIPT = snippets.DOCS / "examples" / "first_policy.py"


@pytest.mark.slow
def test_the_script_records_trains_evaluates_and_acts(tmp_path):
    pytest.importorskip("robosuite", reason="robosuite is not installed")
    text = SCRIPT.read_text()
    assert "__main__" not in text
    (tmp_path / "script.py").write_text(snippets.small_python(text))
    environment = os.environ | {"PYTHONPATH": str(snippets.ROOT), "OMP_NUM_THREADS": "1"}
    environment["ROBO_ORL_CACHE"] = str(tmp_path / "cache")
    command = [sys.executable, "script.py"]
    ran = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert "'n': 2" in ran.stdout and "(10, 7) 5" in ran.stdout
    assert (tmp_path / "runs" / "mine" / "train.json").exists()
