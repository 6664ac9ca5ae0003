"""The processes of a launch: they meet within a limit, and one that stands still or ends is a sentence in the rest."""

from __future__ import annotations

import atexit
import os
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path

import torch.distributed as dist

from robo_orl.base.errors import RunError
from robo_orl.base.text import notice
from robo_orl.engine.interruption import where_it_goes_on
from robo_orl.engine.launch import ADDRESS, Launch

MEETING_S = 300.0  # processes of several nodes start at different times
AGENT_MEETING_S = 120.0  # torchrun's and accelerate's agents start theirs at once
LOST = (
    "gloo/transport",
    "connection closed by peer",
    "connection reset by peer",
    "socket closed",
    "broken pipe",
    "nccl",
)


def meet(launch: Launch, environment: Mapping[str, str] = os.environ) -> dist.Store | None:
    """The store at which all processes of the launch have met; None where there is one process or no address.

    torch would wait half an hour. The store is kept for the signs of life (`start_heartbeat`); the process group shares
    its server. Raises RunError where a process is missing at the limit.
    """
    if launch.world < 2 or dist.is_initialized() or not all(environment.get(variable) for variable in ADDRESS):
        return None
    by_agent = environment.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    limit = timedelta(seconds=AGENT_MEETING_S if by_agent else MEETING_S)
    try:
        store, _, _ = next(dist.rendezvous("env://", launch.rank, launch.world, timeout=limit))
        present = dist.PrefixStore(f"robo_orl/{environment.get('TORCHELASTIC_RESTART_COUNT', 0)}", store)
        present.set(str(launch.rank), "present")
        present.wait([str(rank) for rank in range(launch.world)], limit)
    except (RuntimeError, ValueError) as error:
        raise RunError(_missing(launch, environment, limit, error)) from None
    return store


def _missing(launch: Launch, environment: Mapping[str, str], limit: timedelta, error: Exception) -> str:
    where = ":".join(environment[variable] for variable in ADDRESS)
    reason = str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
    return (
        f"Process {launch.rank} of {launch.world} did not meet the others at {where} within {limit.seconds} s "
        f"({reason}): if RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT are left over from another job, unset them, "
        "else start all processes with `accelerate launch`."
    )


@contextmanager
def describe_lost_process(checkpoints: Callable[[], list[Path]]) -> Iterator[None]:
    """Turn the error of a collective whose other process ended into a RunError that says how to go on."""
    try:
        yield
    except RuntimeError as error:
        if not _is_lost_connection(error):
            raise
        where = where_it_goes_on(checkpoints())
        raise RunError(
            "Another process of this training has ended: its own message is above, and without one it was killed, "
            f"usually because memory ran out (`dmesg`, the scheduler's log); the same command goes on {where}."
        ) from error


def _is_lost_connection(error: RuntimeError) -> bool:
    if not dist.is_initialized():
        return False
    return isinstance(error, dist.DistError) or any(words in str(error).lower() for words in LOST)


# -------------------------------------------------------------------------------------------------------- signs of life


BEAT_S = 5.0
LIMIT_S = 300.0  # longer than any call that holds the interpreter
DONE = "done"


class Heartbeat(threading.Thread):
    """The watch of one process over the next rank, and the signs that it gives itself.

    A process that was stopped (SIGSTOP, a debugger, a machine that hangs) breaks no connection: the others would wait
    in their next collective for the half hour of gloo. Every process counts up in the store at which all have met,
    from a thread of its own, and watches the next one. A long save or conversion does not matter: the thread goes on.

    on_loss: called once with a sentence where that rank gave no sign for limit_s seconds, counted in own beats of
    beat_s seconds, so that a process that was itself stopped and continued accuses nobody. Signs are exchanged in a
    second thread: a store whose owner is stopped never answers, whatever limit its client is given.
    """

    def __init__(
        self, store: dist.Store, launch: Launch, on_loss: Callable[[str], None], beat_s: float, limit_s: float
    ):
        super().__init__(name="heartbeat", daemon=True)
        self._signs = dist.PrefixStore("robo_orl/heartbeat", store)
        self._rank, self._world = launch.rank, launch.world
        self._watched = (launch.rank + 1) % launch.world
        self._on_loss, self._beat_s, self._limit_s = on_loss, beat_s, limit_s
        self._ended = threading.Event()
        self._sign = ""  # the last one of the watched rank
        self._request = 0  # the number of the last exchange
        self._answered = True  # by the store
        self._exchange = threading.Thread(target=self._exchange_signs, name="signs of life", daemon=True)

    def run(self) -> None:
        """Watch until the end of this process, of the watched one, or of the store, whose owner ends first at times."""
        self._exchange.start()
        seen, missed, request, unanswered = "", 0, 0, 0
        while self._sign != DONE and not self._ended.wait(self._beat_s):
            seen, missed = self._sign, missed + 1 if self._sign == seen else 0
            pending = self._request == request and not self._answered
            request, unanswered = self._request, unanswered + 1 if pending else 0
            if missed * self._beat_s >= self._limit_s:
                # One exchange is nearly always under way: the store is silent only where the same one stays.
                silent = seen and unanswered > missed // 2
                self._on_loss(self._sentence(self._of_store() if silent else self._of_rank(seen)))
                return

    def _exchange_signs(self) -> None:
        count, me = 0, f"{os.getpid()} on {socket.gethostname()}"
        while not self._ended.is_set():
            count, self._answered = count + 1, False
            self._request = count
            try:
                self._signs.set(str(self._rank), f"{count} {me}")
                if self._sign != DONE:
                    self._signs.wait([str(self._watched)], timedelta(seconds=2 * self._limit_s))
                    self._sign = self._signs.get(str(self._watched)).decode()
            except RuntimeError:  # the owner of the store has ended
                self._ended.set()
                return
            self._answered = True
            self._ended.wait(self._beat_s)
        with suppress(RuntimeError):
            self._signs.set(str(self._rank), DONE)

    def _of_rank(self, sign: str) -> str:
        return f"Process {self._watched} of {self._world}" + (f" ({sign.partition(' ')[2]})" if sign else "")

    def _of_store(self) -> str:
        return f"Process 0 of {self._world} or its launcher, which keeps the meeting point of all,"

    def _sentence(self, who: str) -> str:
        return (
            f"{who} has given no sign of life for {self._limit_s:.0f} s: it is stopped, or its machine hangs; continue "
            "(`kill -CONT`) or end it, and the same command goes on from the newest checkpoint."
        )

    def end(self) -> None:
        """Say that this process ends in order."""
        self._ended.set()
        if self._exchange.is_alive():
            self._exchange.join(timeout=2.0)


def end_process(sentence: str) -> None:
    """End this process with a sentence and exit code 1: its main thread waits inside a collective for ever."""
    notice(sentence)
    sys.stderr.flush()
    os._exit(1)


def start_heartbeat(store: dist.Store | None, launch: Launch) -> None:
    """Give signs of life and watch the next process's until this one ends; nothing where there is one process."""
    if store is None:
        return
    heartbeat = Heartbeat(store, launch, end_process, BEAT_S, LIMIT_S)
    atexit.register(heartbeat.end)
    heartbeat.start()
