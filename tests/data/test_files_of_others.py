"""Recordings of other people: named, converted by restoring their states, replayed, drawn, trained on.

ROBO_ORL_REAL_FILES names another folder of the same files, such as the whole ones of which those here are a part.
"""

import json
import os
import shutil
from pathlib import Path

import foreign
import h5py
import numpy as np
import pytest
from typer.testing import CliRunner

from robo_orl.base.errors import UsageError
from robo_orl.config import DataReading, ObservationConfig, RunConfig, TaskConfig, View
from robo_orl.config.presets import load_policy, load_task
from robo_orl.data.add_images import add_images
from robo_orl.data.cache import open_cache
from robo_orl.data.convert import convert, not_restored, restored
from robo_orl.data.generate import generate
from robo_orl.data.recording import open_recordings, read_recording
from robo_orl.data.replay import replay
from robo_orl.data.validate import examine, faults
from robo_orl.engine.task_data import open_data
from robo_orl.envs.recorded_state import body_places

FILES = Path(os.environ.get("ROBO_ORL_REAL_FILES", Path(__file__).parent / "files"))
RAW = FILES / "robosuite_raw"
REACHING = next(FILES.glob("robomimic_layout/reaching_custom_env_*.hdf5"))


def recording_of(name):
    """The one human demonstration of robosuite 1.0."""
    return next((RAW / f"v1.0_{name}").rglob("demo.hdf5"))


@pytest.mark.parametrize("path", sorted(RAW.rglob("*.hdf5")), ids=lambda p: str(p.relative_to(RAW)))
def test_a_raw_recording_is_named_with_the_command_that_converts_it(path):
    findings = examine(path)
    assert findings.replays == [] and len(findings.trains) == 1
    with pytest.raises(UsageError, match="is a raw robosuite recording.*`robo-orl data convert"):
        open_cache(path)


def test_a_lerobot_data_set_is_named():
    with pytest.raises(UsageError, match="is a LeRobot data set"):
        open_cache(FILES / "lerobot_v21")
    with pytest.raises(UsageError, match="is a Parquet file, as LeRobot"):
        open_cache(next((FILES / "lerobot_v21" / "data").rglob("episode_000000.parquet")))


def test_a_robomimic_file_of_an_environment_of_its_own(tmp_path):
    """Its environment is unknown, its reward is 10, its counts are wrong: what can be read trains where one says so."""
    assert examine(REACHING).trains == [] and "data: total says" in examine(REACHING).robomimic[-1]
    own = ["robot0_eef_pos", "robot0_eef_quat", "robot0_gripper_qpos"]
    policy = load_policy("iql").model_copy(update={"observation": ObservationConfig(low_dim=own)})

    def opened(**fields):
        return open_data(RunConfig(policy=policy, task=load_task("lift"), data=str(REACHING), **fields))[0]

    with pytest.raises(UsageError, match="environment ReachingFrankaBC, and the task's is Lift; --accept-mismatch"):
        opened()
    arrays = opened(reading=DataReading(accept_mismatch=True))
    assert list(arrays.spec) == own and arrays.success.all() and arrays.rewards.sum() == len(arrays)
    assert any("rewards are 10 at success" in note for note in arrays.notes)
    assert any("demo_1: 322 against 111" in note for note in arrays.notes)


# ----------------------------------------------------------------------------------------------------- with a simulator

simulated = pytest.mark.skipif(
    pytest.importorskip("importlib.util").find_spec("robosuite") is None, reason="robosuite is not installed"
)


PART_OF = {  # a task whose scene is the recording's, and whose success is a part of that
    "square": "environment NutAssembly, and the task's is NutAssemblySquare; --accept-mismatch",
    "can": "environment PickPlace, and the task's is PickPlaceCan; --accept-mismatch",
}
RESTORED = {"lift": "lift", "stack": "stack", "nut-assembly": "square", "pick-place": "can"}


