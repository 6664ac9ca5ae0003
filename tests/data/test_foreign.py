"""Files of other software: what validate calls faultless is read, and what it does not is refused in its words."""

import json
import os
import re
import subprocess
import sys

import foreign
import h5py
import numpy as np
import pytest
from foreign import LIFT, as_robomimic, both, changed, demos

from robo_orl.base.errors import UsageError
from robo_orl.config import DataReading, ObservationConfig
from robo_orl.config.presets import load_policy
from robo_orl.data.cache import open_cache
from robo_orl.data.info import describe
from robo_orl.data.task_check import check_task
from robo_orl.data.validate import examine
from robo_orl.engine.task_data import policy_reading

KEYS = ["robot0_eef_pos", "robot0_eef_quat", "robot0_gripper_qpos", "object"]


def reading(policy="bc", **choice):
    return policy_reading(load_policy(policy), LIFT, DataReading(**choice))


def opened(path, policy="bc", **choice):
    """The arrays and the notes of a training of `policy`."""
    read = reading(policy, **choice)
    faults = examine(path, read).trains
    if faults:
        with pytest.raises(UsageError) as error:
            open_cache(path, reading=read)
        assert faults[0].rstrip(".") in str(error.value)  # the same sentence
        raise error.value
    arrays = open_cache(path, reading=read)
    notes = check_task(arrays, LIFT, read.choice.accept_mismatch)
    return arrays, [*notes, *arrays.adjusted.sentences(), *arrays.notes]


READ = {  # a file, options -> (keys, a part of a note)
    "as_robomimic": (KEYS, "does not name its task"),
    "late_key": (KEYS, None),
    "unused_kinds": (KEYS, None),
    "integer_rewards": (KEYS, None),
    "one_dimensional_key": (KEYS, None),
    "deleted_demo": (KEYS, None),
    "tail_after_success": (KEYS, "15 frames after the first success of 3 episodes are left out"),
    "wrong_counts": (KEYS, "num_samples contradicts the stored frames in 5 of 5 episodes (demo_0: 109 against 9)"),
    "first_demo_lacks_key": (
        ["robot0_eef_pos", "robot0_gripper_qpos", "object"],
        "the task's key 'robot0_eef_quat' is not read: 1 of 5 episodes lack it",
    ),
}


@pytest.mark.parametrize("name", READ)
@pytest.mark.parametrize("policy", ["bc", "iql"])
def test_it_is_read(tmp_path, name, policy):
    keys, note = READ[name]
    arrays, notes = opened(changed(tmp_path / "a.hdf5", getattr(foreign, name)), policy)
    assert list(arrays.spec) == keys
    assert any(note in n for n in notes) if note else not notes
    expected = [True, False, True, True, False][: len(arrays)]
    assert arrays.success.tolist() == expected == arrays.terminal.tolist()


def test_of_robomimics_own_layout_the_numbers_are_those_of_ours(tmp_path):
    ours = open_cache(foreign.lift_file(tmp_path / "a.hdf5"), reading=reading())
    theirs, notes = opened(changed(tmp_path / "b.hdf5", as_robomimic))
    for name in ("observations", "actions", "rewards", "starts", "success", "terminal"):
        np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name))
    assert len(notes) == 2 and "has no stages" in notes[1]


def without(*names):
    """robomimic's layout without datasets of these names."""

    def act(file):
        as_robomimic(file)
        for demo in demos(file):
            for name in names:
                del demo[name]

    return act


def one_without_stages(file):
    del file["data/demo_2/stages"]


STAGELESS = {
    "has no stages.* NEW.hdf5` takes them from its states": as_robomimic,
    "has no stages.*and it has no states of this simulator": without("states"),
    "has episodes with other stages.* from its states": one_without_stages,
}


@pytest.mark.parametrize("said", STAGELESS)
def test_a_file_without_stages_is_said_with_the_remedy(tmp_path, said):
    """By train, validate and info alike."""
    path = changed(tmp_path / "a.hdf5", STAGELESS[said])
    arrays, notes = opened(path)
    assert arrays.stages.shape[1] == 0
    for sentences in (notes, examine(path).notes, describe(path).notes):
        assert len([s for s in sentences if re.search(said, s)]) == 1, sentences


REFUSED = {
    "nested_obs": "nests its observations in obs/policy; `robo-orl data edit .* --flatten",
    "isaac_lab": "is an Isaac Lab recording and nests its observations in obs/policy; .* --flatten",
    "raw_robosuite": "is a raw robosuite recording.*`robo-orl data convert",
    "unnumbered": "names its episodes traj_0.*--renumber",
    "loud_actions": "leaves .-1, 1.*--clip-actions .* clips them",
    "external_link": "data/demo_1: is a link into the file elsewhere.hdf5",
}


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused_with_the_remedy_and_is_not_called_damaged(tmp_path, name):
    with pytest.raises(UsageError, match=REFUSED[name]) as error:
        opened(changed(tmp_path / "a.hdf5", getattr(foreign, name)))
    assert "damage" not in str(error.value) and "broken" not in str(error.value)


