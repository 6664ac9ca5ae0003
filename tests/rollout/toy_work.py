"""Work without a simulator for the processes of a pool; some of it dies, hangs or refuses."""

import os
import signal
import time
from pathlib import Path

from robo_orl.base.errors import RunError, UsageError


def squares():
    return lambda item: item * item


def settings():
    """The process, its session and what it was told about threads."""
    return lambda _: (os.getpid(), os.getsid(0), os.environ["OMP_NUM_THREADS"])


def dies_once(marks: Path):
    """Kills itself at its first item 3, as a crashed simulator would."""

    def work(item: int) -> int:
        if item == 3 and not (marks / "died").exists():
            (marks / "died").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return item

    return work


def stops_once(marks: Path):
    """Stops itself at its first item 3: it lives and does nothing."""

    def work(item: int) -> int:
        if item == 3 and not (marks / "stopped").exists():
            (marks / "stopped").touch()
            os.kill(os.getpid(), signal.SIGSTOP)
        return item

    return work


def always_stops():
    return lambda _: os.kill(os.getpid(), signal.SIGSTOP)


def exits(code: int, words: str = ""):
    def work(_):
        os.write(2, words.encode())
        os._exit(code)

    return work


def kills_itself(number: int):
    return lambda _: os.kill(os.getpid(), number)


def refuses():
    def work(_):
        raise UsageError("There is no such scene.")

    return work


def fails():
    return lambda item: item / 0


def cannot_start():
    raise RunError("mujoco is missing.")


def never_starts():
    os._exit(3)


def works_for_ever(marks: Path):
    """Says who it is, and goes on working."""

    def work(_):
        (marks / str(os.getpid())).touch()
        time.sleep(600)

    return work


def loses_its_pipe():
    """An error of the work that looks like the end of the pipe to the parent."""

    def work(_):
        raise BrokenPipeError("the encoder is gone")

    return work
