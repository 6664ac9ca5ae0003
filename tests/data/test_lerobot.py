"""LeRobot data sets to robomimic's layout and back: equal numbers, pictures within the codec's error, sentences."""

import json
import shutil
from pathlib import Path

import duckdb
import h5py
import numpy as np
import pytest
from synthetic import episode, write

from robo_orl.base.errors import RunError, UsageError
from robo_orl.cli.app import main
from robo_orl.data.arrays import Reading
from robo_orl.data.info import describe
from robo_orl.data.lerobot import from_hdf5, tables, to_hdf5, v3_folder
from robo_orl.data.lerobot.from_hdf5 import export_lerobot
from robo_orl.data.lerobot.selection import Choice
from robo_orl.data.lerobot.to_hdf5 import convert_lerobot
from robo_orl.data.validate import examine

FILES = Path(__file__).parent / "files"
V21, V3 = FILES / "lerobot_v21", FILES / "lerobot_v3"
ROWS = "data/chunk-000/file-000.parquet"
VIDEO = "videos/observation.images.top/chunk-000/file-000.mp4"
CODEC_ERROR = 4.0  # of 255, mean over a picture: half of the colours' resolution is not stored


def converted(root, out, **choice):
    return convert_lerobot(root, out, Choice(**choice), progress=False)


def column(path, name, episode=0):
    query = f'SELECT "{name}" FROM read_parquet(?) WHERE episode_index = {episode} ORDER BY frame_index'
    return np.array([row[0] for row in duckdb.connect().execute(query, [str(path)]).fetchall()])


def seen(length):
    """Pictures (T, 32, 48, 3) that say their frame."""
    y, x = np.mgrid[:32, :48]
    frames = [np.stack([x * 5, y * 7, np.full_like(x, 10 * t)], -1) for t in range(length)]
    return np.stack(frames).astype(np.uint8)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A file of two episodes with a camera, made here."""
    first = episode(9, True, 0, images={"agentview_image": seen(9)}, last_images={"agentview_image": seen(1)[0]})
    second = episode(12, False, 1, images={"agentview_image": seen(12)})
    return write(tmp_path_factory.mktemp("source") / "a.hdf5", [first, second])


@pytest.fixture(scope="module")
def exported(source):
    folder = source.parent / "lerobot"
    assert export_lerobot(source, folder, progress=False).frames == 21
    return folder


@pytest.fixture
def copy(tmp_path):
    """A writable copy of the data set that LeRobot made, and its description."""
    shutil.copytree(V3, tmp_path / "set")
    return tmp_path / "set"


def test_the_numbers_of_version_2_are_those_of_its_rows(tmp_path):
    written = converted(V21, tmp_path / "a.hdf5", cameras=(), scale_actions=True)
    assert any("says 100 episodes, and the rows of 1 are there" in note for note in written.notes)
    assert examine(tmp_path / "a.hdf5", Reading(rewards=False)).trains == []
    assert written.summary.obs == {"state": 26}
    rows = V21 / "data/chunk-000/episode_000000.parquet"
    with h5py.File(tmp_path / "a.hdf5") as file:
        demo, attributes = file["data/demo_0"], file["data"].attrs
        low, high = np.array(json.loads(attributes["action_range"]))
        np.testing.assert_array_equal(demo["obs/state"], column(rows, "observation.state").astype(np.float32))
        actions = low + (demo["actions"][:] + 1) / 2 * (high - low)
        np.testing.assert_allclose(actions, column(rows, "action"), atol=1e-6)
        assert json.loads(attributes["names"])["actions"][3] == "kLeftElbow"
        assert json.loads(demo.attrs["ep_meta"])["lang"] == "Pick up the yellow bottle on the table."
        assert json.loads(attributes["env_args"])["env_kwargs"]["control_freq"] == 30
        source = json.loads(attributes["converted"])
        assert source["format"] == "LeRobot v2.1" and len(source["sha256"]) == 64


def test_actions_beyond_one_are_refused_by_their_name(tmp_path):
    with pytest.raises(UsageError, match=r"number \d+ of the actions \(k\w+\) goes from .* --scale-actions"):
        converted(V21, tmp_path / "a.hdf5", cameras=())


def test_what_lerobot_wrote_is_read(tmp_path):
    """Episode and frame stand in the pictures' colours (lerobot_side.py), so that none is of another frame."""
    written = converted(V3, tmp_path / "a.hdf5")
    assert written.summary.images == {"top_image": [64, 64, 3], "wrist_image": [32, 32, 3]}
    assert (written.summary.all.episodes, written.summary.all.success_k) == (3, 3)
    assert any(note.startswith("left out") and note.endswith("note") for note in written.notes)
    with h5py.File(tmp_path / "a.hdf5") as file:
        texts = [json.loads(demo.attrs["ep_meta"])["lang"] for demo in file["data"].values()]
        assert texts == ["lift the cube", "stack the cubes", "lift the cube"]
        for number, demo in enumerate(file["data"].values()):
            for key, name in (("obs/state", "observation.state"), ("actions", "action"), ("rewards", "next.reward")):
                np.testing.assert_array_equal(demo[key], column(V3 / ROWS, name, number).astype(np.float32))
            y, x = np.mgrid[:64, :64]
            for t in range(len(demo["actions"])):
                top = np.stack([x * 3, np.full_like(y, 20 * t), np.full_like(y, 80 * number)], -1).astype(np.uint8)
                np.testing.assert_array_equal(demo["obs/wrist_image"][t], top[:32, :32])
                middle = demo["obs/top_image"][t][8:-8, 8:-8, 1:].astype(float).mean(axis=(0, 1))
                assert abs(middle - [(20 * t) % 256, (80 * number) % 256]).max() < 10


