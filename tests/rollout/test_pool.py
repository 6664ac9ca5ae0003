"""The pool of simulator processes: every item once, whatever happens to the processes."""

import os
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
import toy_work

from robo_orl.base.errors import RunError, UsageError
from robo_orl.rollout import pool
from robo_orl.rollout.pool import work_through


def results(items, prepare, workers=1, **options):
    return {done.item: done.result for done in work_through(items, prepare, workers, **options)}


@pytest.mark.parametrize("workers", [1, 3])
def test_every_item_is_done_once(workers):
    done = sorted((c.item, c.result, c.restarts) for c in work_through(list(range(7)), toy_work.squares, workers))
    assert done == [(i, i * i, 0) for i in range(7)]


def test_nothing_to_do_starts_nothing(monkeypatch):
    monkeypatch.setattr(pool, "SimulatorProcess", None)
    assert results([], toy_work.squares, 2) == {}


def test_an_item_at_which_a_process_died_is_done_again_and_counted(tmp_path):
    done = list(work_through(list(range(6)), partial(toy_work.dies_once, tmp_path), 2))
    assert sorted(c.result for c in done) == list(range(6))
    assert {c.item: c.restarts for c in done if c.restarts} == {3: 1}


def test_a_stopped_process_is_replaced_after_the_limit(tmp_path):
    began = time.monotonic()
    prepare = partial(toy_work.stops_once, tmp_path)
    done = list(work_through(list(range(6)), prepare, 2, patience_s=3))
    assert sorted(c.result for c in done) == list(range(6)) and sum(c.restarts for c in done) == 1
    assert time.monotonic() - began < 60


def test_an_item_at_which_processes_always_hang_names_the_limit():
    with pytest.raises(RunError, match=r"^Item 1 crashed 3 times; the last time: it did not answer for 1 s\.$"):
        results([1], toy_work.always_stops, patience_s=1)


@pytest.mark.parametrize(
    ("prepare", "reason"),
    [
        (partial(toy_work.exits, 7), "it ended with exit code 7."),
        (partial(toy_work.exits, 7, "first\nmj_step: out of luck.\n\n"), "mj_step: out of luck."),
        (partial(toy_work.kills_itself, signal.SIGSEGV), "it was killed by SIGSEGV."),
        (toy_work.fails, "ZeroDivisionError: division by zero."),
        (toy_work.loses_its_pipe, "BrokenPipeError: the encoder is gone."),
    ],
)
def test_an_item_that_always_kills_is_given_up_with_the_true_reason(prepare, reason):
    with pytest.raises(RunError) as error:
        results([1], prepare, name="Recording episode {}".format)
    assert str(error.value) == f"Recording episode 1 crashed 3 times; the last time: {reason}"


def test_memory_is_named_only_where_the_kernel_killed_the_process():
    with pytest.raises(RunError, match="SIGKILL, often because memory ran out"):
        results([1], partial(toy_work.kills_itself, signal.SIGKILL))


def test_processes_that_never_start_are_a_sentence():
    with pytest.raises(RunError, match=r"^Starting a simulator process crashed 3 times; .*exit code 3"):
        results([1, 2], toy_work.never_starts)


def test_errors_of_the_work_arrive():
    with pytest.raises(UsageError, match="no such scene"):
        results([1], toy_work.refuses)
    with pytest.raises(RunError, match="mujoco is missing"):
        results([1], toy_work.cannot_start)


def test_processes_have_one_thread_and_a_session_of_their_own_and_leave_our_settings_alone(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    pid, session, threads = results([1], toy_work.settings)[1]
    assert threads == "1" and os.environ["OMP_NUM_THREADS"] == "5"
    assert session == pid != os.getsid(0), "Ctrl-C at a terminal reaches the parent alone"


# -------------------------------------------------------------------------------------------- whoever calls, and how

CALL = """
import toy_work
from robo_orl.rollout.pool import work_through
print(sorted(done.result for done in work_through([1, 2, 3], toy_work.squares, 2)))
"""
NO_SEMAPHORES = """
import _multiprocessing
def refused(*_):
    raise OSError(38, "Function not implemented")  # as without /dev/shm
_multiprocessing.SemLock = refused
"""


NOTEBOOK = """
import asyncio, sys, types
sys.modules["__main__"] = main = types.ModuleType("__main__")  # a kernel's: without __file__ and __spec__
cell = compile({cell!r}, "<ipython-input-1>", "exec")
async def kernel():
    exec(cell, main.__dict__)
asyncio.run(kernel())
"""


def python(*arguments, script=None, launcher=()):
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [*launcher, sys.executable, *map(str, arguments)]
    return subprocess.run(command, input=script, capture_output=True, text=True, env=environment, timeout=120)


@pytest.mark.parametrize("prelude", ["", NO_SEMAPHORES], ids=["plain", "without shared memory"])
@pytest.mark.parametrize("way", ["script without a guard", "standard input", "-c", "notebook"])
def test_it_does_not_depend_on_the_callers_main_module(way, prelude, tmp_path):
    (tmp_path / "script.py").write_text(prelude + CALL)
    arguments = {
        "script without a guard": [tmp_path / "script.py"],
        "standard input": ["-"],
        "-c": ["-c", prelude + CALL],
        "notebook": ["-c", prelude + NOTEBOOK.format(cell=CALL)],
    }
    done = python(*arguments[way], script=prelude + CALL)
    assert done.stdout.strip() == "[1, 4, 9]" and done.returncode == 0, done.stderr


def test_work_that_only_the_script_has_is_refused_in_a_sentence():
    script = "def squares():\n    return abs\n" + CALL.replace("toy_work.squares", "squares")
    done = python("-", script=script)
    assert "A simulator process cannot import what it is to run" in done.stderr.splitlines()[-1]
    assert "memory" not in done.stderr


@pytest.mark.parametrize("kill", [signal.SIGKILL, signal.SIGINT])
def test_processes_are_gone_when_the_parent_is(kill, tmp_path):
    """In the midst of an item too."""
    call = f"work_through([1, 2], partial(toy_work.works_for_ever, Path({str(tmp_path)!r})), 2)"
    script = "\n".join(
        ("from functools import partial", "from pathlib import Path", "import toy_work")
        + ("import signal", "signal.signal(signal.SIGINT, signal.default_int_handler)")  # a shell's & had it ignored
        + ("from robo_orl.rollout.pool import work_through", f"list({call})")
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    parent = subprocess.Popen([sys.executable, "-c", script], env=environment, stderr=subprocess.DEVNULL)
    wait_until(lambda: len(list(tmp_path.iterdir())) == 2)
    parent.send_signal(kill)
    parent.wait(30)
    pids = [int(mark.name) for mark in tmp_path.iterdir()]
    wait_until(lambda: not any(alive(pid) for pid in pids))


def wait_until(condition, seconds=60):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.05)


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def without_shared_memory() -> list[str]:
    """The command that runs another one where /dev/shm cannot be written; skips where namespaces are not allowed."""
    launcher = ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs -o ro none /dev/shm && exec "$@"', "sh"]
    if shutil.which("unshare") is None or subprocess.run([*launcher, "true"], capture_output=True).returncode:
        pytest.skip("mount namespaces are not allowed here")
    return launcher


def test_a_machine_whose_shared_memory_cannot_be_written_runs_a_pool():
    done = python("-c", NOTEBOOK.format(cell=CALL), launcher=without_shared_memory())
    assert done.stdout.strip() == "[1, 4, 9]" and done.returncode == 0, done.stderr
