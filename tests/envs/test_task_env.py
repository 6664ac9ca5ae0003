"""TaskEnv: observation, stages, control rate, dead time, endings."""

from __future__ import annotations

import json

import numpy as np
import pytest

from robo_orl.base.errors import RunError, UsageError
from robo_orl.config import TaskConfig
from robo_orl.config.presets import load_task
from robo_orl.envs.chain_layout import HALF, PLACE_SLOTS, TABLE_Z
from robo_orl.envs.registry import make_simulator
from robo_orl.envs.task_env import TaskEnv

STILL = np.zeros(7)


def chain(k: int, **changes: object) -> TaskConfig:
    task = load_task(f"chain{k}")
    return task.model_copy(update=changes)


@pytest.fixture(scope="module")
def chain2() -> TaskEnv:
    env = TaskEnv(chain(2))
    yield env
    env.close()


def put_cube(env: TaskEnv, index: int, x: float, y: float) -> None:
    """Lay a cube somewhere on the table, as if it had been placed there."""
    simulator = env.scene.env
    pose = np.array([x, y, TABLE_Z + HALF, 1, 0, 0, 0])
    simulator.sim.data.set_joint_qpos(simulator.cube_models[index].joints[0], pose)
    simulator.sim.forward()


def test_chains_of_every_length_have_observations_of_equal_size_and_share_their_first_cube():
    seen = {}
    for k in (1, 8):
        env = TaskEnv(chain(k))
        seen[k] = (env.spec, env.reset(env.draw_start(3))["object"])
        env.close()
    assert (
        seen[1][0]
        == seen[8][0]
        == {
            "robot0_eef_pos": 3,
            "robot0_eef_quat": 4,
            "robot0_gripper_qpos": 2,
            "object": 74,
        }
    )
    first, last = seen[1][1][:64].reshape(8, 8), seen[8][1][:64].reshape(8, 8)
    np.testing.assert_array_equal(first[0], last[0])
    assert first[:, 6].tolist() == [1] + [0] * 7 and last[:, 6].tolist() == [1] * 8
    assert not first[1:].any()


def test_a_later_cube_does_not_count_before_the_earlier_ones(chain2):
    chain2.reset(chain2.draw_start(0))
    put_cube(chain2, 1, *PLACE_SLOTS[1])
    step = chain2.step(STILL)
    assert step.stages.tolist() == [False, False] and step.reward == 0
    assert step.obs["object"][8 + 7] == 1, "the second cube itself is seen as placed"
    put_cube(chain2, 0, *PLACE_SLOTS[0])
    step = chain2.step(STILL)
    assert step.stages.tolist() == [True, True] and step.reward == 1 and step.terminated


def test_stages_pay_once_and_stay_counted(chain2):
    chain2.reset(chain2.draw_start(0))
    put_cube(chain2, 0, *PLACE_SLOTS[0])
    rewards = [chain2.step(STILL).reward for _ in range(2)]
    put_cube(chain2, 0, -0.2, -0.2)
    step = chain2.step(STILL)
    assert rewards == [0.5, 0.0] and step.reward == 0
    assert step.stages.tolist() == [True, False] and not step.terminated
    assert step.obs["object"][64:73].tolist() == [0, 1, 0, 0, 0, 0, 0, 0, 0]


def test_a_later_stage_needs_the_earlier_cubes_to_lie_still(chain2):
    chain2.reset(chain2.draw_start(0))
    put_cube(chain2, 0, *PLACE_SLOTS[0])
    chain2.step(STILL)
    put_cube(chain2, 0, -0.2, 0.0)
    put_cube(chain2, 1, *PLACE_SLOTS[1])
    assert chain2.step(STILL).stages.tolist() == [True, False]
    put_cube(chain2, 0, *PLACE_SLOTS[0])
    assert chain2.step(STILL).terminated


def test_a_cube_outside_the_zone_is_not_placed(chain2):
    chain2.reset(chain2.draw_start(0))
    put_cube(chain2, 0, 0.0, 0.04)
    assert not chain2.step(STILL).stages.any()


