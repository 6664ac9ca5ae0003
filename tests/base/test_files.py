"""Files appear complete or not at all, and a damaged one is one sentence that says what to do."""

import os

import pytest

from robo_orl.base.errors import RunError, UsageError
from robo_orl.base.files import atomic_file, read_json, write_json, write_text


def test_a_write_that_fails_leaves_the_file_before_and_nothing_beside_it(tmp_path):
    write_text(tmp_path / "a", "before")
    with pytest.raises(ValueError), atomic_file(tmp_path / "a") as temporary:
        temporary.write_text("half")
        raise ValueError
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("a", "before")]


def test_the_content_is_on_the_disk_before_the_name_is(tmp_path, monkeypatch):
    events = []
    for name in ("fsync", "replace"):
        real = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *args, name=name, real=real: (events.append(name), real(*args))[1])
    write_json(tmp_path / "a.json", {"value": 1})
    assert events == ["fsync", "replace", "fsync"]


def test_a_symbolic_link_stays_one_and_its_target_is_written(tmp_path):
    (tmp_path / "far").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "far" / "target")
    write_text(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "far" / "target").read_text() == "new"


@pytest.mark.parametrize("content", [b"{", b"[1]", b"\xff\xfe", b""])
def test_a_damaged_json_file_is_a_sentence_with_the_remedy(tmp_path, content):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(RunError, match="a.json is damaged: it is no JSON object; delete it and repeat"):
        read_json(tmp_path / "a.json")


def test_a_missing_json_file_is_a_usage_error(tmp_path):
    with pytest.raises(UsageError, match="Cannot read .*No such file"):
        read_json(tmp_path / "a.json")
