"""A room imports rooms below it only; the contracts stand in pyproject.toml."""

import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import robo_orl

pytest.importorskip("importlinter")
ROOT = Path(__file__).parent.parent


def test_the_layers_hold():
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    linted = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert linted.returncode == 0, linted.stdout


@pytest.mark.parametrize("room", [m.name for m in pkgutil.iter_modules(robo_orl.__path__) if m.ispkg])
def test_every_room_says_what_is_in_it(room):
    assert room == "presets_data" or importlib.import_module(f"robo_orl.{room}").__doc__
