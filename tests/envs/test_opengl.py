"""Work on states needs no OpenGL, whatever the environment says; a picture is drawn with what the user chose."""

import os
import subprocess
import sys

import pytest

SCRIPT = """
import os, sys
before = dict(os.environ)
import numpy as np
from robo_orl.config.presets import load_task
from robo_orl.envs.start_banks import eval_bank
from robo_orl.envs.task_env import TaskEnv
task = load_task("lift")
env = TaskEnv(task)
env.reset(eval_bank(task)[0])
env.step(np.zeros(env.action_dim))
changed = {name for name in before | dict(os.environ) if before.get(name) != os.environ.get(name)}
assert not changed & {"MUJOCO_GL", "MUJOCO_EGL_DEVICE_ID", "CUDA_VISIBLE_DEVICES"}, changed
print("stepped")
from robo_orl.base.errors import RunError
from robo_orl.envs.rendering.renderer import render_fingerprint
try:
    env.render("agentview", 32)
    print("drawn with", render_fingerprint("plain")["renderer"])
except RunError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("variables", "pictures"),
    [
        ({"MUJOCO_GL": "osmesa"}, ("drawn with osmesa", "No picture can be drawn with osmesa here (")),
        ({"MUJOCO_GL": "glfw"}, ("drawn with glfw", "No picture can be drawn with glfw here (")),
        ({"MUJOCO_GL": "disable"}, ("MUJOCO_GL=disable switches pictures off; unset it",)),
        ({"MUJOCO_GL": "nothing"}, ("MUJOCO_GL=nothing is no way to draw off screen; set MUJOCO_GL=egl",)),
        (
            {"CUDA_VISIBLE_DEVICES": "1", "MUJOCO_EGL_DEVICE_ID": "0"},
            ("drawn with egl", "No picture can be drawn with egl here ("),
        ),
        ({"MUJOCO_EGL_DEVICE_ID": "99"}, ("No picture can be drawn with egl here (",)),
    ],
)
def test_states_are_stepped_and_pictures_drawn_as_chosen_or_refused_in_a_sentence(variables, pictures):
    environment = {name: value for name, value in os.environ.items() if name not in ("MUJOCO_GL", "PYOPENGL_PLATFORM")}
    environment |= {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path), "DISPLAY": ""} | variables
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, env=environment, timeout=120)
    assert done.returncode == 0, done.stderr
    stepped, drawn = done.stdout.strip().splitlines()[-2:]
    assert stepped == "stepped" and drawn.startswith(pictures)
