"""The life of a simulator process: a fresh interpreter that answers one message after another until its parent is gone.

Nothing heavy is imported here: what a process holds, `prepare` decides, and torch is in none of them.
"""

from __future__ import annotations

import os
import pickle
import select
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from robo_orl.base.errors import RunError, UsageError

Work = Callable[[Any], Any]  # a message -> its answer
Prepare = Callable[[], tuple[Work, Any]]  # picklable; the work, and what the process says of itself once it stands


@dataclass(frozen=True)
class Ready:
    """The first message of a process: `prepare` is done, and said `info`."""

    info: Any


@dataclass(frozen=True)
class Answer:
    """The result of the work for one message."""

    result: Any


@dataclass(frozen=True)
class Refusal:
    """A UsageError or RunError: no other process could do it either."""

    kind: type[Exception]
    text: str


def serve(connection: Connection) -> None:
    """Answer messages until the pipe ends; the first one is the pickled `Prepare`.

    Any exception but UsageError, RunError and ImportError ends the process with a traceback on stderr.
    """
    work: Work | None = None
    while True:
        try:
            message = connection.recv_bytes()
        except (EOFError, OSError):
            return
        try:
            if work is None:
                work, info = _load(message)()
                reply: Ready | Answer | Refusal = Ready(info)
            else:
                reply = Answer(work(pickle.loads(message)))
        except (UsageError, RunError) as error:
            reply = Refusal(type(error), str(error))
        except ImportError as error:
            text = f"The simulator cannot be imported ({error}); install it with: pip install 'robo-orl[sim]'."
            reply = Refusal(RunError, text)
        try:
            connection.send(reply)
        except OSError:
            return


def _load(pickled: bytes) -> Prepare:
    try:
        return pickle.loads(pickled)
    except Exception as error:
        raise RunError(
            f"A simulator process cannot import what it is to run ({type(error).__name__}: {error}); define it in a "
            "module that can be imported, not in a script or a notebook."
        ) from None


def _end_with_parent(descriptor: int) -> None:
    """Wait until the other end of the pipe is closed, by kill -9 too, and end the process, in the midst of work too."""
    poll = select.poll()
    poll.register(descriptor, 0)  # a hang-up is always reported
    poll.poll()
    os._exit(0)


def main() -> None:
    """Serve the pipe whose file descriptor is the first argument."""
    connection = Connection(int(sys.argv[1]))
    threading.Thread(target=_end_with_parent, args=(connection.fileno(),), daemon=True).start()
    serve(connection)
    # Simulators and GL contexts are known to crash while Python takes them down; nothing here is left to save.
    os._exit(0)