def test_there_and_back_is_equal_but_for_the_codec(source, exported, tmp_path):
    converted(exported, tmp_path / "b.hdf5")
    with h5py.File(source) as there, h5py.File(tmp_path / "b.hdf5") as back:
        for name in ("actions", "rewards", "dones", "stages", "obs/object", "obs/robot0_eef_pos"):
            for demo in ("demo_0", "demo_1"):
                first, second = there[f"data/{demo}/{name}"], back[f"data/{demo}/{name}"]
                assert first.dtype == second.dtype
                np.testing.assert_array_equal(first, second)
        lost = {"model_file"}
        for group in ("data", "data/demo_0"):
            ours, theirs = dict(there[group].attrs), dict(back[group].attrs)
            assert {key for key in ours if ours[key] != theirs.get(key)} <= lost
        for mask in there["mask"]:
            np.testing.assert_array_equal(there["mask"][mask], back["mask"][mask])
        pictures = [file["data/demo_1/obs/agentview_image"][:].astype(float) for file in (there, back)]
        assert abs(pictures[0] - pictures[1]).mean(axis=(1, 2, 3)).max() < CODEC_ERROR
    assert examine(tmp_path / "b.hdf5").trains == [] and describe(tmp_path / "b.hdf5").task == "toy"


def test_many_files_are_one_data_set(source, exported, tmp_path, monkeypatch):
    monkeypatch.setattr(v3_folder, "DATA_MB", 1e-6)
    monkeypatch.setattr(v3_folder, "VIDEO_MB", 1e-6)
    export_lerobot(source, tmp_path / "many", progress=False)
    assert len(list((tmp_path / "many").rglob("*.mp4"))) == len(list((tmp_path / "many/data").rglob("*.parquet"))) == 2
    for root in (exported, tmp_path / "many"):
        converted(root, tmp_path / f"{root.name}.hdf5")
    with h5py.File(tmp_path / "many.hdf5") as first, h5py.File(tmp_path / "lerobot.hdf5") as second:
        for name in ("actions", "obs/agentview_image"):
            np.testing.assert_array_equal(first[f"data/demo_1/{name}"], second[f"data/demo_1/{name}"])


def test_the_description_of_an_export(exported):
    info = json.loads((exported / "meta/info.json").read_text())
    assert (info["codebase_version"], info["fps"], info["total_episodes"], info["total_frames"]) == ("v3.0", 20, 2, 21)
    assert info["features"]["observation.state"]["names"] == [f"robot0_eef_pos_{i}" for i in range(3)]
    assert info["features"]["next.stages"]["names"] == ["grasped", "placed"]
    stats = json.loads((exported / "meta/stats.json").read_text())
    actions = np.concatenate([column(exported / ROWS, "action", i) for i in (0, 1)])
    np.testing.assert_allclose(stats["action"]["std"], actions.std(axis=0), rtol=1e-9)
    np.testing.assert_allclose(stats["action"]["mean"], actions.mean(axis=0), rtol=1e-9)
    assert np.shape(stats["observation.images.agentview"]["q99"]) == (3, 1, 1)
    assert sum(column(exported / ROWS, "next.success")) == 1 and column(exported / ROWS, "next.success")[-1]


