"""A process that waits for another one says for whom, and does not wait for ever."""

import os
import re
import signal
import subprocess
import sys
import threading
import time

import pytest
from unprivileged import public_folder, run_without_rights

from robo_orl.base import locks
from robo_orl.base.errors import RunError, UsageError
from robo_orl.base.locks import file_lock, folder_lock

HOLD = """
import sys, time; from pathlib import Path; from robo_orl.base.locks import file_lock
with file_lock(Path(sys.argv[1])):
    print('held', flush=True); time.sleep(600)"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the lock of tmp_path/data."""
    command = [sys.executable, "-c", HOLD, str(tmp_path / "data")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()


def test_a_wait_has_a_limit_and_names_the_holder(holder, tmp_path):
    sentence = rf"Process {holder.pid} on \S+ has held for 0 min the lock of .*data: continue or end that process"
    with pytest.raises(RunError, match=sentence), file_lock(tmp_path / "data", patience_s=0.2):
        pass


def test_a_stopped_holder_is_not_waited_for(holder, tmp_path, monkeypatch):
    os.kill(holder.pid, signal.SIGSTOP)
    monkeypatch.setattr(locks, "STOPPED_WAIT_S", 0.2)
    sentence = f"Process {holder.pid} on .* is stopped and holds the lock of"
    with pytest.raises(RunError, match=sentence), file_lock(tmp_path / "data"):
        pass


def test_a_long_wait_is_said_once_and_ends_with_the_lock(holder, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(locks, "NOTICE_S", 0.1)
    threading.Timer(1.0, holder.kill).start()
    with file_lock(tmp_path / "data"):
        assert capsys.readouterr().err.count(f"waiting for process {holder.pid} on") == 1


def test_an_undisturbed_lock_costs_no_wait(tmp_path):
    begin = time.monotonic()
    for _ in range(20):
        with file_lock(tmp_path / "data"), folder_lock(tmp_path, "training"):
            pass
    assert time.monotonic() - begin < 5


def test_the_holder_of_a_folder_is_named(tmp_path):
    other = folder_lock(tmp_path, "training", patience_s=0.0)
    named = pytest.raises(UsageError, match=rf"\(process {os.getpid()} on \S+\)")
    with folder_lock(tmp_path, "training"), named, other:
        pass


FOLDER = """
from pathlib import Path; from robo_orl.base.locks import folder_lock
with folder_lock(Path('run'), 'training'): print('held')"""


FILE = """
from pathlib import Path; from robo_orl.base.locks import file_lock
with file_lock(Path('run/data')): print('held')"""
CLOSED = {
    FOLDER: "run/.lock belongs to the user root, .* choose another --out, or ask root for `chmod a",
    FILE: r"run/.data.lock belongs to the user root, .* set ROBO_ORL_CACHE to a folder that you may write, or ask root",
}


@pytest.mark.parametrize("code", CLOSED, ids=("folder", "file"))
@pytest.mark.parametrize("mode", [0o644, 0o600])
def test_the_lock_of_another_user_in_a_folder_that_both_may_write(code, mode):
    """It is waited for where it can be read, and else it is said whose it is."""
    if os.getuid():
        pytest.skip("only root can make a file of another user")
    with public_folder() as folder:
        (folder / "run").mkdir()
        (folder / "run").chmod(0o777)
        for name in (".lock", ".data.lock"):
            (folder / "run" / name).touch()
            (folder / "run" / name).chmod(mode)
        cache = str(folder / "run") if code == FILE else str(folder / "cache")
        done = run_without_rights(code, "robo_orl.base.locks", cwd=folder, ROBO_ORL_CACHE=cache)
    if mode == 0o644:
        assert done.stdout == "held\n", done.stderr
    else:
        assert re.search(CLOSED[code], done.stderr.strip().splitlines()[-1]), done.stderr


def test_a_lock_is_readable_by_others_whatever_the_umask(tmp_path):
    before = os.umask(0o077)
    try:
        with file_lock(tmp_path / "data"), folder_lock(tmp_path, "training"):
            pass
    finally:
        os.umask(before)
    assert [oct((tmp_path / name).stat().st_mode & 0o777) for name in (".data.lock", ".lock")] == ["0o644"] * 2
