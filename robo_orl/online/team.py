"""The processes of a launch that learn together: the first one collects and judges, all of them make the updates.

Under `accelerate launch` every process draws its share of each batch and of the random numbers, as in offline training
(engine/training_step.py). Gradients are averaged here once per update, in one buffer, and not by DDP: which networks
learn changes from one update to the next, and DDP waits for the gradients of all that learned when it was wrapped.
Under DeepSpeed the engine of offline training does it, and a step calls accelerate in the place of the team.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from accelerate import Accelerator
from torch import Tensor, nn

from robo_orl.base.files import write_json
from robo_orl.config import RunConfig
from robo_orl.engine.distributed import check_resolved, open_accelerator, prepare, resolved
from robo_orl.engine.launch import read_launch
from robo_orl.engine.training_step import OneProcess

T = TypeVar("T")
PATIENCE = timedelta(days=7)  # the others wait while the first one collects and judges


@dataclass
class Team(OneProcess):
    """This process among all: what OneProcess is to a step, with the gradients of all.

    waiting: a group to wait in. accelerator: under DeepSpeed alone, whose engine divides what is learned. out: the
    folder of the run.
    """

    waiting: Any = None
    accelerator: Accelerator | None = None
    out: Path | None = None

    @property
    def main(self) -> bool:
        """True in the process that collects, judges and writes."""
        return self.process_index == 0

    def wait(self) -> None:
        """Return once all processes have come here."""
        if self.num_processes > 1:
            dist.barrier(self.waiting)

    def agreed(self, value: T) -> T:
        """What the first process says, in all of them; the others wait for it."""
        said = [value]
        if self.num_processes > 1:
            dist.broadcast_object_list(said, 0, group=self.waiting)
        return said[0]

    def prepare(
        self, run: RunConfig, agent: nn.Module, optimizer: torch.optim.Optimizer
    ) -> tuple[nn.Module, torch.optim.Optimizer]:
        """The agent and its optimiser as a step calls them; under DeepSpeed a collective, which leaves engine.json.

        RunError where accelerate resolved another engine than the launcher requests.
        """
        if self.accelerator is None:
            return agent.to(self.device), optimizer
        model, optimizer = prepare(self.accelerator, agent, optimizer)
        engine = resolved(self.accelerator, model)
        if self.main:
            write_json(self.out / "engine.json", engine.to_json())
        check_resolved(engine, run.model_copy(update={"expect": {}}), agent, model)  # expected of the run before
        return model, optimizer

    def clip_grad_norm_(self, parameters: Iterable[Tensor], max_norm: float) -> Tensor:
        """Give every process the mean of all gradients, then clip; the norm before it."""
        parameters = list(parameters)
        if self.num_processes > 1:
            self._average([p.grad for p in parameters if p.grad is not None])
        return super().clip_grad_norm_(parameters, max_norm)

    def mean(self, values: dict[str, float]) -> dict[str, float]:
        """The means over all processes of numbers that all have by the same names."""
        if self.num_processes == 1 or not values:
            return values
        numbers = torch.tensor(list(values.values()), dtype=torch.float64)
        dist.all_reduce(numbers, group=self.waiting)
        return dict(zip(values, (numbers / self.num_processes).tolist(), strict=True))

    def _average(self, gradients: list[Tensor]) -> None:
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        dist.all_reduce(flat)
        flat /= self.num_processes
        for gradient, part in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(part.view_as(gradient))


def open_team(run: RunConfig, out: Path) -> Team:
    """The processes of this launch, connected; one process without a launcher.

    Raises UsageError for launch settings that contradict the run.
    """
    launch, optim = read_launch(), run.policy.optim
    if not launch.started and launch.world == 1:
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        return Team(device, optim.precision, optim.accumulation)
    accelerator = open_accelerator(run, out)
    many = accelerator.num_processes > 1
    waiting = dist.new_group(timeout=PATIENCE, backend="gloo") if many else None
    return Team(
        accelerator.device,
        optim.precision,
        optim.accumulation,
        accelerator.process_index,
        accelerator.num_processes,
        waiting,
        accelerator if launch.deepspeed else None,
        out,
    )