def test_success_terminates_and_the_time_limit_truncates():
    env = TaskEnv(chain(1, max_seconds=0.2))
    env.reset(env.draw_start(0))
    steps = [env.step(STILL) for _ in range(4)]
    assert [step.truncated for step in steps] == [False, False, False, True]
    assert not any(step.terminated for step in steps)
    env.reset(env.draw_start(0))
    for _ in range(3):
        env.step(STILL)
    put_cube(env, 0, *PLACE_SLOTS[0])
    last = env.step(STILL)
    assert last.terminated and not last.truncated, "success at the last moment is success, not a time-out"
    env.close()


def test_decisions_per_second_change_the_number_of_decisions_and_not_the_time_that_passes():
    passed = {}
    for hz in (10, 40):
        env = TaskEnv(chain(1, control_hz=hz, max_seconds=0.5))
        env.reset(env.draw_start(0))
        count, start = 0, env.state()[0]
        while not env.step(STILL).truncated:
            count += 1
        passed[hz] = (count + 1, round(env.state()[0] - start, 9))
        env.close()
    assert passed[10] == (5, 0.5)
    assert passed[40] == (20, 0.48), "a decision at 40 Hz is 12 whole physics steps of 2 ms"


def test_dead_time_ignores_actions_shows_itself_and_does_not_count_towards_the_limit():
    padded, plain = TaskEnv(chain(2, padding=0.25, max_seconds=0.4)), TaskEnv(chain(2, max_seconds=0.4))
    push = np.array([1.0, 0, 0, 0, 0, 0, 1])
    start = padded.draw_start(0)
    padded.reset(start)
    plain.reset(start)
    flags = []
    for _ in range(5):  # 0.25 s at 20 Hz
        assert padded.dead
        flags.append(padded.step(push).obs["object"][-1])
        plain.step(STILL)
        np.testing.assert_array_equal(padded.state(), plain.state())
    assert flags == [1, 1, 1, 1, 0] and not padded.dead
    put_cube(padded, 0, *PLACE_SLOTS[0])
    padded.step(push)
    assert padded.dead, "dead time follows a completed stage"
    steps = [padded.step(push) for _ in range(12)]
    assert [step.truncated for step in steps] == [False] * 11 + [True], "5 dead, then the rest of 8 live decisions"
    assert padded.task.horizon == 8 + 2 * 5
    padded.close()
    plain.close()


def test_the_robot_holds_its_grip_through_dead_time():
    env = TaskEnv(chain(2, padding=0.5))
    env.reset(env.draw_start(0))
    for _ in range(10):
        env.step(STILL)
    env.step(np.array([0, 0, 0, 0, 0, 0, 1.0]))
    put_cube(env, 0, *PLACE_SLOTS[0])
    env.step(np.array([0, 0, 0, 0, 0, 0, 1.0]))
    for _ in range(9):
        step = env.step(np.array([0, 0, 0, 0, 0, 0, -1.0]))
    assert np.ptp(step.obs["robot0_gripper_qpos"]) < 0.01, "an open command in dead time does not stop the closing"
    env.close()


@pytest.fixture(scope="module")
def transport() -> TaskEnv:
    env = TaskEnv(load_task("transport").model_copy(update={"padding": 0.5}))
    yield env
    env.close()


def test_two_arms_observe_and_act_as_robomimic_has_them(transport):
    """An action is 7 numbers of the first arm, then 7 of the second, each in the frame of its own base."""
    own = {"eef_pos": 3, "eef_quat": 4, "gripper_qpos": 2}
    robots = {f"robot{i}_{name}": size for i in (0, 1) for name, size in own.items()}
    assert transport.spec == robots | {"object": 42} and transport.action_dim == 14 and transport.loop == "exact"
    before = transport.reset(transport.draw_start(0))
    for _ in range(10):
        transport.step(np.zeros(14))
    ahead = np.zeros(14)
    ahead[0] = 1.0  # the arms face each other: forward is +y of the first, -y of the second
    for _ in range(5):
        after = transport.step(ahead).obs
    moved = [after[f"robot{i}_eef_pos"] - before[f"robot{i}_eef_pos"] for i in (0, 1)]
    assert moved[0][1] > 0.03 and np.abs(moved[1]).max() < 0.01
    for _ in range(5):
        after = transport.step(np.roll(ahead, 7)).obs
    assert (after["robot1_eef_pos"] - before["robot1_eef_pos"])[1] < -0.03


