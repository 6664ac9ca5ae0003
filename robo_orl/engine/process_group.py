"""The processes of a launch meet within a limit, and the end of one of them is a sentence in the others."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import torch.distributed as dist

from robo_orl.base.errors import RunError
from robo_orl.engine.launch import Launch

MEETING_S = 300.0  # processes of several nodes start at different times
AGENT_MEETING_S = 120.0  # torchrun's and accelerate's agents start theirs at once
ADDRESS = ("MASTER_ADDR", "MASTER_PORT")
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

    torch would wait half an hour. The store is kept for the signs of life (heartbeat.py); the process group shares its
    server. Raises RunError where a process is missing at the limit.
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
        stored = checkpoints()
        where = f"from {stored[-1].name}" if stored else "from the start, since there is no checkpoint yet"
        raise RunError(
            "Another process of this training has ended: its own message is above, and without one it was killed, "
            f"usually because memory ran out (`dmesg`, the scheduler's log); the same command goes on {where}."
        ) from error


def _is_lost_connection(error: RuntimeError) -> bool:
    if not dist.is_initialized():
        return False
    return isinstance(error, dist.DistError) or any(words in str(error).lower() for words in LOST)
