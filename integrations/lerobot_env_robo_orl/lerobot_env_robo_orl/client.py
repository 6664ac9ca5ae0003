"""The other side of `python -m robo_orl.rollout.serve`: a simulator in a process of another Python. numpy only.

A message is the length of a JSON object in four bytes, the object, and the bytes of the arrays that it names.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from typing import Any

import numpy as np

VARIABLE = "ROBO_ORL_PYTHON"
REMEDY = f"set {VARIABLE} to the Python of the environment in which robo-orl is installed, e.g. /path/.venv/bin/python"


class TaskProcess:
    """One task of robo_orl in its process. RuntimeError with one sentence where it cannot do what it is asked to."""

    def __init__(
        self, task: str, python: str = "", starts: str = "test", cameras: tuple[str, ...] = (), size: int = 84
    ):
        python = python or os.environ.get(VARIABLE, "")
        if not python:
            raise RuntimeError(f"The tasks of robo_orl run in a Python of their own: {REMEDY}.")
        command = [*shlex.split(python), "-m", "robo_orl.rollout.serve", task, "--starts", starts]
        command += ["--cameras", ",".join(cameras), "--size", str(size)]
        try:
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        except OSError as error:
            raise RuntimeError(f"{python} does not start ({error.strerror}): {REMEDY}.") from None

    def ask(self, do: str, action: np.ndarray | None = None, **values: Any) -> tuple[dict, dict[str, np.ndarray]]:
        """The reply (values, arrays) to a request."""
        described = [] if action is None else [["action", action.dtype.str, list(action.shape)]]
        head = json.dumps(values | {"do": do, "arrays": described}).encode()
        body = b"" if action is None else np.ascontiguousarray(action).tobytes()
        try:
            self._process.stdin.write(len(head).to_bytes(4, "big") + head + body)
            self._process.stdin.flush()
            reply = json.loads(self._read(int.from_bytes(self._read(4), "big")))
        except (BrokenPipeError, EOFError):
            code = self._process.wait()
            raise RuntimeError(
                f"The process of the task ended with exit code {code}; is robo-orl there? {REMEDY}."
            ) from None
        arrays = {}
        for name, dtype, shape in reply.pop("arrays"):
            size = np.dtype(dtype).itemsize * int(np.prod(shape))
            arrays[name] = np.frombuffer(self._read(size), dtype).reshape(shape)
        if "error" in reply:
            raise RuntimeError(reply["error"])
        return reply, arrays

    def _read(self, size: int) -> bytes:
        data = self._process.stdout.read(size)
        if len(data) < size:
            raise EOFError
        return data

    def close(self) -> None:
        """End the process; nothing happens the second time."""
        if self._process.poll() is None:
            self._process.stdin.close()
            self._process.wait()
        self._process.stdout.close()
