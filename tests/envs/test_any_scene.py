"""robosuite:NAME: any environment and robot of robosuite by a task's file, its stages as expressions."""

from __future__ import annotations

import numpy as np
import pytest

from robo_orl.base.errors import RunError, UsageError
from robo_orl.config import TaskConfig
from robo_orl.config.presets import load_task
from robo_orl.cost.synthetic_step import task_spec
from robo_orl.envs.conditions import condition
from robo_orl.envs.demonstrators.regimes import plan
from robo_orl.envs.registry import action_size, start_name
from robo_orl.envs.task_env import TaskEnv


def task(**values: object) -> TaskConfig:
    usual = {"name": "mine", "env": "robosuite:Door", "stages": ["success"], "max_seconds": 10}
    return TaskConfig(**usual | values)


@pytest.fixture(scope="module")
def door() -> TaskEnv:
    conditions = {"ajar": "joint('Door_hinge') > 0.1 and not touching('Door')", "near": "distance('Door', 'table') < 9"}
    env = TaskEnv(task(robots=["Sawyer"], stages=["near", "ajar", "success"], conditions=conditions, reward="stages"))
    yield env
    env.close()


def test_another_robot_at_another_environment_is_stepped_natively_from_its_own_starts(door):
    assert type(door.scene.env).__name__ == "Door" and door.scene.env.robots[0].name == "Sawyer"
    assert door.loop == "exact" and door.action_dim == 7
    assert door.spec == {"robot0_eef_pos": 3, "robot0_eef_quat": 4, "robot0_gripper_qpos": 2, "object": 14}
    start = door.draw_start(1)
    first, again = door.reset(start), door.reset(start)
    other = door.reset(door.draw_start(2))
    np.testing.assert_array_equal(first["object"], again["object"])
    assert not np.array_equal(first["object"], other["object"])


def test_stages_are_the_expressions_and_success_is_the_environments_own_check(door):
    door.reset(door.draw_start(3))
    assert door.completed().tolist() == [True, False, False]
    stages = []
    for angle in (0.05, 0.2, 0.35):  # robosuite's door is open beyond 0.3
        door.scene.env.sim.data.set_joint_qpos("Door_hinge", angle)
        door.scene.env.sim.forward()
        step = door.step(np.zeros(7))
        stages.append(step.stages.tolist())
    assert stages == [[True, False, False], [True, True, False], [True, True, True]] and step.terminated


def test_stages_may_be_functions_of_an_installed_package(door, monkeypatch):
    from robo_orl.envs import stages

    functions = {"swung": lambda scene: scene.env.sim.data.get_joint_qpos("Door_hinge") > 0.2}
    functions |= {"broken": lambda scene: scene.nothing, "success": lambda scene: True}
    monkeypatch.setattr(stages, "FUNCTIONS", functions)
    (swung, success) = stages.predicates(task(stages=["swung", "ajar"], conditions={"ajar": "success()"}))
    for angle in (0.1, 0.3):
        door.scene.env.sim.data.set_joint_qpos("Door_hinge", angle)
        assert swung(door.scene) == (angle > 0.2)
    with pytest.raises(RunError, match="The stage 'broken' .* cannot be computed: AttributeError: .*nothing"):
        stages.predicates(task(stages=["broken"]))[0](door.scene)
    with pytest.raises(UsageError, match="have the stage 'success', and so has an installed package"):
        stages.predicates(task(stages=["success"]))
    with pytest.raises(UsageError, match="Unknown stage of task mine 'swong'. Did you mean 'swung'"):
        stages.predicates(task(stages=["swong"]))


def test_its_start_states_digest_and_sizes_are_its_own():
    mine, latched = task(), task(params={"use_latch": False})
    names = {start_name(one) for one in (mine, latched, task(robots=["Sawyer"]), task(env="robosuite:Lift"))}
    assert len(names) == 4 and start_name(task(max_seconds=3)) == start_name(mine)
    assert len({one.digest() for one in (mine, latched, task(conditions={"a": "success()"}))}) == 3
    assert action_size(mine) is None
    with pytest.raises(UsageError, match="its simulator alone knows: give a data set"):
        task_spec(mine)
    with pytest.raises(UsageError, match="No scripted demonstrator knows the scene 'robosuite:Door' of task mine"):
        plan(mine, "ph", 2)


def test_fields_that_are_new_leave_digests_of_before():
    assert (
        load_task("lift").digest() == "0adef97041761763bafe7d74699a3996be8b4cd463664a646e068236cb077a1f"
        and load_task("chain2").digest() == "6eff3c3fc001ee40e6ec0f959169d008c1e6db831b25aeff368a65b894d64600"
    )


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"env": "robosuite:Dor"}, "Unknown environment of robosuite 'Dor'. Did you mean 'Door'"),
        ({"env": "robosuite:"}, "env names no environment: write one behind the colon"),
        ({"robots": ["Sawer"]}, "Unknown robot of robosuite 'Sawer'. Did you mean 'Sawyer'"),
        ({"params": {"latch": 1}}, "robosuite cannot make Door from robots and params .* argument 'latch'"),
        ({"params": {"control_freq": 10}}, "params has control_freq, which follows from the task"),
        (
            {"env": "lift", "robots": ["Sawyer"]},
            "the scene 'lift' has the robots Panda; for others take env: robosuite:",
        ),
        ({"stages": ["opened"]}, "Unknown stage of task mine 'opened'"),
        ({"conditions": {"success": "success()"}}, "the stage 'success', which its scene has: rename it"),
    ],
)
def test_what_robosuite_does_not_have_is_one_sentence(values, sentence):
    with pytest.raises(UsageError, match=sentence):
        TaskEnv(task(**values))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "position('Dor')[2] > 1",
            "conditions: Unknown object, body, site or geom of the scene 'Dor'. Did you mean 'Door'",
        ),
        ("joint('hinge') > 0", "Unknown joint of the scene 'hinge'. Did you mean 'Door_hinge'"),
        ("held('door')", "Unknown object of the scene 'door'. Did you mean 'Door'"),
        ("position('Door') > 1", "cannot be computed"),
        ("distance('Door') > 1", "cannot be computed"),
    ],
)
def test_an_expression_that_names_nothing_of_the_scene_is_one_sentence(door, text, sentence):
    with pytest.raises(UsageError, match=sentence):
        condition(text, "conditions")(door.scene)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("positon('Door')[2] > 1", "Unknown function in conditions 'positon'. Did you mean 'position'"),
        ("joint('Door_hinge') >", "conditions is no expression"),
        ("__import__('os').system('true')", "is not allowed in"),
        ("[1 for x in 'ab']", "is not allowed in"),
        ("success.__class__", "is not allowed in"),
        ("(lambda: 1)()", "is not allowed in"),
        ("open", "Unknown function in conditions 'open'"),
    ],
)
def test_an_expression_is_no_program(text, sentence):
    with pytest.raises(UsageError, match=sentence):
        condition(text, "conditions")
