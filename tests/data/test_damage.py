"""Damage in files of our own making is one sentence and is mended; a changed file never meets an old cache."""

import os
import time

import h5py
import numpy as np
import pytest
import seeing
from disk_order import flushed_before_renamed
from foreign import LIFT, lift_file
from synthetic import episode, made_by, write

from robo_orl.base.errors import RunError, UsageError
from robo_orl.base.files import cache_folder
from robo_orl.data import cache
from robo_orl.data.cache import open_cache
from robo_orl.data.generate import Shards, generate


@pytest.fixture
def file(tmp_path):
    return write(tmp_path / "a.hdf5", [episode(6, True, 1), episode(9, False, 2)])


def cached(name):
    return next((cache_folder() / "data").glob(f"*/{name}"))


@pytest.mark.parametrize("name", ["index.json", "actions.npy", "starts.npy", "observations.npy"])
@pytest.mark.parametrize("damage", ["cut", "removed", "emptied"])
def test_a_damaged_cache_is_made_again(file, capsys, name, damage):
    whole = open_cache(file).actions.copy()
    place = cached(name)
    if damage == "removed":
        place.unlink()
    else:
        place.write_bytes(place.read_bytes()[: -40 if damage == "cut" else 0])
    np.testing.assert_array_equal(open_cache(file).actions, whole)
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1 and "is damaged" in said[0] and "is made again" in said[0] and str(place.parent) in said[0]
    open_cache(file)
    assert capsys.readouterr().err == ""


def test_a_cache_is_on_the_disk_before_it_has_its_name(file, monkeypatch):
    events = flushed_before_renamed(monkeypatch)
    open_cache(file)
    named = next(i for i, event in enumerate(events) if event.startswith("rename"))
    written = {event for event in events[:named] if event.endswith((".npy", ".json"))}
    assert {"flush observations.npy", "flush actions.npy", "flush index.json"} <= written
    assert "flush data" in events[named:]


def test_damaged_pictures_are_made_again(tmp_path, capsys):
    path = seeing.write(tmp_path / "a.hdf5")
    camera = seeing.CAMERAS[0]
    whole = open_cache(path, cameras=[camera]).images[camera].copy()
    place = cached("pictures.npy")
    place.write_bytes(place.read_bytes()[:-100])
    np.testing.assert_array_equal(open_cache(path, cameras=[camera]).images[camera], whole)
    assert "is made again" in capsys.readouterr().err


def test_a_damaged_cache_that_cannot_be_replaced_is_named(file, monkeypatch):
    open_cache(file)
    cached("index.json").write_text("{")
    monkeypatch.setattr("robo_orl.data.memory_maps.shutil.rmtree", lambda *_args, **_kwargs: None)
    with pytest.raises(RunError, match="is damaged .* and cannot be replaced: delete it, or set ROBO_ORL_CACHE"):
        open_cache(file)


# ------------------------------------------------------------------------------------------------------------ the hash


def test_the_hash_is_computed_once(file, monkeypatch):
    monkeypatch.setattr(cache, "SETTLED_S", -1.0)
    expected = open_cache(file).sha256
    monkeypatch.setattr(cache, "file_sha256", None)
    assert open_cache(file).sha256 == expected


def test_a_change_that_keeps_size_and_modification_time_is_seen(file, monkeypatch):
    monkeypatch.setattr(cache, "SETTLED_S", -1.0)
    before, times = open_cache(file), file.stat()
    time.sleep(0.02)
    with h5py.File(file, "r+") as opened:
        opened["data/demo_0/actions"][0, 0] = 0.125
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert file.stat().st_size == times.st_size and file.stat().st_mtime_ns == times.st_mtime_ns
    after = open_cache(file)
    assert after.sha256 != before.sha256 and after.actions[0, 0] == 0.125


def test_the_hash_of_a_file_that_changed_just_now_is_not_kept(file):
    open_cache(file)
    assert not list(cache_folder().glob("hashes/*"))


def test_a_damaged_hash_is_computed_again(file, monkeypatch):
    monkeypatch.setattr(cache, "SETTLED_S", -1.0)
    expected = open_cache(file).sha256
    for place in (cache_folder() / "hashes").iterdir():
        place.write_text("{}")
    assert open_cache(file).sha256 == expected


# ------------------------------------------------------------------------------------------------------- kept episodes


def test_a_kept_episode_that_was_cut_short_is_recorded_again(tmp_path, capsys):
    shards = Shards(tmp_path / "a.hdf5", made_by(2))
    with shards.held():
        for index in range(2):
            shards.write(index, episode(6, True, index), {}, "exact")
    cut = shards.path(1)
    cut.write_bytes(cut.read_bytes()[:-500])
    with shards.held():
        assert shards.finished(0) and not shards.finished(1)
    assert "is damaged and is made again" in capsys.readouterr().err


def test_a_file_that_lost_an_episode_is_no_answer_to_its_request(tmp_path):
    pytest.importorskip("robosuite", reason="robosuite is not installed")
    path = lift_file(tmp_path / "a.hdf5")
    with h5py.File(path, "r+") as file:
        del file["data/demo_4"]
    with pytest.raises(UsageError, match="holds 4 of the 5 episodes it was made with"):
        generate(LIFT, "mh", 5, path, progress=False)
