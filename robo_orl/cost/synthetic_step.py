"""The training step of one policy on synthetic windows, in one process: what the cost measurements run.

The step is the engine's own (engine/training_step.py); no data, logging or checkpoints take part.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter

import torch
from torch import Tensor, nn

from robo_orl.agent.agent import build_agent
from robo_orl.config import PolicyConfig
from robo_orl.cost.synthetic_data import synthetic_window
from robo_orl.engine.distributed import keep_freed_memory
from robo_orl.engine.optimizer import make_optimizer
from robo_orl.engine.training_step import OneProcess, Phase, TrainingStep, unmeasured


class SyntheticStep:
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
        self.agent, optim = self._build(), policy.optim
        engine = OneProcess(self.device, optim.precision, optim.accumulation)
        self.optimizer = make_optimizer(self.agent, optim)
        self.training_step = TrainingStep(engine, self.agent, self.agent, self.optimizer, optim, seed)
        pairs = optim.batch_size // 2 // optim.accumulation
        chunk, discount = policy.action_head.chunk, gamma**policy.n
        window = synthetic_window(pairs, spec, action_dim, chunk, discount, seed, policy.observation)
        self.window = window.to(self.device)

    def _build(self) -> nn.Module:
        if self.device.type == "cpu":
            keep_freed_memory()
        with self.device:  # a billion random numbers take a CPU longer than what is measured
            agent = build_agent(self.policy, self.spec, self.action_dim, self.gamma, None, self.seed)
        return agent.to(self.device)

    def run(self, phase: Phase = unmeasured) -> Tensor:
        """One step, with the one window for every part of the batch; returns the loss."""
        metrics = self.training_step.run(self.steps, lambda rank, world: self.window, phase)
        self.steps += 1
        return metrics["loss"]

    def gradients(self, phase: Phase = unmeasured) -> Tensor:
        """Forward and backward alone; returns the loss."""
        return self.training_step.gradients(self.steps, lambda rank, world: self.window, phase)["loss"]

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
        """The tensors that live between two steps, by role."""
        moments = [v for state in self.optimizer.state.values() for v in state.values() if isinstance(v, Tensor)]
        held: list[Tensor] = []
        self.window.map(lambda t: held.append(t) or t)
        trained = [p for p in self.agent.parameters() if p.requires_grad]
        others = [p for p in self.agent.parameters() if not p.requires_grad] + list(self.agent.buffers())
        return {"trained": trained, "not_trained": others, "optimizer": moments, "window": held}
