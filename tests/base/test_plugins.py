"""Objectives, backbones and environments of other packages are found by entry points, and held to our rules."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

OBJECTIVE = '''
from robo_orl.objectives import Objective

class Steady(Objective):
    """Cloning, as another package would write it."""

    routes = {"actor": "policy"}

    def losses(self, step):
        return {"actor": step.policy_loss().mean()}, {}
'''
SCENE = """
from robo_orl.envs.registry import SceneEntry

def high(scene):
    return scene.position(0)[2] > 0.9

def far(scene):
    return scene.position(0)[0] > 9 or scene.env.cur_time < 0

entry = SceneEntry("HighLift", ("cube",), module="theirs.robosuite_env", stages={"high": high})
"""
ENVIRONMENT = """
from robosuite.environments.manipulation.lift import Lift

class HighLift(Lift):
    pass
"""
BACKBONE = """
from robo_orl.models.backbones.transformer import Transformer

class Theirs(Transformer):
    pass
"""
ENTRIES = """
[robo_orl.objectives]
steady = theirs.steady:Steady
[robo_orl.backbones]
theirs = theirs.backbone:Theirs
[robo_orl.environments]
high_lift = theirs.scene:entry
[robo_orl.stages]
far = theirs.scene:far
"""


@pytest.fixture
def package(tmp_path):
    """An installed package; returns a function that changes its entry points and runs Python code beside it."""
    files = {"__init__": "", "steady": OBJECTIVE, "scene": SCENE, "robosuite_env": ENVIRONMENT, "backbone": BACKBONE}
    files |= {"raises": "1 / 0", "exits": "import sys; sys.exit(3)"}
    (tmp_path / "theirs").mkdir()
    for name, text in files.items():
        (tmp_path / "theirs" / f"{name}.py").write_text(text)
    info = tmp_path / "theirs-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")

    def run(code, entries=ENTRIES):
        (info / "entry_points.txt").write_text(entries)
        here = str(Path(__file__).parents[2])
        environment = os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{here}", "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-c", code]
        return subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True)

    return run


LIST = "import sys; from robo_orl.cli.app import main; sys.argv = ['robo-orl', 'list', 'objectives', '--json']; main()"


def test_an_objective_of_another_package_is_listed_and_learns_on_its_backbone(package):
    listed = package(LIST)
    assert listed.returncode == 0, listed.stderr
    assert "steady" in {row["name"] for row in json.loads(listed.stdout)["objectives"]}
    learned = package("""
from robo_orl.config import PolicyConfig
from robo_orl.cost.synthetic_step import synthetic_window
from robo_orl.agent.agent import build_agent
from robo_orl.base.rng import Draws
policy = PolicyConfig(name="p", backbone={"kind": "theirs"}, objective={"name": "steady"})
agent = build_agent(policy, {"object": 5}, action_dim=7, gamma=0.99, statistics=None, seed=0)
loss, _ = agent(synthetic_window(4, {"object": 5}, action_dim=7, chunk=10, discount=0.9), Draws(0, 0))
loss.backward()
print(type(agent.backbone).__module__, float(loss) > 0)
""")
    assert learned.stdout.split() == ["theirs.backbone", "True"], learned.stderr


def test_an_environment_of_another_package_runs_with_its_own_stages(package):
    pytest.importorskip("robosuite", reason="robosuite is not installed")
    ran = package("""
import numpy as np
from robo_orl.config import TaskConfig
from robo_orl.envs.task_env import TaskEnv
env = TaskEnv(TaskConfig(name="t", env="high_lift", stages=["high", "far"], max_seconds=5))
env.reset(env.draw_start(0))
step = env.step(np.zeros(7))
print(type(env.scene.env).__name__, env.loop, step.stages.tolist())
""")
    assert ran.stdout.split() == ["HighLift", "exact", "[False,", "False]"], ran.stderr


BROKEN = {
    "[robo_orl.objectives]\nbc = theirs.steady:Steady\n": "Package theirs registers 'bc' in objectives, which is taken",
    "[robo_orl.objectives]\nx = theirs.absent:Steady\n": "theirs registers 'x' in objectives, but theirs.absent",
    "[robo_orl.objectives]\nx = theirs.steady:Stead\n": "theirs.steady:Stead cannot be imported (AttributeError",
    "[robo_orl.objectives]\nx = theirs.raises:X\n": "cannot be imported (ZeroDivisionError: division by zero)",
    "[robo_orl.objectives]\nx = theirs.exits:X\n": "cannot be imported (SystemExit: 3)",
    "[robo_orl.objectives]\nx = theirs.scene:high\n": "theirs.scene:high is no Objective",
}
NAME = """
import sys
from robo_orl.base.errors import RunError, UsageError
from robo_orl.objectives import OBJECTIVES
name = "bc" if {taken} else "x"
assert name in OBJECTIVES and OBJECTIVES["iql"]
try:
    OBJECTIVES[name]
except (RunError, UsageError) as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("entries", "message"),
    # A process each; quickly one that is taken, one that is not there, one that raises.
    [pytest.param(*one, marks=[pytest.mark.slow] if n in (2, 4, 5) else []) for n, one in enumerate(BROKEN.items())],
)
def test_a_package_that_cannot_be_used_breaks_only_what_names_it(package, entries, message):
    listed = package(LIST, entries)
    assert listed.returncode == 0, listed.stderr
    assert "iql" in {row["name"] for row in json.loads(listed.stdout)["objectives"]}
    named = package(NAME.format(taken="'bc' in " + repr(entries)), entries)
    assert message in named.stdout, named.stderr