def test_a_flat_isaac_lab_file_trains_and_does_not_replay(tmp_path):
    def flat(file):
        foreign.isaac_lab(file)
        for demo in demos(file):
            for key in list(demo["obs/policy"]):
                demo["obs"].move(f"policy/{key}", key)
            demo["obs"].move("policy", "datagen_info")

    path = changed(tmp_path / "a.hdf5", flat)
    _, notes = opened(path)
    assert any("Isaac Lab recording" in note for note in notes)
    assert "states is a group of assets" in examine(path).replays[0]


def test_only_what_the_policy_reads_must_be_whole(tmp_path):
    path = changed(tmp_path / "a.hdf5", foreign.first_demo_lacks_key)
    policy = load_policy("bc").model_copy(update={"observation": ObservationConfig(low_dim=["robot0_eef_quat"])})
    with pytest.raises(UsageError, match="demo_0: obs/robot0_eef_quat is missing, which demo_1 has"):
        open_cache(path, reading=policy_reading(policy, LIFT, DataReading()))
    assert examine(path, policy_reading(policy, LIFT, DataReading())).trains
    assert any("demo_0: obs/robot0_eef_quat" in fault for fault in examine(path).robomimic)


def test_a_number_a_frame_is_a_key(tmp_path):
    arrays = open_cache(changed(tmp_path / "a.hdf5", foreign.one_dimensional_key), ["gripper_width", "object"])
    assert arrays.spec == {"gripper_width": 1, "object": 10}
    assert arrays.observations[:3, 0].tolist() == [0, 1, 2]


def test_clipped_actions_are_counted(tmp_path):
    arrays, notes = opened(changed(tmp_path / "a.hdf5", foreign.loud_actions), clip_actions=True)
    assert np.abs(arrays.actions).max() == 1 and arrays.adjusted.clipped_frames > 10
    assert arrays.adjusted.largest_action == pytest.approx(3.75, rel=0.2)
    assert any("are clipped" in note for note in notes)


def test_a_tail_is_kept_where_it_is_wanted(tmp_path):
    arrays, _ = opened(changed(tmp_path / "a.hdf5", foreign.tail_after_success), after_success="keep")
    assert arrays.lengths.tolist() == [14, 12, 12, 20, 12]


def scaled(factor, offset=0.0):
    def act(file):
        as_robomimic(file)
        for demo in demos(file):
            foreign.replace_data(demo, "rewards", np.asarray(demo["rewards"]) * factor + offset)

    return act


@pytest.mark.parametrize(("factor", "offset", "note"), [(10, 0, "are 10 at success"), (1, -1, "are -1 until")])
def test_rewards_of_another_scale_are_recognised(tmp_path, factor, offset, note):
    arrays, notes = opened(changed(tmp_path / "a.hdf5", scaled(factor, offset)), "iql")
    assert arrays.rewards.sum() == 3 and set(arrays.rewards.tolist()) == {0.0, 1.0}
    assert arrays.success.tolist() == [True, False, True, True, False]
    assert any(note in n for n in notes)


def shaped(file):
    as_robomimic(file)
    for demo in demos(file):
        foreign.replace_data(demo, "rewards", np.linspace(0, 1, len(demo["actions"])))


def test_a_shaped_reward_is_refused_where_it_is_read(tmp_path):
    path = changed(tmp_path / "a.hdf5", shaped)
    with pytest.raises(UsageError, match="look like a shaped reward; --rewards as_is"):
        opened(path, "iql")
    opened(path, "bc")  # reads none
    assert opened(path, "iql", rewards="as_is")[0].rewards.max() == 1


def without_rewards(file):
    del demos(file)[1]["rewards"]


@pytest.mark.parametrize("change", [without_rewards, both(as_robomimic, without_rewards)], ids=["ours", "robomimic's"])
def test_missing_rewards_are_refused_where_they_are_read(tmp_path, change):
    path = changed(tmp_path / "a.hdf5", change)
    remedy = "--rewards success puts 1" if change is without_rewards else "`robo-orl data relabel` writes"
    with pytest.raises(
        UsageError, match=f"demo_1: the dataset rewards is missing; {remedy}.*such as bc, train without"
    ):
        opened(path, "iql")
    opened(path, "bc")
    if change is without_rewards:
        assert opened(path, "iql", rewards="success")[0].rewards.sum() == 3


def described(**changes):
    """Another description of the environment."""

    def act(file):
        as_robomimic(file)
        settings = foreign.ENV["env_kwargs"] | changes.pop("env_kwargs", {})
        file["data"].attrs["env_args"] = json.dumps(foreign.ENV | {"env_kwargs": settings} | changes)

    return act


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"env_name": "Stack"}, "in the environment Stack, and the task's is Lift"),
        ({"env_kwargs": {"robots": "Sawyer"}}, "its robot is Sawyer"),
        ({"env_kwargs": {"control_freq": 10}}, "recorded at 10 Hz, and the task runs at 20"),
        ({"env_kwargs": {"controller_configs": {"type": "JOINT_VELOCITY"}}}, "its controller is JOINT_VELOCITY"),
        ({"env_kwargs": {"controller_configs": {"type": "OSC_POSE", "control_delta": False}}}, "absolute poses"),
        (
            {"env_kwargs": {"controller_configs": {"body_parts": {"right": {"input_type": "absolute"}}}}},
            "absolute poses",
        ),
    ],
)
def test_another_environment_is_refused_unless_it_is_accepted(tmp_path, change, said):
    path = changed(tmp_path / "a.hdf5", described(**change))
    with pytest.raises(UsageError, match=f"{said}.*--accept-mismatch"):
        opened(path)
    _, notes = opened(path, accept_mismatch=True)
    assert any(said in note and "accepted" in note for note in notes)