def test_both_grippers_hold_through_dead_time(transport):
    transport.reset(transport.draw_start(1))
    closing = np.zeros(14)
    for _ in range(10):
        transport.step(closing)
    closing[[6, 13]] = 1.0, -1.0
    for _ in range(12):
        transport.step(closing)
    transport._dead = 10
    for _ in range(10):
        step = transport.step(-closing)
    assert np.ptp(step.obs["robot0_gripper_qpos"]) < 0.01 < 0.07 < np.ptp(step.obs["robot1_gripper_qpos"])


def test_stages_of_transport_follow_the_lid_the_hammer_and_the_bins(transport):
    transport.reset(transport.draw_start(2))
    simulator, held = transport.scene.env, transport._predicates
    assert not any(predicate(transport.scene) for predicate in held)
    lid, payload, trash = (simulator.transport.objects[name].joints[0] for name in ("lid", "payload", "trash"))

    def lay(joint: str, place: np.ndarray) -> list[bool]:
        simulator.sim.data.set_joint_qpos(joint, np.array([*place, 1, 0, 0, 0]))
        simulator.sim.forward()
        return [predicate(transport.scene) for predicate in held]

    assert lay(lid, [-0.2, -0.45, 0.83]) == [True, False, False, False, False]
    assert lay(trash, simulator.transport.trash_bin_pos + [0, 0, 0.0249]) == [True, False, False, False, False]
    assert lay(payload, simulator.transport.target_bin_pos + [0, 0, 0.1049]) == [True, False, False, True, True]


def test_an_unpadded_robosuite_scene_has_robomimics_observation_and_a_padded_one_a_flag_more():
    lift = load_task("lift")
    plain, padded = TaskEnv(lift), TaskEnv(lift.model_copy(update={"padding": 0.1}))
    assert (plain.spec["object"], padded.spec["object"]) == (10, 11)
    plain.close()
    padded.close()


def test_diverged_actions_and_unknown_names_are_named(chain2):
    chain2.reset(chain2.draw_start(0))
    with pytest.raises(RunError, match="NaN"):
        chain2.step(np.full(7, np.nan))
    with pytest.raises(UsageError, match="Did you mean 'chain'"):
        TaskEnv(chain(1, env="chian"))
    with pytest.raises(UsageError, match="Did you mean 'cube_1_placed'"):
        TaskEnv(chain(1, stages=["cube_1_place"]))
    with pytest.raises(UsageError, match="cubes"):
        TaskEnv(chain(1, params={"cubes": 9}))
    with pytest.raises(UsageError, match="Did you mean 'cubes'"):
        TaskEnv(chain(1, params={"cubes": 1, "cube": 1}))


def test_actions_beyond_the_limits_are_clipped(chain2):
    states = []
    for scale in (1.0, 9.0):
        chain2.reset(chain2.draw_start(1))
        chain2.step(scale * np.ones(7))
        states.append(chain2.state())
    np.testing.assert_array_equal(*states)


def test_robomimic_can_build_the_environment_from_its_description(chain2):
    described = json.loads(json.dumps(chain2.env_args()))
    assert described["type"] == 1 and described["env_name"] == "Chain"
    rebuilt = make_simulator(described["env_name"], described["env_kwargs"])
    assert rebuilt.sim.get_state().flatten().shape == chain2.state().shape
    rebuilt.close()


def test_a_camera_sees_the_scene_and_a_wrong_one_is_named(chain2):
    chain2.reset(chain2.draw_start(0))
    try:
        image = chain2.render("agentview", 64)
    except RunError as error:
        pytest.skip(f"no renderer on this machine: {error}")
    assert image.shape == (64, 64, 3) and image.dtype == np.uint8 and image.std() > 10
    with pytest.raises(UsageError, match="agentview"):
        chain2.render("agentvew", 64)


def test_a_machine_without_a_renderer_is_told_what_to_install(chain2, monkeypatch):
    monkeypatch.setenv("MUJOCO_GL", "nothing")
    chain2.reset(chain2.draw_start(0))
    with pytest.raises(RunError, match="MUJOCO_GL=egl"):
        chain2.render("agentview", 48)
