"""One policy's training step under accelerate, on however many processes the launcher starts: time, memory, traffic.

    accelerate launch --config_file launch/cpu_zero2.yaml -m robo_orl.cost.measure.distributed REQUEST.json ANSWER.json

The engine's own set-up and step around synthetic windows. REQUEST is a list of {"policy": resolved PolicyConfig,
"task": resolved TaskConfig, "steps"}; process 0 writes one answer for each (step_cost.ProcessCosts).
"""

from __future__ import annotations

import gc
import json
import os
import socket
import struct
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

from robo_orl.agent.agent import build_agent
from robo_orl.base.files import atomic_file
from robo_orl.config import PolicyConfig, RunConfig, TaskConfig
from robo_orl.cost.measure.step_cost import WARM_UP, ProcessCosts
from robo_orl.cost.synthetic_data import ACTION_DIM, policy_spec, synthetic_window
from robo_orl.cost.tensor_memory import TensorBytes, storage_bytes, tensors_alive
from robo_orl.engine.distributed import check_resolved, open_accelerator, prepare, resolved
from robo_orl.engine.optimizer import make_optimizer
from robo_orl.engine.training_step import TrainingStep
from robo_orl.engine.zero import release

BYTES_ACKED = struct.Struct("@120xQ")  # struct tcp_info of Linux 4.1 and later: tcpi_bytes_acked


def bytes_sent() -> int:
    """Payload bytes of every open TCP connection that its peer has acknowledged; 0 where the system does not count.

    Linux only. Loopback counts like any other network. Control traffic of the rendezvous is in it: a few kB.
    """
    total = 0
    for name in os.listdir("/proc/self/fd") if os.path.isdir("/proc/self/fd") else ():
        try:
            if os.readlink(f"/proc/self/fd/{name}").startswith("socket:"):
                total += _acknowledged(int(name))
        except OSError:  # closed meanwhile, or no TCP socket
            continue
    return total


def _acknowledged(descriptor: int) -> int:
    with socket.socket(fileno=os.dup(descriptor)) as copy:
        if copy.type != socket.SOCK_STREAM or copy.family not in (socket.AF_INET, socket.AF_INET6):
            return 0
        return BYTES_ACKED.unpack_from(copy.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256))[0]


class DistributedStep:
    """The engine's training step of a prepared agent, on this process's share of the pairs."""

    def __init__(self, policy: PolicyConfig, task: TaskConfig, folder: Path, seed: int = 0):
        run = RunConfig(policy=policy, task=task, data="synthetic windows", tracker="none")
        self.accelerator, self.steps, optim = open_accelerator(run, folder), 0, policy.optim
        gamma, spec = policy.gamma.value(task.horizon), policy_spec(policy, task)
        agent = build_agent(policy, spec, ACTION_DIM, gamma, None, seed)
        model, optimizer = prepare(self.accelerator, agent, make_optimizer(agent, optim))
        self.engine = resolved(self.accelerator, model)
        check_resolved(self.engine, run, agent, model)
        self.training_step = TrainingStep(self.accelerator, agent, model, optimizer, optim, seed)
        pairs = optim.batch_size // 2 // self.accelerator.num_processes // optim.accumulation
        chunk, discount = policy.action_head.chunk, gamma**policy.n
        window = synthetic_window(pairs, spec, ACTION_DIM, chunk, discount, seed, policy.observation)
        self.window = window.to(self.accelerator.device)

    def run(self) -> None:
        """One step."""
        self.training_step.run(self.steps, lambda rank, world: self.window)
        self.steps += 1

    def timed(self) -> float:
        """Seconds of one step, all processes and the device waited for."""
        self._wait()
        began = perf_counter()
        self.run()
        self._wait()
        return perf_counter() - began

    def _wait(self) -> None:
        if self.accelerator.device.type == "cuda":
            torch.cuda.synchronize()
        self.accelerator.wait_for_everyone()

    def peak_bytes(self) -> tuple[int, int]:
        """(held between steps, at the step's peak) on this process."""
        gc.collect()
        if self.accelerator.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
            held = torch.cuda.memory_allocated()
            self.run()
            return held, torch.cuda.max_memory_allocated()
        alive = tensors_alive()
        held = storage_bytes(alive)
        with TensorBytes(alive) as counter:
            del alive
            self.run()
        return held, counter.peak

    def sent_per_step(self, steps: int = 4) -> float:
        """Bytes that this process sends in a step."""
        self._wait()
        before = bytes_sent()
        for _ in range(steps):
            self.run()
        self._wait()  # what is still in a buffer of the kernel is not counted; the barrier's own bytes are few
        return (bytes_sent() - before) / steps


def bytes_alive() -> int:
    """Bytes of every tensor of this process."""
    gc.collect()
    return torch.cuda.memory_allocated() if torch.cuda.is_available() else storage_bytes(tensors_alive())


def measure(request: dict[str, Any], folder: Path) -> ProcessCosts:
    """The answer to one request; equal on all processes but for what each measures of itself."""
    policy, task = PolicyConfig.model_validate(request["policy"]), TaskConfig.model_validate(request["task"])
    left = bytes_alive()  # DeepSpeed does not let go of all of an engine that was measured before in this process
    step = DistributedStep(policy, task, folder)
    try:
        for _ in range(WARM_UP):
            step.run()
        held, peak = (size - left for size in step.peak_bytes())
        sent = step.sent_per_step()
        times = [step.timed() for _ in range(request["steps"])]
        mine = torch.tensor([[held, peak, sent]], dtype=torch.float64, device=step.accelerator.device)
        per_process = step.accelerator.gather(mine).tolist()
    finally:
        release(step.training_step.model)
    return ProcessCosts(
        engine=step.engine.to_json(),
        times_s=times,
        held_bytes=[int(row[0]) for row in per_process],
        peak_bytes=[int(row[1]) for row in per_process],
        sent_bytes_per_step=[row[2] for row in per_process],
    )


def main(arguments: list[str]) -> int:
    """REQUEST.json ANSWER.json"""
    request, answer = (Path(argument) for argument in arguments)
    with tempfile.TemporaryDirectory() as folder:
        rows = [asdict(measure(one, Path(folder))) for one in json.loads(request.read_text())]
    if torch.distributed.is_initialized() and torch.distributed.get_rank() > 0:
        return 0
    with atomic_file(answer) as temporary:
        temporary.write_text(json.dumps(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