@simulated
@pytest.mark.parametrize("name", RESTORED)
def test_restored_states_succeed(tmp_path, name):
    """square is one of the two nuts of its recording, can one of four things."""
    path, out, config = recording_of(name), tmp_path / "a.hdf5", load_task(RESTORED[name])
    part = config.name in PART_OF
    if part:
        with pytest.raises(UsageError, match=PART_OF[config.name]):
            convert(path, config, out, workers=1, progress=False)
    summary = convert(path, config, out, workers=1, progress=False, accept_mismatch=part).summary
    assert faults(out) == [] and summary.all.success_k == summary.all.episodes == 1
    arrays = open_cache(out)
    assert arrays.terminal.all() and arrays.stages[-1].all() and not arrays.stages[0].any()
    assert convert(path, config, out, progress=False, accept_mismatch=True).already_complete


@simulated
@pytest.mark.parametrize("task", ["lift", None])
def test_a_recording_of_a_scene_that_no_task_has_names_the_scene_and_the_remedy(tmp_path, task):
    config = load_task(task) if task else None
    with pytest.raises(
        UsageError, match="recorded in the scene Door, which no task here has: `robo-orl task new --from"
    ):
        open_recordings(recording_of("door"), config)
    with pytest.raises(UsageError, match="hold 23 numbers, and the scene Lift has 32"):
        convert(recording_of("door"), load_task("lift"), tmp_path / "a", 1, accept_mismatch=True, progress=False)
    assert not (tmp_path / "a").exists()


@simulated
def test_that_remedy_restores_the_door_in_its_recorded_place_and_it_opens():
    """The task that the refusal asks for: the door's frame stands where the recording's model has it."""
    from robo_orl.data.new_task import task_of
    from robo_orl.envs.task_env import TaskEnv

    own, lacking = task_of(recording_of("door"), "door")
    assert not lacking
    assert (own["env"], own["stages"], own["max_seconds"]) == ("robosuite:Door", ["success"], 20)
    stages = {"stages": ["touched", "success"], "conditions": {"touched": "touching('Door')"}}
    task = TaskConfig(name="door", **own | stages)
    source = open_recordings(recording_of("door"), task)
    recording, env = read_recording(source.path, source.names[0]), TaskEnv(task, "stock")
    episode = restored(env, recording, [])
    place, _ = body_places(recording.model_xml)["Door"]
    root = env.scene.env.sim.model.body_name2id("Door_main")
    np.testing.assert_allclose(env.scene.env.sim.data.body_xpos[root], place, atol=1e-6)
    first = episode.stages.argmax(axis=0)  # the frame of each stage
    assert episode.success and 0 < first[0] < first[1] == len(episode.actions) - 1 < len(recording.actions)


@simulated
def test_a_converted_recording_is_a_file_of_ours(tmp_path):
    """robosuite 1.4: three human demonstrations, keyboard actions of up to 3.75, tails after the success."""
    path, out = RAW / "panda_lift_v1.4.0_3_demos.hdf5", tmp_path / "a.hdf5"
    written = convert(path, load_task("lift"), out, workers=2, next_obs=True, progress=False)
    assert written.summary.all.success_k == 3 and faults(out) == [] and written.counts["clipped_frames"] > 50
    with h5py.File(path) as raw, h5py.File(out) as made:
        for number in range(3):
            states, demo = raw[f"data/demo_{number + 1}/states"][:], made[f"data/demo_{number}"]
            assert len(demo["actions"]) < len(states) and np.abs(demo["actions"][:]).max() <= 1
            np.testing.assert_array_equal(demo["states"][:], states[: len(demo["states"])])
            np.testing.assert_array_equal(demo["obs/robot0_eef_pos"][1:], demo["next_obs/robot0_eef_pos"][:-1])
    replayed = replay(out, episodes=2, workers=2, progress=False).to_json()
    assert replayed["replayed_success_k"] == 2  # of three; the third misses the cube by its own actions


@pytest.fixture(scope="module")
def generated(tmp_path_factory):
    """Two episodes of lift, as robo-orl writes them."""
    out = tmp_path_factory.mktemp("others") / "lift.hdf5"
    generate(load_task("lift"), "ph", 2, out, workers=2, progress=False)
    return out


