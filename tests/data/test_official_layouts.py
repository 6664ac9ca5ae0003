"""Files as robomimic has written them since 2021: each description of the environment is read and means what it did."""

import json

import foreign
import h5py
import numpy as np
import pytest
from foreign import changed, demos
from synthetic import episode, write

from robo_orl.base.errors import UsageError
from robo_orl.config import DataReading, ObservationConfig, RunConfig
from robo_orl.config.presets import load_policy, load_task
from robo_orl.data.arm_frames import TURNED, arm_yaws, in_base_axes, is_in_world
from robo_orl.data.recording import open_recordings, read_recording
from robo_orl.data.validate import examine
from robo_orl.engine.task_data import open_data
from robo_orl.envs.registry import observation_sizes, scene_entry

OLD = {  # robosuite 1.2 to 1.4
    "type": "OSC_POSE", "input_max": 1, "input_min": -1, "output_max": [0.05, 0.05, 0.05, 0.5, 0.5, 0.5],
    "output_min": [-0.05, -0.05, -0.05, -0.5, -0.5, -0.5], "kp": 150, "damping": 1, "impedance_mode": "fixed",
    "kp_limits": [0, 300], "damping_limits": [0, 10], "position_limits": None, "orientation_limits": None,
    "uncouple_pos_ori": True, "control_delta": True, "interpolation": None, "ramp_ratio": 0.2,
}  # fmt: skip
NEW = {  # robosuite 1.5, as the files for it have it
    "type": "BASIC",
    "body_parts": {"right": OLD | {"input_type": "delta", "input_ref_frame": "world", "gripper": {"type": "GRIP"}}},
}
COMMON = {
    "has_renderer": False,
    "ignore_done": True,
    "use_object_obs": True,
    "control_freq": 20,
    "reward_shaping": False,
}


def described(name, version, controller, robots=("Panda",)):
    """env_args of robomimic 0.1 (which names no version of robosuite) to 0.5."""
    return {"env_name": name, "type": 1} | ({"env_version": version} if version else {}) | {
        "env_kwargs": COMMON | {"controller_configs": controller, "robots": list(robots)}
    }  # fmt: skip


ERAS = {"1.2": ("", OLD), "1.4": ("1.4.1", OLD), "1.5": ("1.5.1", NEW)}


def as_written(env, file):
    foreign.as_robomimic(file)
    file["data"].attrs["env_args"] = json.dumps(env)


def trained_on(path, task, policy="iql", keys=(), **choice):
    chosen = load_policy(policy)
    if keys:
        chosen = chosen.model_copy(update={"observation": ObservationConfig(low_dim=list(keys))})
    return open_data(RunConfig(policy=chosen, task=task, data=str(path), reading=DataReading(**choice)))[0]


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("done_mode", [0, 1, 2])
def test_a_file_of_every_era_and_every_meaning_of_dones_trains_alike(tmp_path, era, done_mode):
    """robomimic's done modes: 0 at success, 1 at the end of every episode, 2 at both. A terminal here is a success."""

    def change(file):
        as_written(described("Lift", *ERAS[era]), file)
        for demo in demos(file):
            success = np.asarray(demo["rewards"][:]) > 0
            ends = np.arange(len(success)) == len(success) - 1
            foreign.replace_data(demo, "dones", (success, ends, success | ends)[done_mode].astype(np.int64))

    path = changed(tmp_path / "a.hdf5", change)
    assert examine(path).trains == []
    arrays = trained_on(path, load_task("lift"))
    assert arrays.terminal.tolist() == arrays.success.tolist() == [True, False, True, True, False]
    assert arrays.rewards.sum() == 3 and not any("differ" in note or "accepted" in note for note in arrays.notes)


def test_dense_rewards_of_machine_generated_files_are_cloned_and_refused_where_they_would_be_valued(tmp_path):
    def dense(file):
        as_written(described("Lift", *ERAS["1.4"]), file)
        for seed, demo in enumerate(demos(file)):
            foreign.replace_data(demo, "rewards", np.random.default_rng(seed).uniform(0, 0.7, len(demo["actions"])))

    path = changed(tmp_path / "a.hdf5", dense)
    assert len(trained_on(path, load_task("lift"), "bc").actions) == 55
    with pytest.raises(UsageError, match="look like a shaped reward; --rewards as_is"):
        trained_on(path, load_task("lift"))


# ------------------------------------------------------------------------------------------------------------- two arms


def two_armed(path, controller, version="1.4.1"):
    """A file of transport: keys robot0_ and robot1_, actions of 14 numbers."""
    task = load_task("transport")
    draw, episodes = np.random.default_rng(3), []
    for length, won in ((9, True), (12, False)):
        sizes = observation_sizes(task)
        seen = {key: draw.normal(size=(length + 1, size)).astype(np.float32) for key, size in sizes.items()}
        obs, after = ({key: v[a : length + a] for key, v in seen.items()} for a in (0, 1))
        actions = draw.uniform(-1, 1, (length, 14)).astype(np.float32)
        stages = np.zeros((length, len(task.stages)), np.uint8)
        episodes.append(episode(length, won, obs=obs, next_obs=after, actions=actions, stages=stages))
    write(path, episodes, task=task)
    with h5py.File(path, "r+") as file:
        as_written(described("TwoArmTransport", version, controller, ("Panda", "Panda")), file)
    return path, [one.actions for one in episodes]


