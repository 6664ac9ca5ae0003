"""The start of a job's process: it receives signals, and ends with the process that started it."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import BinaryIO

PR_SET_PDEATHSIG = 1
SIGNALS = (signal.SIGINT, signal.SIGTERM)


def start_process(
    command: Sequence[str],
    answer: BinaryIO,
    log: BinaryIO,
    environment: Mapping[str, str],
    lock: int | None = None,
    dies_by: signal.Signals = signal.SIGKILL,
) -> subprocess.Popen:
    """Start a command in a session of its own, stdout into `answer` and stderr into `log`.

    lock: a descriptor that it inherits. dies_by: the signal that it gets, on Linux, when this process has ended.
    """
    with _uninterrupted():
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=answer,
            stderr=log,
            env=dict(environment),
            start_new_session=True,  # Ctrl-C reaches the bench alone, which then stops its jobs in order
            pass_fds=() if lock is None else (lock,),
            preexec_fn=_before_exec(dies_by),
        )


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Block signals while a process starts: Python swallows the exception that they raise around a fork."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _before_exec(dies_by: signal.Signals) -> Callable[[], None]:
    """The first act of a job: receive signals, and on Linux die with its parent."""
    die = _die_with_parent(dies_by)

    def before_exec() -> None:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        if die is not None:
            die()

    return before_exec


def _die_with_parent(dies_by: signal.Signals) -> Callable[[], None] | None:
    """On Linux a job ends when its bench does, even by kill -9: two calls must never work on one run at once."""
    if not sys.platform.startswith("linux"):
        return None
    prctl, parent = ctypes.CDLL(None, use_errno=True).prctl, os.getpid()

    def before_exec() -> None:
        prctl(PR_SET_PDEATHSIG, dies_by)
        if os.getppid() != parent:  # it died before the call above
            os._exit(1)

    return before_exec
