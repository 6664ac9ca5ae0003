"""The largest native model that trains on a card, by the one dial of the backbone: its depth. Predicted.

Weights, moments and slow copies are counted exactly at every depth that is tried. What the forward and backward pass
add is walked on fake tensors at four small depths and continued as a cubic: width grows with the depth, so that
activations grow with its square and gradients with its cube. `verify` walks the answer itself and the next depth.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np

from robo_orl.cost.predict.activation_memory import PhaseBytes
from robo_orl.cost.predict.memory import memory, memory_of
from robo_orl.cost.predict.workload import Workload
from robo_orl.models.backbones.transformer import depth_of, parameters_of

WALKED = (8, 16, 28, 44)  # depths
DEEPEST = 256
EVEN_FROM = 20  # heads are 64 wide from there on, which wants an even depth
FIELDS = ("gradients", "activations", "temporaries")
Phases = Callable[[int], dict[str, PhaseBytes]]


@dataclass(frozen=True)
class LargestModel:
    """The largest model of a policy whose step stays within a card."""

    depth: int
    size: str  # "d52"
    backbone_parameters: int
    parameters: int  # of the whole agent
    peak_bytes: int


def largest(workload: Workload, available: int, verify: bool = False) -> LargestModel | None:
    """The largest model whose step stays within `available` bytes; None where not even the smallest one does.

    Raises UsageError where the policy cannot be predicted (see workload.py).
    """
    phases, depths = continued(workload), dial()
    low, high = -1, len(depths)  # depths[low] fits, depths[high] does not
    while high - low > 1:
        middle = (low + high) // 2
        fits = peak_at(workload, depths[middle], phases) <= available
        low, high = (middle, high) if fits else (low, middle)
    if verify:
        low = _walked(lambda i: memory(at(workload, depths[i])).peak_bytes <= available, low, len(depths))
    return None if low < 0 else _model_at(workload, depths[low], phases)


def _walked(fits: Callable[[int], bool], guess: int, end: int) -> int:
    """The last index that fits, from one that is near it; -1 where none does."""
    while guess >= 0 and not fits(guess):
        guess -= 1
    while guess + 1 < end and fits(guess + 1):
        guess += 1
    return guess


def dial() -> list[int]:
    """The depths that are tried."""
    return [depth for depth in range(2, DEEPEST + 1) if depth < EVEN_FROM or depth % 2 == 0]


def at(workload: Workload, depth: int) -> Workload:
    """The same policy at another depth."""
    return workload.but(size=f"d{depth}")


def peak_at(workload: Workload, depth: int, phases: Phases) -> int:
    """Bytes at the peak of a step at this depth."""
    return memory_of(at(workload, depth).weights, workload.layout, phases(depth), workload.parts > 1).peak_bytes


def continued(workload: Workload) -> Phases:
    """The bytes that the passes of a step add, as a function of the depth: exact at the depths that are walked."""
    pairs = workload.pairs
    walked = [at(workload, depth).phases(pairs) for depth in WALKED]

    @cache
    def cubic(phase: str, field: str) -> np.ndarray:
        powers = np.vander(np.array(WALKED, float), 4)
        return np.linalg.solve(powers, [getattr(passes[phase], field) for passes in walked])

    def phases(depth: int) -> dict[str, PhaseBytes]:
        return {
            phase: PhaseBytes(*(max(0, round(np.polyval(cubic(phase, field), depth))) for field in FIELDS))
            for phase in walked[0]
        }

    return phases


def _model_at(workload: Workload, depth: int, phases: Phases) -> LargestModel:
    model = at(workload, depth)
    backbone = model.policy.backbone
    return LargestModel(
        depth=depth_of(backbone.size),
        size=backbone.size,
        backbone_parameters=parameters_of(backbone, workload.spec, model.policy.observation),
        parameters=model.weights.trained + model.weights.frozen + model.weights.target_parameters,
        peak_bytes=peak_at(workload, depth, phases),
    )