def test_what_cannot_be_compared_is_said(tmp_path):
    def silent(file):
        as_robomimic(file)
        del file["data"].attrs["env_args"]

    _, notes = opened(changed(tmp_path / "a.hdf5", silent))
    assert any("does not say its environment nor its robot nor its control rate nor its controller" in n for n in notes)


def test_absolute_actions_are_recognised_by_their_numbers(tmp_path):
    def absolute(file):
        as_robomimic(file)
        for demo in demos(file):
            demo["actions"][:, :3] = demo["obs/robot0_eef_pos"][:] + 0.01

    with pytest.raises(UsageError, match="are absolute poses"):
        opened(changed(tmp_path / "a.hdf5", absolute), clip_actions=False)
    with pytest.raises(UsageError, match="are absolute poses"):  # clipping does not make them deltas
        opened(changed(tmp_path / "a.hdf5", absolute), clip_actions=True)


def test_keys_and_actions_of_another_size_than_the_simulators_are_refused_before_training(tmp_path):
    def narrow(file):
        as_robomimic(file)
        for demo in demos(file):
            foreign.replace_data(demo["obs"], "object", np.zeros((len(demo["actions"]), 6)))

    with pytest.raises(UsageError, match=r"'object' has 6 numbers.*lift 10: leave it out with --set"):
        opened(changed(tmp_path / "a.hdf5", narrow))

    def six(file):
        as_robomimic(file)
        for demo in demos(file):
            foreign.replace_data(demo, "actions", np.asarray(demo["actions"])[:, :6])

    with pytest.raises(UsageError, match="actions of 6 numbers, and lift takes 7"):
        opened(changed(tmp_path / "b.hdf5", six))


def test_a_key_that_the_simulator_does_not_provide_is_refused_before_training(tmp_path):
    path = changed(tmp_path / "a.hdf5", both(as_robomimic, foreign.one_dimensional_key))
    arrays = open_cache(path, ["robot0_eef_pos", "gripper_width"])
    with pytest.raises(UsageError, match=r"reads 'gripper_width', which the simulator of lift does not provide"):
        check_task(arrays, LIFT)


def test_robosuites_name_of_the_object_key_is_known(tmp_path):
    def renamed(file):
        as_robomimic(file)
        for demo in demos(file):
            demo["obs"].move("object", "object-state")

    arrays, _ = opened(changed(tmp_path / "a.hdf5", renamed))
    assert list(arrays.spec) == KEYS


def test_another_format_is_not_read_as_ours(tmp_path):
    path = changed(tmp_path / "a.hdf5", lambda file: file["data"].attrs.__setitem__("format", 99))
    with pytest.raises(UsageError, match="was written in format 99, and this robo-orl reads format 1"):
        opened(path)


def test_what_is_no_robomimic_file_is_named(tmp_path):
    pointer = tmp_path / "pointer.hdf5"
    pointer.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n")
    lerobot = tmp_path / "lerobot"
    (lerobot / "meta").mkdir(parents=True)
    (lerobot / "meta" / "info.json").write_text("{}")
    aloha = tmp_path / "aloha.hdf5"
    with h5py.File(aloha, "w") as file:
        file["action"], file["observations/qpos"] = np.zeros((3, 14)), np.zeros((3, 14))
    for path, said in ((pointer, "Git LFS pointer.*git lfs pull"), (lerobot, "LeRobot data set"), (aloha, "ALOHA")):
        with pytest.raises(UsageError, match=said):
            opened(path)


def test_a_file_that_is_being_written_is_named(tmp_path):
    path = foreign.lift_file(tmp_path / "a.hdf5")
    code = f"import h5py, sys; file = h5py.File({str(path)!r}, 'r+'); print('open', flush=True); sys.stdin.read()"
    writer = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert writer.stdout.readline()
    with pytest.raises(UsageError, match="open for writing in another process"):
        open_cache(path)
    writer.communicate()
    open_cache(path)


def test_a_pipe_is_named_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe.hdf5")
    with pytest.raises(UsageError, match="is a pipe or a device"):
        open_cache(tmp_path / "pipe.hdf5")


def test_info_counts_the_stored_frames(tmp_path):
    path = changed(tmp_path / "a.hdf5", foreign.wrong_counts)
    summary = describe(path)
    assert summary.all.frames == 55 and "109 against 9" in summary.notes[0]


def test_info_lists_no_operator_where_the_file_names_none(tmp_path):
    assert describe(changed(tmp_path / "a.hdf5", as_robomimic)).operators == {}
