"""Jobs as tasks of Ray Core, on a cluster that runs already or on one that lives as long as the bench.

Ray keeps the cluster and places the tasks; it holds nothing that a bench needs: how a job ended stands in its files, so
that the bench, or a machine, may die at any time.
"""

from __future__ import annotations

import os
import socket
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from robo_orl.base.errors import RunError
from robo_orl.sweep.job import Job, JobResult
from robo_orl.sweep.resources import Grant, Node
from robo_orl.sweep.runners.job_files import JobFiles
from robo_orl.sweep.runners.work import Request, run_job

PORT = 6379  # of `ray start --head`
CONNECT_S = 10.0
NODES_S = 2.0  # how long an answer about the cluster holds
RETRIES = 5  # after a lost machine or worker
GRACE_S = 10.0  # for a file to be seen on another machine


@dataclass
class RayTask:
    """A job in Ray. ended_at: when its task was first seen to have ended."""

    files: JobFiles
    reference: Any
    ended_at: float | None = field(default=None, compare=False)


class RayRunner:
    """The runner of a Ray cluster.

    logs: folder of the jobs' files, on a file system that all machines share. address: None for a cluster of this
    machine alone that ends with this process, auto, or HOST or HOST:PORT of a head node.
    """

    def __init__(self, logs: Path, address: str | None = None):
        self.logs = logs
        self.ray = _connect(address)
        self._task = self.ray.remote(_work)
        self._nodes: tuple[float, list[Node]] = (-NODES_S, [])

    def nodes(self) -> list[Node]:
        """The machines that are alive now."""
        asked, nodes = self._nodes
        if time.monotonic() - asked >= NODES_S:
            nodes = [_node(found) for found in self.ray.nodes() if found["Alive"]]
            nodes = sorted((node for node in nodes if node.cores), key=lambda node: node.name)
            self._nodes = (time.monotonic(), nodes)
        return nodes

    def start(self, job: Job, grant: Grant) -> RayTask:
        """Submit a job with its resources; Ray runs it once more when its machine is lost."""
        self.logs.mkdir(parents=True, exist_ok=True)
        files = JobFiles(self.logs, job.key)
        files.clear()
        gpus = len(grant.gpus) if grant.resources.whole or grant.resources.gpus >= 1 else grant.resources.gpus
        task = self._task.options(
            name=job.key,
            num_cpus=grant.cores,
            num_gpus=round(gpus, 2),
            memory=grant.memory_bytes or None,
            max_retries=RETRIES,
        )
        return RayTask(files, task.remote(Request.of(job, grant.cores, self.logs).line()))

    def flush(self) -> None:
        """Every job is with Ray."""

    def result(self, task: RayTask) -> JobResult | None:
        """The result of a job, None while it waits or runs."""
        ended, _ = self.ray.wait([task.reference], timeout=0)
        if not ended:
            return None
        if (result := task.files.ended()) is not None:
            return result
        task.ended_at = task.ended_at or time.monotonic()
        if time.monotonic() - task.ended_at < GRACE_S:
            return None
        return JobResult(None, self._why_ended(task))

    def where(self, task: RayTask) -> str:
        """The machine, as the job noted it."""
        return task.files.where()

    def stop(self, handles: list[RayTask], patience_s: float = 60.0) -> None:
        """Tell the tasks to end, which save what they have."""
        for task in handles:
            with suppress(Exception):  # a cluster that is gone has nothing to stop
                self.ray.cancel(task.reference)
        with suppress(Exception):
            references = [task.reference for task in handles]
            self.ray.wait(references, num_returns=len(references), timeout=patience_s)

    def close(self) -> None:
        """Leave the cluster; one that was started here ends."""
        self.ray.shutdown()

    def _why_ended(self, task: RayTask) -> str:
        try:
            self.ray.get(task.reference)
        except Exception as error:
            return f"Ray gave it up: {_first_line(error)}."
        return "It was interrupted; the next try goes on from there."


def _work(line: str) -> int:
    """The body of a task."""
    import json

    return run_job(Request(**json.loads(line)), _place())


def _place() -> str:
    """The machine and the GPUs that Ray gave to this task."""
    gpus = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    return f"{socket.gethostname()}{f' GPU {gpus}' if gpus else ''}"


def _node(found: dict[str, Any]) -> Node:
    """A machine in Ray's list."""
    offered = found["Resources"]
    memory = offered.get("memory")
    return Node(
        cores=int(offered.get("CPU", 0)),
        gpus=int(offered.get("GPU", 0)),
        memory_bytes=None if memory is None else int(memory),
        name=found["NodeID"],
    )


# ---------------------------------------------------------------------------------------------------------- connecting


def _connect(address: str | None) -> ModuleType:
    """Ray, connected; RunError in one sentence where it is not installed, not reachable, or of another version."""
    try:
        import ray
    except ImportError as error:
        raise RunError(f"--runner ray needs Ray ({error}); install it with: pip install 'robo-orl[ray]'.") from None
    _check_arrow()
    if address is None:
        ray.init(include_dashboard=False, log_to_driver=False, logging_level="ERROR")
        return ray
    full = _full_address(address)
    try:
        ray.init(address=full, log_to_driver=False, logging_level="ERROR")
    except Exception as error:
        if "version mismatch" in str(error).lower():
            raise RunError(_other_version(ray, error)) from None
        raise RunError(_unreachable(address, _first_line(error))) from None
    return ray


def _check_arrow() -> None:
    """RunError where pyarrow is installed and cannot be loaded, which Ray takes for its own end."""
    try:
        import pyarrow  # noqa: F401
    except ModuleNotFoundError:
        return
    except ImportError as error:
        raise RunError(
            f"Ray cannot load the pyarrow that is installed here ({_first_line(error)}): `pip uninstall pyarrow`, "
            "which nothing here needs, or install one that fits."
        ) from None


def _full_address(address: str) -> str:
    """HOST:PORT of an address, after a look whether anybody answers there: Ray itself would wait for minutes."""
    if address == "auto":
        return address
    host, _, port = address.partition(":")
    if port and not port.isdigit():
        raise RunError(f"--address is auto, HOST or HOST:PORT, got '{address}'.")
    try:
        socket.create_connection((host, int(port or PORT)), CONNECT_S).close()
    except (OSError, UnicodeError) as error:
        raise RunError(_unreachable(address, _first_line(error))) from None
    return f"{host}:{port or PORT}"


def _unreachable(address: str, reason: str) -> str:
    return (
        f"No Ray cluster answers at --address {address} ({reason.rstrip('.')}): start one with `ray start --head`, or "
        "leave --address out for one on this machine alone."
    )


def _other_version(ray: ModuleType, error: Exception) -> str:
    words = " ".join(str(error).split())
    return (
        f"The cluster runs another Ray or Python than this machine, which has Ray {ray.__version__} ({words[:200]}): "
        "install the same versions on all machines."
    )


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__).rstrip(".")
