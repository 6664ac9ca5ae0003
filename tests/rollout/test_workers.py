"""The crew of processes: every item once, whatever happens to the processes."""

import os
import signal
from functools import partial
from pathlib import Path

import pytest

from robo_orl.base.errors import RunError, UsageError
from robo_orl.rollout.workers import work_through


def squares():
    return lambda item: item * item


def threads():
    return lambda _: os.environ["OMP_NUM_THREADS"]


def dies_once(marks: Path):
    """A worker that kills itself at its first item 3, as a crashed simulator would."""

    def work(item: int) -> int:
        if item == 3 and not (marks / "died").exists():
            (marks / "died").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return item

    return work


def always_dies():
    return lambda _: os._exit(7)


def refuses():
    def work(_):
        raise UsageError("There is no such scene.")

    return work


def fails():
    return lambda item: item / 0


def cannot_start():
    raise RunError("mujoco is missing.")


@pytest.mark.parametrize("workers", [1, 3])
def test_every_item_is_done_once(workers):
    assert sorted(work_through(list(range(7)), squares, workers)) == [(i, i * i) for i in range(7)]


def test_nothing_to_do_starts_nothing():
    assert list(work_through([], squares, 2)) == []


def test_an_item_at_which_a_worker_died_is_done_again(tmp_path):
    assert sorted(work_through(list(range(6)), partial(dies_once, tmp_path), 2)) == [(i, i) for i in range(6)]
    assert (tmp_path / "died").exists()


def test_an_item_that_always_kills_is_given_up_in_a_sentence():
    with pytest.raises(RunError, match=r"died 3 times at the same item, last with exit code 7"):
        list(work_through([1], always_dies, 1))


def test_errors_of_the_work_arrive():
    with pytest.raises(UsageError, match="no such scene"):
        list(work_through([1], refuses, 1))
    with pytest.raises(RunError, match="ZeroDivisionError"):
        list(work_through([1], fails, 1))
    with pytest.raises(RunError, match="mujoco is missing"):
        list(work_through([1], cannot_start, 1))


def test_workers_have_one_thread_and_leave_our_settings_alone(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert list(work_through([1], threads, 1)) == [(1, "1")]
    assert os.environ["OMP_NUM_THREADS"] == "5"


def test_workers_are_gone_when_the_caller_stops_early():
    import psutil

    finished = work_through(list(range(100)), squares, 2)
    next(finished)
    assert len(psutil.Process().children()) >= 2
    finished.close()
    assert [child for child in psutil.Process().children() if "spawn_main" in " ".join(child.cmdline())] == []
