"""Forward and backward of a whole step as one compiled graph each: `optim.capture: compile`.

torch's compiler joins neighbouring kernels: on a GPU fewer are started, on a CPU fewer passes over memory are made.
Compiling takes a minute and more, once in a process. Draws are made before the graph and read from their places in it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from robo_orl.base.errors import RunError, UsageError
from robo_orl.base.rng import PlannedDraws
from robo_orl.base.types import PairedWindow
from robo_orl.config import PolicyConfig
from robo_orl.engine.captured_step import REMEDY, PlacedDraws

Compile = Callable[[Callable], Callable]


def why_not_compiled(policy: PolicyConfig, alone: bool) -> str | None:
    """The reason why a policy's step cannot be compiled whole, None where it can. alone: as in `why_not_captured`."""
    if not alone:
        return "several processes, or DeepSpeed, exchange gradients in a step"
    if policy.backbone.kind != "transformer":
        return "a vlm is compiled by nobody here"
    blocks = policy.backbone.compile or policy.backbone.checkpointing
    return "its blocks are compiled or computed again one by one (backbone.compile, checkpointing)" if blocks else None


def compiles(policy: PolicyConfig, alone: bool) -> bool:
    """Whether the step is compiled. UsageError where the policy wants it and it cannot be."""
    if policy.optim.capture != "compile":
        return False
    why_not = why_not_compiled(policy, alone)
    if why_not is not None:
        raise UsageError(f"The training step of '{policy.name}' cannot be compiled, since {why_not}: {REMEDY}.")
    return True


def by_inductor(forward: Callable) -> Callable:
    """Compile by TorchInductor; independent small kernels (gains of norms, sums of biases) are joined as well."""
    return torch.compile(forward, fullgraph=True, dynamic=False, options={"combo_kernels": True})


@dataclass
class CompiledPasses:
    """The forward pass of an agent, whose backward pass is compiled with it. The first step runs as usual: it says what
    a step draws."""

    agent: nn.Module
    compile: Compile
    steps: int = 0
    graph: Callable | None = None
    names: list[str] = field(default_factory=list)
    draws: PlacedDraws | None = field(default=None, repr=False)

    def __call__(self, window: PairedWindow, draws: PlannedDraws) -> tuple[Tensor, dict[str, Tensor]]:
        """As the agent: the summed loss and the metrics."""
        self.steps += 1
        if self.steps == 1:
            loss, metrics = self.agent(window, draws)
            self.names = list(metrics)
            return loss, metrics
        if self.graph is None:
            self.graph, self.draws = self.compile(self._stacked), PlacedDraws.of(draws)
        self.draws.load(draws)
        return self._through(window)

    def _stacked(self, window: PairedWindow, draws: PlacedDraws) -> tuple[Tensor, Tensor]:
        """The loss, and all metrics in a tensor of their own: a metric that is the loss itself, without gradient, is
        the same output to the compiler, which takes the gradient from both."""
        loss, metrics = self.agent(window, draws)
        return loss, torch.stack([metrics[name] for name in self.names])

    def _through(self, window: PairedWindow) -> tuple[Tensor, dict[str, Tensor]]:
        from torch._dynamo.exc import TorchDynamoException  # here: it takes a second to import

        try:
            loss, metrics = self.graph(window, self.draws.restart())  # (), (metrics,)
        except TorchDynamoException as error:
            raise RunError(f"The training step cannot be compiled ({str(error).splitlines()[0]}): {REMEDY}.") from error
        if not loss.requires_grad:
            raise RunError(f"The compiler of this torch gives the step's loss no gradient: {REMEDY}.")
        return loss, dict(zip(self.names, metrics.unbind(), strict=True))
