"""The time of a training step of any size on this machine, from steps of small sizes that are measured here now.

A few steps of the policy itself, its backbone at small sizes, give seconds against FLOPs. Between them a time is
interpolated; beyond them the line through the two largest goes on: a part for what does not grow with the model, and a
part per FLOP. The error that is stated is measured as well: that of the largest measured step, predicted in this way
from the smaller ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

import torch

from robo_orl.config.policies import SIZES
from robo_orl.cost.measure.device import forget
from robo_orl.cost.measure.step_cost import step_seconds
from robo_orl.cost.predict.workload import Workload
from robo_orl.cost.synthetic_step import SyntheticStep

WARM_UP, MEASURED = 2, 5
FEWEST, MOST = 3, 4  # sizes, of which the last one tells the error
LONG_S, TOO_LONG_S = 0.3, 5.0  # of a step: no larger size is needed; none is possible


@dataclass(frozen=True)
class MeasuredStep:
    """The median of a few steps of one size in one process."""

    size: str
    flops: float
    step_s: float


@dataclass(frozen=True)
class StepEstimate:
    """The expected time of one process's step here, without reading data and traffic.

    error: of the largest measured step as predicted from the smaller ones, relative. beyond: FLOPs of the step per FLOP
    of the largest measured one; above 1 the time is extrapolated.
    """

    step_s: float
    error: float
    beyond: float
    rows: list[MeasuredStep]

    def to_json(self) -> dict[str, Any]:
        """The value of `estimate` in the output of `profile --predict --json`."""
        return asdict(self)


def estimate_step(workload: Workload, device: str) -> StepEstimate | None:
    """The estimate for one process of a workload; None where its backbone has no sizes to measure.

    Also None where the memory is short, or where steps of the smallest sizes take longer than TOO_LONG_S.
    """
    if workload.policy.backbone.size not in SIZES:
        return None
    rows: list[MeasuredStep] = []
    try:
        for size in list(SIZES)[:MOST]:
            rows.append(_measured(workload.but(size=size), device))
            if rows[-1].step_s > (LONG_S if len(rows) >= FEWEST else TOO_LONG_S):
                break
    except (torch.OutOfMemoryError, MemoryError, RuntimeError):
        return None
    finally:
        forget()
    if len(rows) < FEWEST:
        return None
    flops = workload.flops(model=False)
    foretold = seconds_at(rows[-1].flops, rows[:-1])
    return StepEstimate(
        step_s=seconds_at(flops, rows),
        error=abs(foretold / rows[-1].step_s - 1),
        beyond=flops / rows[-1].flops,
        rows=rows,
    )


def _measured(workload: Workload, device: str) -> MeasuredStep:
    """A process's share of the batch, stepped a few times."""
    policy = workload.policy
    share = 2 * workload.pairs * workload.parts
    optim = policy.optim.model_copy(update={"batch_size": share})
    alone = policy.model_copy(update={"optim": optim})
    step = SyntheticStep(alone, workload.spec, workload.action_dim, workload.gamma, device)
    for _ in range(WARM_UP):
        step.run()
    seconds = median(step_seconds(step.timed()) for _ in range(MEASURED))
    return MeasuredStep(policy.backbone.size, float(workload.flops(model=False)), seconds)


def seconds_at(flops: float, rows: Sequence[MeasuredStep]) -> float:
    """Seconds of a step of so many FLOPs, from at least two measured ones in the order of their FLOPs.

    No step is faster than the first of two, and none costs less per FLOP than nothing: a slope below zero, which noise
    may give, counts as zero.
    """
    pairs = list(zip(rows, rows[1:], strict=False))
    low, high = next((pair for pair in pairs if flops <= pair[1].flops), pairs[-1])
    slope = max(0.0, (high.step_s - low.step_s) / (high.flops - low.flops))
    return low.step_s + slope * (max(flops, low.flops) - low.flops)
