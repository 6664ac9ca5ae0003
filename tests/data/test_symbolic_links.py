"""A command that writes onto a symbolic link leaves the link and replaces its target, whole or not at all."""

from pathlib import Path

import pytest
from foreign import LIFT, lift_file
from synthetic import episode, write

from robo_orl.base.errors import RunError, UsageError
from robo_orl.base.files import folder_beside
from robo_orl.config import View
from robo_orl.data.add_images import add_images
from robo_orl.data.convert import convert
from robo_orl.data.edit import Edit, edit
from robo_orl.data.generate import generate
from robo_orl.data.validate import faults
from robo_orl.envs.start_banks import make_eval_bank

RAW = Path(__file__).parent / "files" / "robosuite_raw"


def linked(folder: Path) -> tuple[Path, Path]:
    """A link in one folder to a file, which is not there yet, in another."""
    link, target = folder / "here" / "link.hdf5", folder / "far" / "target.hdf5"
    link.parent.mkdir()
    target.parent.mkdir()
    link.symlink_to(target)
    return link, target


def written_through(link: Path, target: Path) -> bool:
    """True where the link is one still, its target is a whole file, and nothing else is left beside either."""
    assert [path.name for path in link.parent.iterdir()] == [link.name]
    assert [path.name for path in target.parent.iterdir()] == [target.name]
    return link.is_symlink() and not target.is_symlink() and faults(target) == []


def test_edit_writes_the_target(tmp_path):
    source = lift_file(tmp_path / "a.hdf5")
    link, target = linked(tmp_path)
    edit([source], link, Edit(drop=["demo_1"]))
    assert written_through(link, target)
    with pytest.raises(UsageError, match="exists; choose another --out"):
        edit([source], link, Edit(drop=["demo_2"]))


def test_a_write_that_fails_leaves_the_target_as_it_was(tmp_path, monkeypatch):
    link, target = linked(tmp_path)
    write(link, [episode(5, True, 0)])
    before = target.read_bytes()
    monkeypatch.setattr("robo_orl.base.files.os.replace", lambda *_: (_ for _ in ()).throw(OSError(28, "full")))
    with pytest.raises(RunError, match="The disk is full"):
        write(link, [episode(7, True, 1)])
    assert target.read_bytes() == before and written_through(link, target)


def test_a_file_has_one_folder_of_parts_by_whatever_name_it_is_written(tmp_path):
    link, target = linked(tmp_path)
    assert folder_beside(link, "shards") == folder_beside(target, "shards") == target.parent / ".target.hdf5.shards"


def test_generate_convert_and_add_images_write_the_target(tmp_path):
    pytest.importorskip("robosuite", reason="needs the simulator")
    link, target = linked(tmp_path)
    generate(LIFT, "ph", 1, link, workers=1, progress=False)
    assert written_through(link, target)
    assert generate(LIFT, "ph", 1, link, workers=1, progress=False).already_complete
    try:
        add_images(link, View(cameras=("agentview",), size=16), workers=1, progress=False)
        assert written_through(link, target)
    except RunError as error:
        assert "OpenGL" in str(error), error
    target.unlink()
    convert(RAW / "v1.0_lift" / "demo.hdf5", LIFT, link, workers=1, progress=False)
    assert written_through(link, target)


def test_a_bank_of_start_states_is_written_through_a_link(tmp_path):
    pytest.importorskip("robosuite", reason="needs the simulator")
    link, target = linked(tmp_path)
    make_eval_bank(LIFT, n=1).save(link)
    assert link.is_symlink() and target.is_file()
