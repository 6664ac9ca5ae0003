"""Bytes of one process at the peak of a training step, by part, before there is a device to ask.

What lives between two steps is arithmetic (resident_memory.py); what the passes add is run on fake tensors.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

from robo_orl.cost.parallelism import Layout
from robo_orl.cost.predict.activation_memory import PhaseBytes
from robo_orl.cost.predict.resident_memory import (
    Weights,
    added_up,
    held,
    held_by_host,
    in_backward,
    in_forward,
    in_update,
)
from robo_orl.cost.predict.workload import Workload

MOST_PAIRS, MOST_WALKS = 10**9, 20  # of a search for the largest batch
PARTS = ("parameters", "gradients", "optimizer", "master", "targets", "activations", "temporaries", "buckets", "inputs")


@dataclass(frozen=True)
class MemoryPrediction:
    """Bytes of one process. `parts` add up to the peak; `phase_bytes` is the peak of each phase.

    calibration_bytes: those among the temporaries that the device adds to tensors (measure/memory.py).
    """

    parts: dict[str, int]
    peak_bytes: int
    peak_phase: str
    held_bytes: int  # between two steps
    phase_bytes: dict[str, int]
    host_bytes: int
    calibration_bytes: int = 0

    def calibrated(self, extra: int) -> MemoryPrediction:
        """The same with `extra` bytes among the temporaries, between steps and in every phase."""
        return replace(
            self,
            parts=self.parts | {"temporaries": self.parts["temporaries"] + extra},
            peak_bytes=self.peak_bytes + extra,
            held_bytes=self.held_bytes + extra,
            phase_bytes={phase: size + extra for phase, size in self.phase_bytes.items()},
            calibration_bytes=self.calibration_bytes + extra,
        )

    def to_json(self) -> dict[str, Any]:
        """The content of memory.json."""
        return asdict(self)


def memory(workload: Workload) -> MemoryPrediction:
    """The bytes of one process; UsageError where the batch does not divide among the processes."""
    return memory_of(workload.weights, workload.layout, workload.phases(workload.pairs), workload.parts > 1)


def memory_of(
    weights: Weights, layout: Layout, phases: dict[str, PhaseBytes], in_parts: bool = False
) -> MemoryPrediction:
    """`memory` from its ingredients; phases: forward, backward, and the inputs as activations. in_parts: a batch is
    read in parts, so that a forward pass finds the gradients of the parts before it."""
    between = held(weights, layout)
    peaks = _peaks(weights, layout, phases, added_up(weights, layout) if in_parts else (0, 0))
    worst = max(peaks, key=lambda name: sum(peaks[name].values()))
    inputs = between.pop("buffers") + phases["inputs"].activations
    parts = {part: between.get(part, 0) + peaks[worst].get(part, 0) for part in PARTS} | {"inputs": inputs}
    base = sum(between.values()) + inputs
    return MemoryPrediction(
        parts=parts,
        peak_bytes=sum(parts.values()),
        peak_phase=worst,
        held_bytes=base,
        phase_bytes={name: base + sum(extra.values()) for name, extra in peaks.items()},
        host_bytes=held_by_host(weights, layout),
    )


def _peaks(
    weights: Weights, layout: Layout, phases: dict[str, PhaseBytes], earlier: tuple[int, int]
) -> dict[str, dict[str, int]]:
    """The bytes that each phase adds at its peak, by part; earlier: gradients of the parts before."""
    gradients, buckets = in_backward(weights, layout)
    late, update = in_update(weights, layout)
    forward, backward = phases["forward"], phases["backward"]
    return {
        "forward": {
            "gradients": forward.gradients + earlier[0],
            "activations": forward.activations,
            "temporaries": forward.temporaries,
            "buckets": in_forward(weights, layout),
        },
        "backward": {
            "gradients": backward.gradients + max(gradients, earlier[1]),
            "activations": backward.activations,
            "temporaries": backward.temporaries,
            "buckets": buckets,
        },
        "update": {"gradients": late, "temporaries": update},
    }


def largest_batch(workload: Workload, available: int, verify: bool = True) -> int:
    """The largest batch whose predicted peak is within `available` bytes; 0 where not even one pair a process fits.

    A line through two batches, for each phase; with `verify` the answer is run on fake tensors itself, and the search
    goes on along the line until the next batch would be larger by less than a hundredth.
    """
    unit, first = 2 * workload.layout.world * workload.parts, workload.pairs

    def bytes_at(pairs: int) -> dict[str, int]:
        return memory(workload.but(batch=pairs * unit)).phase_bytes

    def next_guess(near: int, far: int) -> int:
        low, high = bytes_at(near), bytes_at(far)
        lines = [(high[phase], (high[phase] - low[phase]) / (far - near)) for phase in low]  # bytes at `far`, per pair
        return min(_within(*line, far, available) for line in lines)

    guess = next_guess(first, 2 * first)
    if not verify or guess <= 0:
        return unit * max(0, guess)
    near = first if guess == 2 * first else 2 * first
    fits, too_many = 0, MOST_PAIRS
    for _ in range(MOST_WALKS):
        guess = min(max(guess, fits + 1), too_many - 1)
        if guess <= fits + fits // 100:
            break
        if max(bytes_at(guess).values()) <= available:
            fits = guess
        else:
            too_many = guess
        near, guess = guess, next_guess(near, guess)
    return unit * fits


def _within(at_first: int, slope: float, first: int, available: int) -> int:
    """Pairs at which a phase reaches `available` bytes."""
    if slope <= 0:
        return MOST_PAIRS if at_first <= available else 0
    return int(first + (available - at_first) / slope)