def test_scaled_pictures_and_chosen_episodes(tmp_path):
    written = converted(V3, tmp_path / "a.hdf5", cameras=("top",), size=16, episodes=(2,))
    assert written.summary.images == {"top_image": [16, 16, 3]} and written.summary.all.frames == 15


def test_success_of_a_set_that_does_not_say_it_can_be_assumed(tmp_path):
    assert any(
        "--assume-success" in note for note in converted(V21, tmp_path / "a.hdf5", cameras=(), scale_actions=True).notes
    )
    converted(V21, tmp_path / "b.hdf5", cameras=(), scale_actions=True, assume_success=True)
    assert describe(tmp_path / "b.hdf5").masks["success"].episodes == 1


# ------------------------------------------------------------------------------------------------------------ bad input


def described(root, change):
    """Change the description of a data set."""
    path = root / "meta/info.json"
    info = json.loads(path.read_text())
    change(info)
    path.write_text(json.dumps(info))


def rewritten(root, expression):
    """The rows of a data set with one column computed anew."""
    path = root / ROWS
    query = f"COPY (SELECT * REPLACE ({expression}) FROM read_parquet('{path}')) TO '{path}.new' (FORMAT parquet)"
    duckdb.connect().execute(query)
    Path(f"{path}.new").replace(path)


def cut(path, part=0.6):
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * part)])


