"""Recordings of other people: named, converted by restoring their states, replayed, drawn, trained on."""

import json
import shutil
from pathlib import Path

import foreign
import h5py
import numpy as np
import pytest

from robo_orl.base.errors import UsageError
from robo_orl.config import DataReading, ObservationConfig, RunConfig, View
from robo_orl.config.presets import load_policy, load_task
from robo_orl.data.add_images import add_images
from robo_orl.data.cache import open_cache
from robo_orl.data.convert import convert
from robo_orl.data.generate import generate
from robo_orl.data.replay import replay
from robo_orl.data.validate import examine, faults
from robo_orl.engine.task_data import open_data

FILES = Path(__file__).parent / "files"
RAW = FILES / "robosuite_raw"
REACHING = FILES / "robomimic_layout" / "reaching_custom_env_2_demos.hdf5"


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
        open_cache(FILES / "lerobot_v21" / "data" / "episode_000000.parquet")


def test_a_robomimic_file_of_an_environment_of_its_own(tmp_path):
    """Its environment is unknown, its reward is 10, its counts are wrong: what can be read trains where one says so."""
    assert examine(REACHING).trains == [] and len(examine(REACHING).robomimic) == 3
    own = ["robot0_eef_pos", "robot0_eef_quat", "robot0_gripper_qpos"]
    policy = load_policy("iql").model_copy(update={"observation": ObservationConfig(low_dim=own)})

    def opened(**fields):
        return open_data(RunConfig(policy=policy, task=load_task("lift"), data=str(REACHING), **fields))[0]

    with pytest.raises(UsageError, match="environment ReachingFrankaBC, and the task's is Lift; --accept-mismatch"):
        opened()
    arrays = opened(reading=DataReading(accept_mismatch=True))
    assert list(arrays.spec) == own and arrays.success.all() and arrays.rewards.sum() == 2
    assert any("rewards are 10 at success" in note for note in arrays.notes)
    assert any("demo_1: 322 against 111" in note for note in arrays.notes)


# ----------------------------------------------------------------------------------------------------- with a simulator

simulated = pytest.mark.skipif(
    pytest.importorskip("importlib.util").find_spec("robosuite") is None, reason="robosuite is not installed"
)


@simulated
@pytest.mark.parametrize(("name", "task"), [("lift", "lift"), ("stack", "stack"), ("nut-assembly", "square")])
def test_restored_states_succeed(tmp_path, name, task):
    """One human demonstration each, of robosuite 1.0; square is one of the two nuts of the recording."""
    path, out, config = RAW / f"v1.0_{name}" / "demo.hdf5", tmp_path / "a.hdf5", load_task(task)
    if task == "square":
        with pytest.raises(UsageError, match="environment NutAssembly, and the task's is NutAssemblySquare"):
            convert(path, config, out, workers=1, progress=False)
    summary = convert(path, config, out, workers=1, progress=False, accept_mismatch=task == "square").summary
    assert faults(out) == [] and summary.all.success_k == summary.all.episodes == 1
    arrays = open_cache(out)
    assert arrays.terminal.all() and arrays.stages[-1].all() and not arrays.stages[0].any()
    assert convert(path, config, out, progress=False, accept_mismatch=True).already_complete


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
