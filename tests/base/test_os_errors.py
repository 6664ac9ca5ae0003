"""Errors of the operating system become one sentence that names the place and the remedy."""

import errno
import os

import pytest
from unprivileged import give, public_folder, run_unprivileged

from robo_orl.base.errors import RunError, UsageError
from robo_orl.base.os_errors import describe_os_errors

WRITE = """
import sys; from pathlib import Path; from robo_orl.base.files import write_text
write_text(Path(sys.argv[1]), 'x')"""
CACHE = "from robo_orl.base.files import *; write_text(cache_folder() / 'a' / 'b', 'x')"
LOCK = """
from pathlib import Path; from robo_orl.base.locks import file_lock
with file_lock(Path('data')): print('held')"""


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_is_a_sentence(number, tmp_path):
    with (
        pytest.raises(RunError, match="The disk is full: .*a could not be written"),
        describe_os_errors(tmp_path / "a"),
    ):
        raise OSError(number, os.strerror(number), str(tmp_path / "a"))


@pytest.mark.parametrize(
    ("number", "sentence"),
    [
        (errno.EACCES, "Permission denied; choose another --out, or change the permissions"),
        (errno.EROFS, "Read-only file system; choose another --out"),
        (errno.EISDIR, "is a folder where a file is needed"),
        (errno.ENAMETOOLONG, "the name is too long"),
        (errno.EMFILE, "ulimit -n"),
        (errno.EIO, "check the disk"),
    ],
)
def test_every_kind_says_what_to_do(number, sentence, tmp_path):
    with pytest.raises((UsageError, RunError), match=sentence), describe_os_errors(tmp_path / "a"):
        raise OSError(number, os.strerror(number), str(tmp_path / "a"))


def test_other_errors_pass(tmp_path):
    with pytest.raises(KeyError), describe_os_errors(tmp_path):
        raise KeyError("x")


def test_a_file_in_the_place_of_a_folder_is_named(tmp_path):
    (tmp_path / "notes").write_text("mine")
    with pytest.raises(UsageError, match="notes is a file where a folder is needed"), describe_os_errors(tmp_path):
        (tmp_path / "notes" / "run" / "deep").mkdir(parents=True)


def last_line(done):
    return done.stderr.strip().splitlines()[-1]


def test_a_folder_that_may_not_be_written_names_out():
    with public_folder() as folder:
        done = run_unprivileged("-c", WRITE, str(folder / "run" / "file"), cwd=folder)
    assert "UsageError" in last_line(done) and "Permission denied; choose another --out" in last_line(done)


@pytest.mark.parametrize("home", ["/dev/null", "/nonexistent", "locked"])
def test_a_home_that_is_none_names_the_variable_of_the_cache(home):
    with public_folder() as folder:
        (folder / "locked").mkdir(mode=0o755)
        done = run_unprivileged("-c", CACHE, cwd=folder, HOME=str(folder / "locked") if home == "locked" else home)
    assert "UsageError" in last_line(done) and "set ROBO_ORL_CACHE to a folder" in last_line(done)


def test_the_lock_of_another_user_can_be_held():
    with public_folder() as folder:
        (folder / ".data.lock").touch(mode=0o644)
        assert run_unprivileged("-c", LOCK, cwd=folder).stdout == "held\n"


def test_where_nothing_may_be_written_reading_needs_no_lock():
    with public_folder() as folder:
        assert run_unprivileged("-c", LOCK, cwd=folder).stdout == "held\n"


def test_a_cache_that_may_be_written_is_used():
    with public_folder() as folder:
        give(folder)
        done = run_unprivileged("-c", CACHE, cwd=folder, ROBO_ORL_CACHE=str(folder / "cache"))
        assert done.returncode == 0 and (folder / "cache" / "a" / "b").exists()
