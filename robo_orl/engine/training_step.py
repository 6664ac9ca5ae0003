"""The training step: one summed loss, one backward, clip, update, slow copies. Defined here once.

The training loop runs it on data, the cost measurements on synthetic windows. `accelerator` is accelerate's, or
`OneProcess` where a step is measured without it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, field
from functools import cached_property

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType
from torch import Tensor, nn

from robo_orl.base.rng import DrawPlan, Draws, PlannedDraws
from robo_orl.base.types import PairedWindow
from robo_orl.config import OptimConfig
from robo_orl.engine.captured_step import WARM_UP, Recording, as_cuda_graph, captures, learning_rates_in_place
from robo_orl.engine.compiled_step import CompiledPasses, by_inductor, compiles
from robo_orl.engine.optimizer import set_learning_rate
from robo_orl.engine.packed import to_device
from robo_orl.engine.working_weights import WorkingWeights, wants_copies
from robo_orl.engine.zero import gather

PHASES = ("forward", "backward", "optimizer", "target")
Phase = Callable[[str], AbstractContextManager]
ReadWindow = Callable[[int, int], PairedWindow]  # (rank, world) -> the pairs of this share of the batch, on the device


def unmeasured(phase: str) -> AbstractContextManager:
    """The context of a phase that nothing measures."""
    return nullcontext()


@dataclass
class OneProcess:
    """The calls of accelerate that a step makes, in plain torch on one device."""

    device: torch.device
    precision: str = "fp32"
    accumulation: int = 1
    process_index: int = 0
    num_processes: int = 1

    def accumulate(self, model: nn.Module) -> AbstractContextManager:
        """Nothing to hold back: gradients travel nowhere."""
        return nullcontext()

    def autocast(self) -> AbstractContextManager:
        """bf16 in the forward pass, where the policy asks for it."""
        bf16 = self.precision == "bf16"
        return torch.autocast(self.device.type, torch.bfloat16) if bf16 else nullcontext()

    def backward(self, loss: Tensor) -> None:
        """The gradients of one part of the batch, as its share of the mean."""
        (loss / self.accumulation).backward()

    def clip_grad_norm_(self, parameters: Iterable[Tensor], max_norm: float) -> Tensor:
        """Clip, and the norm before it."""
        return nn.utils.clip_grad_norm_(parameters, max_norm)


@dataclass
class TrainingStep:
    """The step of one agent: `agent` is the bare module, `model` what accelerate wrapped around it.

    records: False where one step differs from the next, so that it must not be recorded.
    """

    accelerator: Accelerator | OneProcess
    agent: nn.Module
    model: nn.Module
    optimizer: torch.optim.Optimizer
    optim: OptimConfig
    seed: int
    records: bool = True
    plan: DrawPlan = field(default_factory=DrawPlan)

    def run(self, step: int, read: ReadWindow, phase: Phase = unmeasured) -> dict[str, Tensor]:
        """Step number `step`, from 0; returns its metrics, on the device. `phase(name)` wraps each of PHASES."""
        set_learning_rate(self.optimizer, step, self.optim)
        if self.recording is not None:
            return self._recorded(step, read, phase)
        return self._updated(self.gradients(step, read, phase), phase)

    def _updated(self, metrics: dict[str, Tensor], phase: Phase) -> dict[str, Tensor]:
        """Clip, update, slow copies; the metrics with the norm of the gradients."""
        with phase("optimizer"):
            # DeepSpeed has clipped (by its own configuration) and stepped by now: there these lines only read the norm.
            norm = self.accelerator.clip_grad_norm_(self.agent.parameters(), self.optim.clip_norm or float("inf"))
            self.optimizer.step()
            self.optimizer.zero_grad()
        with phase("target"):
            self.agent.update_targets(gather)
        return metrics | {"optim/grad_norm": torch.as_tensor(norm, device=self.accelerator.device)}

    def gradients(self, step: int, read: ReadWindow, phase: Phase = unmeasured) -> dict[str, Tensor]:
        """Forward and backward of every part of this process's batch; returns the means of their metrics."""
        parts = [self._backward(step, part, read, phase) for part in range(self.optim.accumulation)]
        if len(parts) == 1:
            return parts[0]
        return {name: torch.stack([metrics[name] for metrics in parts]).mean() for name in parts[0]}

    def _backward(self, step: int, part: int, read: ReadWindow, phase: Phase) -> dict[str, Tensor]:
        """Forward and backward of one part; returns the loss and its metrics."""
        rank, world = share(self.accelerator, part, self.optim.accumulation)
        window = to_device(read(rank, world), self.accelerator.device)
        return self._passes(window, self._draws(step, rank, world), phase)

    def _passes(self, window: PairedWindow, draws: Draws, phase: Phase) -> dict[str, Tensor]:
        """Forward and backward of a window; returns the loss and its metrics."""
        accelerator = self.accelerator
        # gradients travel, and DeepSpeed steps, with the last part
        with accelerator.accumulate(self.model), ExitStack() as weights:
            with phase("forward"), self._autocast():
                if self.working is not None:
                    weights.enter_context(self.working.in_place())
                loss, metrics = self.forward(window, draws)
                if not self.computes_again:  # a pass that is computed again in the backward reads its weights there
                    weights.close()
            with phase("backward"):
                accelerator.backward(loss)
        return {"loss": loss.detach(), **metrics}

    def _draws(self, step: int, rank: int, world: int) -> Draws:
        """On a device of its own the numbers of a step travel together."""
        device = torch.device(self.accelerator.device)
        if device.type == "cpu" and not self.compiled:
            return Draws(self.seed, step, rank, world, device)
        return PlannedDraws(self.plan, self.seed, step, rank, world, device)

    def _recorded(self, step: int, read: ReadWindow, phase: Phase) -> dict[str, Tensor]:
        """A step as one call, whose phases cannot be told apart: all of it counts as the first."""
        rank, world = share(self.accelerator, 0, 1)
        window = read(rank, world)
        with phase(PHASES[0]):
            draws = PlannedDraws(self.plan, self.seed, step, rank, world, self.accelerator.device)
            metrics = self.recording.run(window, draws)
        for name in PHASES[1:]:
            with phase(name):
                pass
        return metrics

    def _whole(self, window: PairedWindow, draws: Draws) -> dict[str, Tensor]:
        return self._updated(self._passes(window, draws, unmeasured), unmeasured)

    @cached_property
    def forward(self) -> Callable[[PairedWindow, Draws], tuple[Tensor, dict[str, Tensor]]]:
        """The forward pass of a window: what accelerate wrapped around the agent, or the agent compiled."""
        return CompiledPasses(self.agent, by_inductor) if self.compiled else self.model

    @cached_property
    def compiled(self) -> bool:
        """Whether both passes are compiled whole (`optim.capture: compile`)."""
        return compiles(self.agent.policy, self._alone)

    @cached_property
    def recording(self) -> Recording | None:
        """The recorded step, where it is to be (`optim.capture`)."""
        device = torch.device(self.accelerator.device)
        if not self.records or not captures(self.agent.policy, device, self._alone):
            return None
        learning_rates_in_place(self.optimizer, device)
        return Recording(self._whole, device, as_cuda_graph)

    @property
    def replayed(self) -> bool:
        """True where the last step was replayed: no hook of Python's ran in it."""
        return self.recording is not None and self.recording.steps > WARM_UP + 1

    @property
    def _alone(self) -> bool:
        """True in one process without DeepSpeed."""
        return isinstance(self.accelerator, OneProcess) or self.accelerator.distributed_type == DistributedType.NO

    @cached_property
    def working(self) -> WorkingWeights | None:
        """bf16 copies of the weights, where this process trains alone. Other engines work on the weights themselves:
        DDP sends gradients while the backward pass goes on, ZeRO-3 gathers a layer at a time."""
        return WorkingWeights(self.agent) if self._alone and wants_copies(self.agent.policy) else None

    @property
    def computes_again(self) -> bool:
        """True under checkpointing."""
        return self.agent.policy.backbone.checkpointing

    def _autocast(self) -> AbstractContextManager:
        """That of plain torch; accelerate's is inside `model`."""
        outside = isinstance(self.accelerator, OneProcess) or self.compiled
        return self.accelerator.autocast() if outside else nullcontext()


def share(accelerator: Accelerator | OneProcess, part: int, parts: int) -> tuple[int, int]:
    """(rank, world) that part `part` of `parts` of this process's batch has: part j of P on process r of N reads and
    draws what process r P + j of N P would."""
    return accelerator.process_index * parts + part, accelerator.num_processes * parts