@pytest.fixture
def stripped(generated, tmp_path):
    """The same, with nothing in it that robomimic does not write."""
    path = Path(shutil.copy(generated, tmp_path / "robomimic.hdf5"))
    with h5py.File(path, "r+") as file:
        described = file["data"].attrs["env_args"]
        foreign.as_robomimic(file)
        file["data"].attrs["env_args"] = described
    return path


@simulated
def test_robomimics_own_layout_replays_from_states_and_model(stripped, tmp_path):
    with pytest.raises(UsageError, match=r"does not name its task \(its environment is Lift\).*--task lift"):
        replay(stripped, progress=False)
    replayed = replay(stripped, workers=2, progress=False, task=load_task("lift")).to_json()
    assert replayed["recorded_success_k"] == replayed["replayed_success_k"] == replayed["success_n"] == 2
    assert replayed["max_state_difference"] < 1e-2
    with pytest.raises(UsageError, match="environment Lift, and the task's is Stack"):
        replay(stripped, progress=False, task=load_task("stack"))
    with pytest.raises(UsageError, match="hold 32 numbers, and the scene Stack has 45"):
        replay(stripped, workers=1, progress=False, task=load_task("stack"), accept_mismatch=True)


@simulated
def test_conversion_gives_back_the_stages_and_the_end(generated, stripped, tmp_path):
    """The last action, whose outcome no state holds, is carried out."""
    out = tmp_path / "converted.hdf5"
    convert(stripped, load_task("lift"), out, workers=1, progress=False)
    ours, theirs = open_cache(generated), open_cache(out)
    np.testing.assert_array_equal(ours.starts, theirs.starts)
    np.testing.assert_array_equal(ours.rewards, theirs.rewards)
    assert ours.terminal.tolist() == theirs.terminal.tolist() == [True, True]
    assert np.abs(ours.stages.astype(int) - theirs.stages).sum() <= len(ours)  # a contact may come a frame earlier
    np.testing.assert_allclose(ours.obs["robot0_eef_pos"], theirs.obs["robot0_eef_pos"], atol=5e-3)
    assert all(row.replayed for row in replay(out, workers=1, progress=False).rows)


@simulated
def test_restored_states_show_what_was_seen_even_where_a_sensor_reads_another_ones_last_sample():
    """square: where the nut is from the hand is sampled before where the hand is."""
    from robo_orl.envs.task_env import TaskEnv

    env = TaskEnv(load_task("square"), "stock")
    env.reset(env.draw_start(1))
    states, seen, action = [], [], np.array([0.6, 0.3, -0.4, 0.1, 0, 0.2, 1])
    for _ in range(12):
        states.append(env.state())
        seen.append(env.step(action).obs["object"])
    states.append(env.state())
    env.begin_at(states[0])
    shown = np.stack([env.follow(state)["object"] for state in states[1:]])
    np.testing.assert_allclose(shown, np.stack(seen), atol=2e-2)  # stepped ones are one physics step older
    assert (np.abs(shown[:, 7:10]) > 0.05).any(axis=1).all()  # the nut's place from the hand
    env.close()


def test_what_an_environment_keeps_outside_its_states_is_said_and_not_invented():
    wipe, door = (TaskConfig(name=n, env=f"robosuite:{n}", stages=["success"], max_seconds=9) for n in ("Wipe", "Door"))
    assert not_restored(wipe)[0].startswith(
        "Wipe keeps outside its states which markers are wiped"
    ) and not not_restored(door)


@pytest.mark.slow
@simulated
def test_pictures_are_drawn_from_states_and_model(generated, stripped):
    view = View(cameras=("agentview",), size=32)
    ours = shutil.copy(generated, stripped.with_name("ours.hdf5"))
    add_images(ours, view, workers=1, progress=False)
    add_images(stripped, view, workers=1, progress=False, task=load_task("lift"))
    with h5py.File(ours) as a, h5py.File(stripped) as b:
        for name in a["data"]:
            np.testing.assert_array_equal(
                a[f"data/{name}/obs/agentview_image"][:], b[f"data/{name}/obs/agentview_image"][:]
            )
        assert json.loads(b["data"].attrs["render"]) == json.loads(a["data"].attrs["render"])
    assert add_images(stripped, view, progress=False, task=load_task("lift")).already_complete
    assert open_cache(stripped, cameras=["agentview"]).render["look"] == "plain"


