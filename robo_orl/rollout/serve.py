"""A task for a program of another Python: `python -m robo_orl.rollout.serve TASK` answers over its pipes.

LeRobot wants other versions of packages than the simulators, so that the two do not share a process
(integrations/lerobot_env_robo_orl is the other side). A message is the length of a JSON object in four bytes, the
object, and the bytes of the arrays that its `arrays` names: [name, dtype, shape].
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from typing import Any, BinaryIO

import numpy as np

from robo_orl.base.errors import RunError, UsageError
from robo_orl.config import TaskConfig, View
from robo_orl.config.presets import load_task
from robo_orl.envs.making import make_env
from robo_orl.envs.registry import action_size, observation_sizes
from robo_orl.envs.start_banks import stored_bank
from robo_orl.rollout.env_spec import Environment

CAMERA = "agentview"


def send(stream: BinaryIO, values: dict[str, Any], arrays: dict[str, np.ndarray] | None = None) -> None:
    """Write one message."""
    arrays = {name: np.ascontiguousarray(array) for name, array in (arrays or {}).items()}
    described = [[name, array.dtype.str, list(array.shape)] for name, array in arrays.items()]
    head = json.dumps(values | {"arrays": described}).encode()
    stream.write(len(head).to_bytes(4, "big") + head + b"".join(array.tobytes() for array in arrays.values()))
    stream.flush()


def receive(stream: BinaryIO) -> tuple[dict[str, Any], dict[str, np.ndarray]] | None:
    """Read one message; None where the other side is gone."""
    length = stream.read(4)
    if len(length) < 4:
        return None
    values, arrays = json.loads(stream.read(int.from_bytes(length, "big"))), {}
    for name, dtype, shape in values.pop("arrays"):
        size = np.dtype(dtype).itemsize * int(np.prod(shape))
        arrays[name] = np.frombuffer(stream.read(size), dtype).reshape(shape)
    return values, arrays


class ServedTask:
    """Answers to requests about one task. The simulator is made at the first reset."""

    def __init__(self, task: TaskConfig, bank: str, view: View | None):
        self.task, self.view, self._bank_name = task, view, bank
        self._env: Environment | None = None
        self._bank: Any = None

    def answer(self, request: dict[str, Any], arrays: dict[str, np.ndarray]) -> tuple[dict, dict]:
        """(values, arrays) of the reply to a request: {"do": describe, reset, step or render}."""
        match request["do"]:
            case "describe":
                return self._description(), {}
            case "reset":
                env, bank = self._simulator()
                obs = env.reset(bank[request["index"] % len(bank)])
                return {"start": request["index"] % len(bank)}, self._seen(obs)
            case "step":
                env, _ = self._simulator()
                after = env.step(arrays["action"])
                values = {"reward": after.reward, "terminated": after.terminated, "truncated": after.truncated}
                return values | {"stages": int(after.stages.sum())}, self._seen(after.obs)
            case "render":
                view = View(cameras=(CAMERA,), size=request["size"])
                return {}, {"picture": self._simulator()[0].see(view)[f"{CAMERA}_image"]}
            case other:
                raise UsageError(f"The task is asked to {other}, and can describe, reset, step and render.")

    def close(self) -> None:
        """Free the simulator."""
        if self._env is not None:
            self._env.close()

    def _simulator(self) -> tuple[Environment, Any]:
        if self._env is None:
            self._bank = stored_bank(self.task, self._bank_name)
            self._env = make_env(self.task)
        return self._env, self._bank

    def _description(self) -> dict[str, Any]:
        sizes = observation_sizes(self.task) or self._simulator()[0].spec
        return {
            "task": self.task.name,
            "instruction": self.task.instruction or self.task.name,
            "sizes": dict(sizes),
            "action_dim": action_size(self.task) or self._simulator()[0].action_dim,
            "hz": self.task.control_hz,
            "limit": self.task.horizon,
            "stages": list(self.task.stages),
        }

    def _seen(self, obs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return obs | (self._env.see(self.view) if self.view is not None else {})


def serve(task: ServedTask, requests: BinaryIO, replies: BinaryIO) -> None:
    """Answer until the other side is gone; an error of ours is a reply with its sentence."""
    while (message := receive(requests)) is not None:
        try:
            values, arrays = task.answer(*message)
        except (UsageError, RunError) as error:
            values, arrays = {"error": str(error)}, {}
        send(replies, values, arrays)
    task.close()


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line of the module."""
    parser = argparse.ArgumentParser(prog="python -m robo_orl.rollout.serve", description=__doc__)
    parser.add_argument("task")
    parser.add_argument("--starts", default="test")
    parser.add_argument("--cameras", default="")
    parser.add_argument("--size", type=int, default=84)
    options = parser.parse_args(arguments)
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what others print goes to stderr
    cameras = [camera for camera in options.cameras.split(",") if camera]
    try:
        view = View(cameras=cameras, size=options.size) if cameras else None
        task = ServedTask(load_task(options.task), options.starts, view)
    except (UsageError, ValueError) as error:
        receive(sys.stdin.buffer)
        send(replies, {"error": " ".join(str(error).split())})
        return
    serve(task, sys.stdin.buffer, replies)


if __name__ == "__main__":
    main()
