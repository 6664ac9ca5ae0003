"""Copies of files with other episodes: masks and counts follow, and the copy trains."""

import foreign
import h5py
import numpy as np
import pytest
from foreign import as_robomimic, changed, lift_file

from robo_orl.base.errors import UsageError
from robo_orl.data.cache import open_cache
from robo_orl.data.edit import Edit, edit
from robo_orl.data.validate import examine, faults


def edited(path, change, *more):
    out = path.with_name("edited.hdf5")
    edit([path, *more], out, change)
    return out


def test_selected_episodes_keep_their_names_and_masks_and_counts_follow(tmp_path):
    out = edited(lift_file(tmp_path / "a.hdf5"), Edit(select=["success"], drop=["demo_2"]))
    assert faults(out) == []
    arrays = open_cache(out)
    assert arrays.names == ["demo_0", "demo_3"] and arrays.masks["success"].all() and len(arrays.actions) == 24
    assert "worse" in arrays.masks and not arrays.masks["worse"].any()
    with h5py.File(out) as file:
        assert file["data"].attrs["total"] == 24 and file["data"].attrs["episodes"] == 2


def test_episodes_are_renamed_and_renumbered(tmp_path):
    path = lift_file(tmp_path / "a.hdf5")
    out = edited(path, Edit(drop=["demo_0"], rename={"demo_1": "demo_9"}))
    assert open_cache(out).names == ["demo_2", "demo_3", "demo_4", "demo_9"]
    out.unlink()
    out = edited(path, Edit(drop=["demo_0"], renumber=True))
    assert open_cache(out).names == ["demo_0", "demo_1", "demo_2", "demo_3"]
    assert open_cache(out).masks["success"].tolist() == [False, True, True, False]
    with pytest.raises(UsageError, match="Two episodes would have one name"):
        edit([path], tmp_path / "b.hdf5", Edit(rename={"demo_1": "demo_0"}))
    with pytest.raises(UsageError, match="demo_0, demo_1 and so on, not first"):
        edit([path], tmp_path / "b.hdf5", Edit(rename={"demo_1": "first"}))
    assert not (tmp_path / "b.hdf5").exists()


def test_files_are_merged(tmp_path):
    path, other = lift_file(tmp_path / "a.hdf5"), lift_file(tmp_path / "b.hdf5")
    out = edited(path, Edit(), other)
    assert faults(out) == []
    arrays = open_cache(out)
    assert len(arrays) == 10 and arrays.masks["success"].sum() == 6
    np.testing.assert_array_equal(arrays.actions[:55], arrays.actions[55:])
    stripped = changed(tmp_path / "c.hdf5", as_robomimic)
    with pytest.raises(UsageError, match="cannot join the files before it"):
        edit([path, stripped], tmp_path / "d.hdf5", Edit())


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("nested_obs", Edit(flatten=True)),
        ("unnumbered", Edit(renumber=True)),
        ("external_link", Edit()),
        ("loud_actions", Edit(clip_actions=True)),
        ("wrong_counts", Edit()),
    ],
)
def test_what_was_refused_trains_after_the_edit_that_the_refusal_names(tmp_path, name, change):
    path = changed(tmp_path / "a.hdf5", getattr(foreign, name))
    out = edited(path, change)
    assert examine(out).trains == []
    arrays = open_cache(out)
    assert len(arrays) == 5 and len(arrays.actions) == 55 and len(arrays.spec) == 4
    if name == "external_link":
        (tmp_path / "elsewhere.hdf5").unlink()
        assert examine(out).robomimic == []


def test_an_unknown_name_and_an_existing_file_are_refused(tmp_path):
    path = lift_file(tmp_path / "a.hdf5")
    with pytest.raises(UsageError, match="Unknown episode or mask of .* 'sucess'. Did you mean 'success'"):
        edit([path], tmp_path / "b.hdf5", Edit(select=["sucess"]))
    with pytest.raises(UsageError, match="No episode is left"):
        edit([path], tmp_path / "b.hdf5", Edit(drop=["success", "demo_1", "demo_4"]))
    with pytest.raises(UsageError, match="exists; choose another --out"):
        edit([path], path, Edit())
