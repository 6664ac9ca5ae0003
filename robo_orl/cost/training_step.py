"""One policy's training step on a synthetic window, taken apart into phases: what every cost measurement runs.

The same calls in the same order as engine/train.py on one process, without data, logging and checkpoints.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from time import perf_counter

import torch
from torch import Tensor, nn

from robo_orl.agent.agent import build_agent
from robo_orl.base.rng import Draws
from robo_orl.config import PolicyConfig
from robo_orl.cost.synthetic_data import synthetic_window
from robo_orl.engine.distributed import keep_freed_memory
from robo_orl.engine.optimizer import make_optimizer, set_learning_rate

PHASES = ("forward", "backward", "optimizer", "target")


class TrainingStep:
    """A freshly initialised agent with its optimiser and one window, ready to step any number of times."""

    def __init__(
        self,
        policy: PolicyConfig,
        spec: dict[str, int],
        action_dim: int,
        gamma: float,
        device: torch.device | str = "cpu",
        seed: int = 0,
    ):
        self.policy, self.device, self.seed, self.steps = policy, torch.device(device), seed, 0
        self.spec, self.action_dim, self.gamma = dict(spec), action_dim, gamma
        self.agent = self._build()
        self.optimizer = make_optimizer(self.agent, policy.optim)
        self.parts = policy.optim.accumulation
        pairs = policy.optim.batch_size // 2 // self.parts
        chunk, discount = policy.action_head.chunk, gamma**policy.n
        window = synthetic_window(pairs, spec, action_dim, chunk, discount, seed, policy.observation)
        self.window = window.to(self.device)

    def _build(self) -> nn.Module:
        if self.device.type == "cpu":
            keep_freed_memory()
        with self.device:  # a billion random numbers take a CPU longer than what is measured
            agent = build_agent(self.policy, self.spec, self.action_dim, self.gamma, None, self.seed)
        return agent.to(self.device)

    def run(self, phase: Callable[[str], AbstractContextManager] = lambda name: nullcontext()) -> Tensor:
        """One step; returns the loss. `phase(name)` wraps each of PHASES."""
        loss = self.gradients(phase)
        with phase("optimizer"):
            self.update()
        with phase("target"):
            self.agent.update_targets()
        self.steps += 1
        return loss

    def gradients(self, phase: Callable[[str], AbstractContextManager] = lambda name: nullcontext()) -> Tensor:
        """Forward and backward of every part of the batch, each on the one window; returns the last part's loss."""
        for part in range(self.parts):
            loss = self.part(part, phase)
        return loss

    def part(self, part: int, phase: Callable[[str], AbstractContextManager]) -> Tensor:
        """Forward and backward of one part; returns its loss."""
        with phase("forward"), self._autocast():
            loss, _ = self.agent(self.window, Draws(self.seed, self.steps, part, self.parts, self.device))
        with phase("backward"):
            (loss / self.parts).backward()
        return loss.detach()

    def update(self) -> None:
        """Clip, step, and drop the gradients."""
        optim = self.policy.optim
        set_learning_rate(self.optimizer, self.steps, optim)
        torch.nn.utils.clip_grad_norm_(self.agent.parameters(), optim.clip_norm or float("inf"))
        self.optimizer.step()
        self.optimizer.zero_grad()

    def timed(self) -> dict[str, float]:
        """Seconds of each phase of one step, the device waited for at every boundary."""
        seconds: dict[str, float] = {}

        @contextmanager
        def stopwatch(name: str) -> Iterator[None]:
            began = perf_counter()
            yield
            if self.device.type == "cuda":
                torch.cuda.synchronize(self.device)
            seconds[name] = seconds.get(name, 0.0) + perf_counter() - began

        self.run(stopwatch)
        return seconds

    def tensors(self) -> dict[str, list[Tensor]]:
        """What lives between two steps, by role."""
        moments = [v for state in self.optimizer.state.values() for v in state.values() if isinstance(v, Tensor)]
        held: list[Tensor] = []
        self.window.map(lambda t: held.append(t) or t)
        trained = [p for p in self.agent.parameters() if p.requires_grad]
        others = [p for p in self.agent.parameters() if not p.requires_grad] + list(self.agent.buffers())
        return {"trained": trained, "not_trained": others, "optimizer": moments, "window": held}

    def _autocast(self) -> AbstractContextManager:
        bf16 = self.policy.optim.precision == "bf16"
        return torch.autocast(self.device.type, torch.bfloat16) if bf16 else nullcontext()
