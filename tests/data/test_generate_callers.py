"""`generate` records from whatever calls it: a script without a guard, standard input; without OpenGL too."""

import os
import subprocess
import sys

import pytest

pytest.importorskip("robosuite", reason="needs the simulator")

SCRIPT = """
import sys
from pathlib import Path
from robo_orl.config.presets import load_task
from robo_orl.data.generate import generate
result = generate(load_task("lift"), "ph", 2, Path(sys.argv[-1]), workers=2, progress=False)
print(result.summary.all.episodes, result.counts["restarts"])
"""


@pytest.mark.parametrize("way", ["script", "standard input"])
def test_recording_does_not_depend_on_the_callers_main_module_or_on_a_renderer(way, tmp_path):
    (tmp_path / "record.py").write_text(SCRIPT)
    arguments = [str(tmp_path / "record.py")] if way == "script" else ["-"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    environment |= {"MUJOCO_GL": "osmesa"} if way == "script" else {"MUJOCO_EGL_DEVICE_ID": "0"}
    environment |= {"CUDA_VISIBLE_DEVICES": "1"}
    command = [sys.executable, *arguments, str(tmp_path / "lift.hdf5")]
    done = subprocess.run(command, input=SCRIPT, capture_output=True, text=True, env=environment, timeout=240)
    assert done.stdout.split() == ["2", "0"], done.stderr
