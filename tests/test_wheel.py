"""The wheel alone is enough: presets travel inside it, and a policy trains from it in a fresh environment."""

import json
import subprocess
import sys
import venv
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """Python of a fresh environment that holds the wheel; third-party packages are borrowed from this one."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, ROOT]
    subprocess.run(build, check=True)
    venv.create(folder / "env", with_pip=False)
    python = folder / "env" / "bin" / "python"
    site = Path(
        subprocess.check_output([python, "-c", "import site; print(site.getsitepackages()[0])"], text=True).strip()
    )
    (wheel,) = folder.glob("*.whl")
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", site, wheel]
    subprocess.run(install, check=True)
    # Only the folder, not its .pth files: the editable install of the sources must stay invisible.
    (site / "borrowed.pth").write_text(str(Path(np.__file__).parent.parent))
    return python


def test_presets_travel_with_the_wheel(installed, tmp_path):
    where = subprocess.check_output(
        [installed, "-c", "import robo_orl; print(robo_orl.__file__)"], text=True, cwd=tmp_path
    )
    assert str(ROOT) not in where
    listed = subprocess.check_output([installed, "-m", "robo_orl", "list", "--json"], text=True, cwd=tmp_path)
    here = subprocess.check_output([sys.executable, "-m", "robo_orl", "list", "--json"], text=True, cwd=ROOT)
    assert json.loads(listed) == json.loads(here)


@pytest.mark.slow
def test_two_steps_train_from_the_wheel(installed, tmp_path):
    def run(*arguments: str) -> dict:
        command = [installed, "-m", "robo_orl", *arguments, "--json"]
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    run("data", "generate", "--task", "lift", "--regime", "ph", "--episodes", "2", "--out", "lift.hdf5")
    small = ("--set", "policy.optim.steps=2", "--set", "policy.optim.batch_size=8")
    summary = run("train", "--policy", "bc", "--task", "lift", "--data", "lift.hdf5", "--out", "run", *small)
    assert summary["steps"] == 2