@pytest.mark.parametrize("controller", [OLD, [OLD, OLD], NEW, [NEW, NEW]], ids=["old", "olds", "new", "news"])
def test_actions_of_facing_arms_in_the_worlds_axes_are_turned_into_each_arms_own(tmp_path, controller):
    path, actions = two_armed(tmp_path / "a.hdf5", controller)
    task = load_task("transport")
    arrays = trained_on(path, task)
    assert TURNED in arrays.notes and set(arrays.spec) == set(observation_sizes(task))
    stored = np.concatenate(actions)
    first, second = stored[:, :7], stored[:, 7:]  # by hand: a quarter turn left, and one right
    expected = [first[:, 1], -first[:, 0], first[:, 2], first[:, 4], -first[:, 3], first[:, 5], first[:, 6]]
    expected += [-second[:, 1], second[:, 0], second[:, 2], -second[:, 4], second[:, 3], second[:, 5], second[:, 6]]
    np.testing.assert_array_equal(arrays.actions, np.stack(expected, axis=1))
    assert TURNED in open_recordings(path, task).notes
    np.testing.assert_array_equal(read_recording(path, "demo_0").actions, arrays.actions[:9])


def test_actions_in_each_arms_base_stay_as_they_are(tmp_path):
    own = {"type": "BASIC", "body_parts": {"right": OLD | {"input_ref_frame": "base"}}}
    path, actions = two_armed(tmp_path / "a.hdf5", [own, own], "1.5.2")
    arrays = trained_on(path, load_task("transport"))
    np.testing.assert_array_equal(arrays.actions, np.concatenate(actions))
    assert TURNED not in arrays.notes


def test_of_one_arm_that_looks_along_x_both_frames_are_one():
    for controller in (OLD, NEW):
        assert is_in_world(described("Lift", "", controller)) and arm_yaws(described("Lift", "", controller)) == ()
    assert not is_in_world({}) and not is_in_world({"env_kwargs": {"controller_configs": {"type": "JOINT_VELOCITY"}}})


def test_turning_is_a_rotation_and_its_inverse_turns_back():
    from scipy.spatial.transform import Rotation

    actions = np.random.default_rng(0).uniform(-1, 1, (50, 14))
    turned = in_base_axes(actions, (0.7, -2.0))
    for arm, yaw in enumerate((0.7, -2.0)):
        base, at = Rotation.from_euler("z", yaw), 7 * arm
        np.testing.assert_allclose(base.apply(turned[:, at : at + 3]), actions[:, at : at + 3], atol=1e-9)
        seen = base.inv() * Rotation.from_rotvec(actions[:, at + 3 : at + 6]) * base  # B' R B
        np.testing.assert_allclose(seen.as_rotvec(), turned[:, at + 3 : at + 6], atol=1e-9)
        np.testing.assert_array_equal(turned[:, at + 6], actions[:, at + 6])


def test_robomimics_own_loader_which_would_not_turn_them_is_refused(tmp_path):
    from robo_orl.robomimic.algorithms import load_reference
    from robo_orl.robomimic.reference_data import open_reference_data

    path, _ = two_armed(tmp_path / "a.hdf5", NEW, "1.5.1")
    with pytest.raises(UsageError, match="world's axes.*not by robomimic's loader; `robo-orl data convert"):
        open_reference_data(load_reference("bc_rnn_gmm"), load_task("transport"), path, False)


@pytest.mark.slow
def test_a_turned_action_moves_both_arms_as_the_worlds_does_in_a_controller_of_the_worlds_axes():
    """The simulator's word: robosuite with world-frame controllers against ours, and the bases' real headings."""
    from robo_orl.envs.registry import env_kwargs, make_simulator
    from robo_orl.envs.task_env import TaskEnv

    task = load_task("transport")
    ours = TaskEnv(task, "stock")
    assert [hand.base_yaw for hand in ours.scene.hands] == pytest.approx(scene_entry(task).base_yaws)
    kwargs = env_kwargs(20, {}, ("Panda", "Panda"))
    for config in kwargs["controller_configs"]:
        config["body_parts"]["right"]["input_ref_frame"] = "world"
    world = make_simulator("TwoArmTransport", kwargs | {"seed": 0})
    start = ours.draw_start(4)
    ours.reset(start)
    world.reset()
    from robo_orl.envs.recorded_state import begin_at

    begin_at(world, ours.state(), ours.model_xml())
    ours.begin_at(ours.state(), ours.model_xml())
    draw = np.random.default_rng(1)
    for _ in range(15):
        action = draw.uniform(-1, 1, 14)
        world.step(action)
        ours.step(in_base_axes(action[None], scene_entry(task).base_yaws)[0])
    joints = 1 + np.concatenate([robot._ref_joint_pos_indexes for robot in world.robots])  # time comes first
    np.testing.assert_allclose(ours.state()[joints], world.sim.get_state().flatten()[joints], atol=1e-9)
    ours.close()
    world.close()
