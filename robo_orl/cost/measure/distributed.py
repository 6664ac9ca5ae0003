"""Training steps on several processes: time, memory and traffic, under the launch files of training.

`launch` starts the job with `accelerate launch`, whose processes run this module:

    accelerate launch --config_file launch/cpu_zero2.yaml -m robo_orl.cost.measure.distributed REQUEST.json ANSWER.json

They take the engine's own set-up and step around synthetic windows. REQUEST is a list of {"policy": resolved
PolicyConfig, "task": resolved TaskConfig, "steps"}; process 0 writes one answer for each (step_cost.ProcessCosts).
"""

from __future__ import annotations

import gc
import json
import os
import socket
import struct
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import torch

from robo_orl.agent.agent import build_agent
from robo_orl.base.errors import RunError
from robo_orl.base.files import atomic_file
from robo_orl.base.machine import ONE_THREAD
from robo_orl.config import PolicyConfig, RunConfig, TaskConfig
from robo_orl.config.presets import available
from robo_orl.cost.measure.device import forget, this_device
from robo_orl.cost.measure.one_process import describe
from robo_orl.cost.measure.step_cost import WARM_UP, ProcessCosts, StepCost, beside
from robo_orl.cost.parallelism import Layout
from robo_orl.cost.synthetic_step import action_size, as_read, frozen_online, policy_spec, synthetic_window
from robo_orl.cost.tensor_memory import TensorBytes, storage_bytes, tensors_alive
from robo_orl.engine.distributed import check_resolved, open_accelerator, prepare, resolved
from robo_orl.engine.optimizer import make_optimizer
from robo_orl.engine.training_step import TrainingStep
from robo_orl.engine.zero import release

LIMIT_S = 540


def compare_launched(
    policies: Sequence[PolicyConfig], task: TaskConfig, layout: Layout, steps: int = 20, predict: bool = True
) -> list[StepCost]:
    """One row per policy, relative to the first one, which is measured before and after the others.

    All run in one job, one after the other: a drift of the machine cancels to first order. Raises RunError where the
    job fails; where it runs out of memory the last row says so, and no row has a ratio.
    """
    layout = layout.but(device=this_device())
    rows = [describe(policy, task, layout, predict) for policy in policies]
    forget()
    turns = [*policies, policies[0]] if len(policies) > 1 else list(policies)
    try:
        costs = launch(layout, turns, task, steps)
    except RunError as error:
        if "out of memory" not in str(error).lower():
            raise
        return [*rows[:-1], replace(rows[-1], oom=str(error))]
    rows = [replace(row, launched=cost) for row, cost in zip(rows, costs, strict=False)]
    base_s = median(costs[0].times_s + costs[-1].times_s if len(costs) > 1 else costs[0].times_s)
    first = replace(rows[0], step_relative=1.0, memory_relative=1.0)
    return [first] + [replace(beside(row, rows[0]), step_relative=row.step_s / base_s) for row in rows[1:]]


def launch_file(layout: Layout, gpu: bool) -> Path:
    """The shipped accelerate file of a layout; RunError where none is shipped."""
    engine = f"zero{layout.zero}" if layout.zero else ("ddp" if layout.world > 1 else "single")
    name = f"{'' if gpu else 'cpu_'}{engine}{'_offload' if layout.offload else ''}"
    files = available("launch")
    if name not in files:
        raise RunError(f"No launch file for {layout.describe()}: launch/{name}.yaml is missing.")
    return files[name]


def launch(
    layout: Layout, policies: Sequence[PolicyConfig], task: TaskConfig, steps: int, limit_s: float = LIMIT_S
) -> list[ProcessCosts]:
    """The costs of each policy's step, measured one after the other in one job.

    Raises RunError where the job fails or takes longer than `limit_s` seconds.
    """
    gpu = torch.cuda.is_available()
    about = {"task": task.model_dump(mode="json"), "steps": steps}
    with tempfile.TemporaryDirectory() as name:
        request, answer = Path(name) / "request.json", Path(name) / "answer.json"
        request.write_text(json.dumps([about | {"policy": policy.model_dump(mode="json")} for policy in policies]))
        command = [sys.executable, "-m", "accelerate.commands.launch"]
        command += ["--config_file", str(launch_file(layout, gpu)), "--num_processes", str(layout.world)]
        command += ["-m", "robo_orl.cost.measure.distributed", str(request), str(answer)]
        environment = ONE_THREAD | dict(os.environ)
        try:
            done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=limit_s)
        except subprocess.TimeoutExpired:
            raise RunError(f"{layout.describe()} took longer than {limit_s:.0f} s; ask for fewer steps.") from None
        if done.returncode or not answer.exists():
            raise RunError(f"{layout.describe()} failed: {_last_error(done.stderr)}")
        return [ProcessCosts(**values) for values in json.loads(answer.read_text())]


def _last_error(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if "Error" in line and "ChildFailed" not in line]
    return lines[-1] if lines else (text.strip().splitlines() or ["no message"])[-1]


# -------------------------------------------------------------------------------------------- in the launched processes


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
        action_dim = action_size(task)
        agent = frozen_online(build_agent(policy, spec, action_dim, gamma, None, seed))
        model, optimizer = prepare(self.accelerator, agent, make_optimizer(agent, optim))
        self.engine = resolved(self.accelerator, model)
        check_resolved(self.engine, run, agent, model)
        self.training_step = TrainingStep(self.accelerator, agent, model, optimizer, optim, seed)
        pairs = optim.batch_size // 2 // self.accelerator.num_processes // optim.accumulation
        chunk, discount = policy.action_head.chunk, gamma**policy.n
        window = synthetic_window(pairs, spec, action_dim, chunk, discount, seed, policy.observation)
        self.window = as_read(agent, window.to(self.accelerator.device), seed)

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
