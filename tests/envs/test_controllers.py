"""Other controllers than pose deltas: their numbers, their memory, and what they do, from one line of a task's file."""

import json
import logging

import h5py
import numpy as np
import pytest

from robo_orl.base.errors import UsageError
from robo_orl.config import TaskConfig
from robo_orl.data.new_task import task_of
from robo_orl.data.task_check import check_environment
from robo_orl.envs.any_scene import STEPS, controller_settings
from robo_orl.envs.registry import start_name
from robo_orl.envs.task_env import TaskEnv


def task(**values: object) -> TaskConfig:
    return TaskConfig(**{"name": "mine", "env": "robosuite:Lift", "stages": ["success"], "max_seconds": 10} | values)


NUMBERS = {"OSC_POSITION": 4, "IK_POSE": 7, "JOINT_POSITION": 8, "JOINT_VELOCITY": 8, "JOINT_TORQUE": 8}
KINDS = [pytest.param(kind, marks=[] if kind == "JOINT_VELOCITY" else pytest.mark.slow) for kind in NUMBERS]


@pytest.mark.parametrize("kind", KINDS)
def test_an_episode_begins_repeats_and_goes_on_bit_equal_and_says_once_why_it_is_stepped_by_robosuite(kind, caplog):
    with caplog.at_level(logging.WARNING):
        env = TaskEnv(task(controller=kind), keys=("robot0_joint_pos", "robot0_joint_vel", "clock"))
    other = TaskEnv(task(controller=kind))
    said = [record.getMessage() for record in caplog.records if "robosuite's own loop" in record.getMessage()]
    assert len(said) == 1 and f"controller is {kind}, not OSC_POSE" in said[0] and env.loop == "stock"
    assert env.action_dim == NUMBERS[kind] and env._grippers.tolist() == [env.action_dim - 1]
    assert (env.spec["robot0_joint_pos"], env.spec["robot0_joint_vel"], "clock" in env.spec) == (7, 7, False)
    start, actions = env.draw_start(1), np.random.default_rng(0).uniform(-1, 1, (12, env.action_dim))
    other.draw_start(2)

    def states(env, actions):
        return np.array([env.step(action) is not None and env.state() for action in actions])

    env.reset(start)
    first = states(env, actions[:6])
    instant = env.snapshot()
    whole = np.concatenate((first, states(env, actions[6:])))
    env.resume(instant)
    np.testing.assert_array_equal(states(env, actions[6:]), whole[6:])
    env.begin_at(start_state := whole[0])
    moved = states(env, actions)
    env.begin_at(start_state)
    np.testing.assert_array_equal(states(env, actions), moved)
    other.reset(start)
    np.testing.assert_array_equal(states(other, actions), whole)
    for one in (env, other):
        one.close()


def test_the_mended_velocity_controller_holds_still_and_follows_its_command():
    """robosuite 1.5.2's own raises at its construction; gravity is compensated, an action of 1 is half a radian a s."""
    env = TaskEnv(task(controller="JOINT_VELOCITY"), keys=("robot0_joint_pos", "robot0_joint_vel"))
    rest = env.reset(env.draw_start(0))["robot0_joint_pos"]
    for _ in range(20):
        obs = env.step(np.zeros(8)).obs
    assert np.abs(obs["robot0_joint_pos"] - rest).max() < 0.02
    for _ in range(20):
        obs = env.step(np.eye(8)[0]).obs
    speed = obs["robot0_joint_vel"]
    assert 0.3 < speed[0] < 0.6 and np.abs(speed[1:]).max() < 0.1
    env.close()


def test_settings_are_laid_on_robosuites_own_and_are_part_of_the_task():
    assert controller_settings(task()) == {"type": "OSC_POSE"}
    assert controller_settings(task(controller={"kp": 80})) == {"type": "OSC_POSE", "kp": 80}
    env = TaskEnv(task(controller={"kp": 80}))
    controller = env.scene.env.robots[0].part_controllers["right"]
    assert env.loop == "exact" and set(controller.kp) == {80} and controller.damping_ratio_max.max() == 10
    env.close()
    tasks = [task(), task(controller="OSC_POSITION"), task(controller={"kp": 80})]
    assert len({one.digest() for one in tasks}) == len({start_name(one) for one in tasks}) == 3


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"controller": "OSC_POS"}, "Unknown controller of task mine 'OSC_POS'. Did you mean 'OSC_POSE'"),
        ({"controller": {"input_type": "absolute"}}, "input_type: absolute, and policies here act by steps within"),
        ({"controller": {"impedance_mode": "variable"}}, "impedance_mode: variable, and policies here act by steps"),
        (
            {"env": "lift", "controller": "IK_POSE"},
            "the scene 'lift' is moved by OSC_POSE; for another controller take",
        ),
        ({"robots": ["GR1"], "controller": "JOINT_POSITION"}, "robot GR1 is moved by the controller .* fixed base"),
    ],
)
def test_a_controller_that_cannot_be_had_is_one_sentence(values, sentence):
    with pytest.raises(UsageError, match=sentence):
        TaskEnv(task(**values))


@pytest.mark.parametrize(
    ("there", "here", "sentence"),
    [
        ({"type": "JOINT_VELOCITY"}, "", "its controller is JOINT_VELOCITY, and the task's is OSC_POSE"),
        ({"type": "OSC_POSE"}, "IK_POSE", "its controller is OSC_POSE, and the task's is IK_POSE"),
        ({"type": "JOINT_POSITION", "output_max": 0.1}, "JOINT_POSITION", r"steps reach 0.1 .* the task's 0.05"),
        ({"type": "OSC_POSE", "control_delta": False}, "", "absolute poses"),
    ],
)
def test_data_of_another_controller_are_refused(there, here, sentence):
    settings = {"env_name": "Lift", "env_kwargs": {"robots": "Panda", "control_freq": 20, "controller_configs": there}}
    with pytest.raises(UsageError, match=f"{sentence}.*--accept-mismatch"):
        check_environment("a.hdf5", settings, task(controller=here), accept_mismatch=False)
    own = {"controller_configs": {"type": here or "OSC_POSE", "output_max": STEPS[here or "OSC_POSE"]}}
    check_environment("a.hdf5", settings | {"env_kwargs": own}, task(controller=here), accept_mismatch=False)


def test_a_task_from_a_file_has_its_controller(tmp_path):
    arm = {"type": "JOINT_POSITION", "kp": 50, "output_max": 0.1, "output_min": -0.1, "interpolation": None}
    for number, config in enumerate((arm, {"type": "BASIC", "body_parts": {"right": arm | {"gripper": {}}}})):
        settings = {"robots": "UR5e", "controller_configs": config}
        with h5py.File(tmp_path / f"{number}.hdf5", "w") as file:
            file["data/demo_0/actions"] = np.zeros((30, 7))
            file["data"].attrs["env_args"] = json.dumps({"env_name": "Lift", "env_kwargs": settings})
        own, lacking = task_of(tmp_path / f"{number}.hdf5", "mine")
        assert own["controller"] == {"type": "JOINT_POSITION", "output_max": 0.1, "output_min": -0.1} and not lacking
        assert (own["env"], own["robots"]) == ("robosuite:Lift", ["UR5e"])