FAULTS = {
    "version": (
        lambda r: described(r, lambda i: i.update(codebase_version="v1.6")),
        r"version v1\.6, and v2\.0, v2\.1 and",
    ),
    "damaged": (lambda r: cut(r / "meta/info.json"), "info.json is damaged"),
    "incomplete": (lambda r: described(r, lambda i: i.pop("fps")), "is no description of a LeRobot data set"),
    "no_action": (lambda r: described(r, lambda i: i["features"].pop("action")), "has no vector 'action'"),
    "no_rows": (lambda r: (r / ROWS).unlink(), "holds no episode: the files .* are missing"),
    "truncated": (lambda r: cut(r / ROWS), r"file-000\.parquet is truncated or damaged: fetch it again"),
    "no_video": (
        lambda r: (r / VIDEO).unlink(),
        r"1 videos of .* are missing, the first is .*file-000\.mp4.*--cameras",
    ),
    "damaged_video": (lambda r: cut(r / VIDEO, 0.1), r"file-000\.mp4 is damaged"),
    "short_video": (lambda r: cut(r / VIDEO), r"file-000\.mp4 ends at picture \d+, and the episode goes to"),
    "nan": (
        lambda r: rewritten(r, "['nan'::FLOAT, 0, 0, 0] AS \"observation.state\""),
        "'observation.state' of episode 0 holds NaN or infinity, first at frame 0; leave the episode out",
    ),
    "empty": (lambda r: rewritten(r, "NULL AS action"), "'action' of episode 0 holds"),
    "other_size": (lambda r: rewritten(r, "[0.5, 0]::FLOAT[] AS action"), "has 2 numbers, and meta/info.json says 4"),
    "no_column": (
        lambda r: described(r, lambda i: i["features"].update({"observation.force": i["features"]["action"]})),
        "has no column observation.force, which meta/info.json promises",
    ),
    "frames": (lambda r: rewritten(r, "frame_index * 2 AS frame_index"), "has 12 rows, and its description says 12"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_one_sentence_and_leaves_no_file(fault, copy, tmp_path):
    break_it, sentence = FAULTS[fault]
    break_it(copy)
    with pytest.raises(UsageError, match=sentence):
        converted(copy, tmp_path / "a.hdf5")
    assert not (tmp_path / "a.hdf5").exists()


def test_a_full_disk_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr("robo_orl.data.hdf5.SPARE", 10**18)
    with pytest.raises(RunError, match="The disk is full"):
        converted(V3, tmp_path / "a.hdf5")
    with pytest.raises(RunError, match="The disk is full"):
        export_lerobot(write(tmp_path / "b.hdf5", [episode(3, True)]), tmp_path / "set", progress=False)
    assert not (tmp_path / "a.hdf5").exists() and not (tmp_path / "set").exists()


def test_unknown_choices_are_named(tmp_path):
    with pytest.raises(UsageError, match="Unknown camera .*'tip'.* Did you mean 'top'"):
        converted(V3, tmp_path / "a.hdf5", cameras=("tip",))
    with pytest.raises(UsageError, match="has no episode 7; those that are there: 0:3"):
        converted(V3, tmp_path / "a.hdf5", episodes=(7,))


def test_a_conversion_that_broke_off_goes_on(tmp_path, monkeypatch):
    write_episode, written = to_hdf5._write_episode, []

    def breaks(file, selection, episode):
        if episode.index == 1:
            raise KeyboardInterrupt
        write_episode(file, selection, episode)

    monkeypatch.setattr(to_hdf5, "_write_episode", breaks)
    with pytest.raises(KeyboardInterrupt):
        converted(V3, tmp_path / "a.hdf5", cameras=())
    assert not (tmp_path / "a.hdf5").exists()
    monkeypatch.setattr(to_hdf5, "_write_episode", lambda *a: (written.append(a[2].index), write_episode(*a)))
    assert converted(V3, tmp_path / "a.hdf5", cameras=()).summary.all.episodes == 3 and written == [1, 2]
    assert converted(V3, tmp_path / "a.hdf5", cameras=()).already_complete
    assert [path.name for path in tmp_path.iterdir()] == ["a.hdf5"]
    with pytest.raises(UsageError, match="exists and holds other data"):
        converted(V3, tmp_path / "a.hdf5")


def test_an_export_that_broke_off_goes_on(source, tmp_path, monkeypatch):
    write_clip, written = from_hdf5.write_clip, []

    def breaks(path, pictures, fps):
        if len(written) == 1:
            raise KeyboardInterrupt
        written.append(path.name)
        write_clip(path, pictures, fps)

    monkeypatch.setattr(from_hdf5, "write_clip", breaks)
    with pytest.raises(KeyboardInterrupt):
        export_lerobot(source, tmp_path / "a", progress=False)
    assert not (tmp_path / "a").exists()
    monkeypatch.setattr(from_hdf5, "write_clip", lambda *a: (written.append(a[0].name), write_clip(*a)))
    export_lerobot(source, tmp_path / "a", progress=False)
    assert written == ["000000-agentview_image.mp4", "000001-agentview_image.mp4"]
    assert export_lerobot(source, tmp_path / "a", progress=False).already_complete
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    with pytest.raises(UsageError, match="exists and holds something else"):
        export_lerobot(source, tmp_path / "a", instruction="other words", progress=False)


def test_a_file_without_a_rate_needs_one(tmp_path):
    reaching = next(FILES.glob("robomimic_layout/*.hdf5"))
    copied = tmp_path / "a.hdf5"
    shutil.copy(reaching, copied)
    with h5py.File(copied, "r+") as file:
        file["data"].attrs["env_args"] = json.dumps({"env_name": "Reaching"})
    with pytest.raises(UsageError, match="does not say how many frames a second .* --fps 20"):
        export_lerobot(copied, tmp_path / "set", progress=False)
    done = export_lerobot(copied, tmp_path / "set", instruction="reach", fps=20, progress=False)
    assert done.tasks == ["reach"] and done.episodes == 2
    assert examine(copied).trains == []


def test_the_commands(source, tmp_path, monkeypatch, capsys):
    def command(*words):
        monkeypatch.setattr("sys.argv", ["robo-orl", "data", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return ended.value.code, said.err if ended.value.code else json.loads(said.out)

    assert command("export", source, "--out", tmp_path / "set", "--json")[1]["features"]["action"] == [7]
    back = ("convert", tmp_path / "set", "--out", tmp_path / "b.hdf5", "--json")
    code, said = command(*back, "--task", "lift")
    assert code == 2 and "is a LeRobot folder: --task would do nothing" in said
    assert "takes numbers and ranges" in command(*back, "--episodes", "1:", "--cameras", "none")[1]
    assert command(*back, "--episodes", "1:2", "--cameras", "none")[1]["all"]["frames"] == 12
    assert "Give the task" in command("convert", source, "--out", tmp_path / "c.hdf5")[1]


def test_rows_come_in_the_order_of_their_frames(tmp_path):
    columns = {"frame_index": np.array([2, 0, 1]), "episode_index": np.zeros(3, int), "x": np.arange(6.0).reshape(3, 2)}
    tables.write_frames(tmp_path / "a.parquet", columns, {})
    assert [list(value) for value in tables.rows(tmp_path / "a.parquet", ["x"], 0)["x"]] == [[2, 3], [4, 5], [0, 1]]