@simulated
def test_a_reference_learns_from_robomimics_own_layout(stripped, tmp_path, capsys):
    """bc_rnn_gmm on a file without our header; what its loader needs and the file lacks is named."""
    from robo_orl.robomimic.algorithms import load_reference
    from robo_orl.robomimic.train import train_reference

    settings = ["train.num_epochs=1", "experiment.epoch_every_n_steps=2", "train.batch_size=8"]
    algorithm, task = load_reference("bc_rnn_gmm", settings), load_task("lift")
    train_reference(algorithm, task, stripped, tmp_path / "run", progress=False)
    assert "does not name its task: lift is taken" in capsys.readouterr().err
    with pytest.raises(UsageError, match="environment Lift, and the task's is Stack"):
        train_reference(algorithm, load_task("stack"), stripped, tmp_path / "b", progress=False)
    with pytest.raises(UsageError, match="iql learns from next_obs, .* `robo-orl data convert"):
        train_reference(load_reference("iql", settings), task, stripped, tmp_path / "c", progress=False)
    with h5py.File(stripped, "r+") as file:
        file["data/demo_1"].attrs["num_samples"] = 500
    with pytest.raises(UsageError, match="num_samples of demo_1 is not its number of frames.*data edit"):
        train_reference(algorithm, task, stripped, tmp_path / "d", progress=False)


@simulated
def test_a_task_from_a_recording_of_a_scene_that_is_shipped_has_that_scene_and_its_stages(tmp_path):
    from robo_orl.cli.app import app

    out = tmp_path / "tasks" / "mine.yaml"
    done = CliRunner().invoke(app, ["task", "new", "--from", str(recording_of("stack")), "--out", str(out)])
    assert done.exit_code == 0, done.output
    task, shipped = load_task(str(out)), load_task("stack")
    assert (task.name, task.env, task.stages, task.control_hz) == ("mine", "stack", shipped.stages, 20)
    assert open_recordings(recording_of("stack"), task).task == task
    with pytest.raises(UsageError, match="exists already: remove it, or give --out another name"):
        app(["task", "new", "--from", str(recording_of("stack")), "--out", str(out)], standalone_mode=False)


@simulated
def test_a_file_without_an_environment_of_robosuite_gets_a_task_without_one_and_the_reason(tmp_path):
    from robo_orl.data.new_task import task_of

    for change, sentence in (
        ({"env_name": None}, "does not say which environment it is of"),
        ({"env_name": "Reaching"}, "is of Reaching, which robosuite here does not have"),
        ({"env_kwargs": {"controller_configs": {"type": "WHOLE_BODY"}}}, "recorded with the controller WHOLE_BODY"),
        ({"env_kwargs": {"controller_configs": {"control_delta": False}}}, "its actions are absolute poses"),
        ({"env_kwargs": {"controller_configs": {"impedance_mode": "variable"}}}, "controller has impedance_mode: var"),
    ):
        path = tmp_path / "a.hdf5"
        with h5py.File(path, "w") as file:
            file["data/demo_0/actions"] = np.zeros((30, 7))
            file["data"].attrs["env_args"] = json.dumps({"env_name": "Lift"} | change)
        own, lacking = task_of(path, "mine")
        assert sentence in lacking and own["env"] == "none" and own["max_seconds"] == 3


@simulated
def test_the_robots_rate_and_parameters_of_a_file_are_those_of_its_task(tmp_path):
    from robo_orl.data.new_task import task_of

    kwargs = {"robots": ["Sawyer"], "control_freq": 10, "use_latch": False, "camera_names": ["agentview"], "horizon": 9}
    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        file["data/demo_0/actions"] = np.zeros((41, 7))
        file["data"].attrs["env_args"] = json.dumps({"env_name": "Door", "env_kwargs": kwargs})
    own, _ = task_of(tmp_path / "a.hdf5", "mine")
    assert (own["env"], own["robots"], own["control_hz"]) == ("robosuite:Door", ["Sawyer"], 10)
    assert own["params"] == {"use_latch": False} and own["max_seconds"] == 7
