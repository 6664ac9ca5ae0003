"""What a training step will need, before there is a device to ask: bytes per process, traffic, FLOPs, what fits where.

States are arithmetic (states.py). Activations and temporaries come from one forward and backward pass of the whole
actor-critic step on fake tensors (step_bytes.py), FLOPs from another. Nothing is allocated: 7b takes under two minutes.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

from robo_orl.base.errors import UsageError
from robo_orl.config import PolicyConfig, TaskConfig
from robo_orl.cost.flops import count_flops
from robo_orl.cost.parallelism import Layout
from robo_orl.cost.predict.activation_memory import PhaseBytes, fake_step, shapes_of, step_bytes
from robo_orl.cost.predict.cards import CARDS, Card
from robo_orl.cost.predict.communication import LINKS, assumptions, sent, step_time
from robo_orl.cost.predict.resident_memory import (
    Weights,
    added_up,
    held,
    held_by_host,
    in_backward,
    in_forward,
    in_update,
    weights_of,
)
from robo_orl.cost.synthetic_data import ACTION_DIM, policy_spec
from robo_orl.models.cpu_kernels import as_on_a_gpu

MOST_PAIRS, MOST_WALKS = 10**9, 20  # of a search for the largest batch
PARTS = ("parameters", "gradients", "optimizer", "master", "targets", "activations", "temporaries", "buckets", "inputs")


@dataclass(frozen=True)
class Workload:
    """A policy on observations of `spec`, trained as `layout` says."""

    policy: PolicyConfig
    spec: dict[str, int]
    gamma: float
    layout: Layout
    action_dim: int = ACTION_DIM

    def but(self, batch: int | None = None, parts: int | None = None, **changes: Any) -> Workload:
        """The same with another batch, in other parts, with another field of the backbone (size, checkpointing), or in
        another layout."""
        policy = with_batch(self.policy, batch or self.batch, parts)
        backbone = {name: changes.pop(name) for name in ("size", "checkpointing") if name in changes}
        policy = policy.model_copy(update={"backbone": policy.backbone.model_copy(update=backbone)})
        layout = changes
        return Workload(policy, self.spec, self.gamma, self.layout.but(**layout), self.action_dim)

    @property
    def batch(self) -> int:
        """Observations per step, over all processes."""
        return self.policy.optim.batch_size

    @cached_property
    def weights(self) -> Weights:
        """The agent's numbers."""
        return weights_of(shapes_of(self.policy, self.spec, self.action_dim, self.gamma))

    @property
    def parts(self) -> int:
        """Of the batch of a process, read one after the other."""
        return self.policy.optim.accumulation

    @property
    def pairs(self) -> int:
        """Read at once by this process; UsageError where they do not divide."""
        return self.layout.pairs(self.batch, self.parts)

    def phases(self, pairs: int) -> dict[str, PhaseBytes]:
        """Forward and backward with `pairs` pairs at once on this process; of several parts, in the last one."""
        alone = self.layout.world == 1 and not self.layout.deepspeed
        return _phases(*self._key(pairs), alone, self.parts > 1, self.layout.device)

    def flops(self, model: bool) -> int:
        """Of one process's step; model: what is computed twice counts once."""
        workload = self.but(checkpointing=False) if model else self
        return self.parts * _flops(*workload._key(self.pairs), model)

    def _key(self, pairs: int) -> tuple:
        at_once = with_batch(self.policy, 2 * pairs, parts=1)
        policy = at_once.model_dump(mode="json") | {"name": "", "description": ""}
        return json.dumps(policy, sort_keys=True), tuple(self.spec.items()), self.action_dim, self.gamma


def workload_of(policy: PolicyConfig, task: TaskConfig, layout: Layout) -> Workload:
    """A policy on a shipped task; UsageError where it cannot be built or predicted, or its batch does not divide."""
    layout.pairs(policy.optim.batch_size, policy.optim.accumulation)
    reason = unpredictable(policy)
    if reason:
        raise UsageError(f"The policy '{policy.name}' cannot be predicted: {reason}.")
    return Workload(policy, policy_spec(policy, task), policy.gamma.value(task.horizon), layout)


@lru_cache(maxsize=256)
def _phases(
    policy: str, spec: tuple, action_dim: int, gamma: float, alone: bool, again: bool, device: str
) -> dict[str, PhaseBytes]:
    config = PolicyConfig.model_validate(json.loads(policy))
    products = as_on_a_gpu() if device == "cuda" else nullcontext()
    with products, fake_step(config, dict(spec), action_dim, gamma) as step:
        inputs = sum(t.numel() * t.element_size() for t in step.tensors()["window"])
        return step_bytes(step, keep_gradients=alone, again=again and alone) | {"inputs": PhaseBytes(0, inputs, 0)}


@lru_cache(maxsize=256)
def _flops(policy: str, spec: tuple, action_dim: int, gamma: float, model: bool) -> int:
    config = PolicyConfig.model_validate(json.loads(policy))
    with fake_step(config, dict(spec), action_dim, gamma) as step:
        return count_flops(step.gradients, model)


def with_batch(policy: PolicyConfig, batch: int, parts: int | None = None) -> PolicyConfig:
    """The policy with another batch size, in as many parts as before or in `parts`."""
    changed = {"batch_size": batch, "accumulation": parts or policy.optim.accumulation}
    return policy.model_copy(update={"optim": policy.optim.model_copy(update=changed)})


def unpredictable(policy: PolicyConfig) -> str | None:
    """Why a policy cannot be predicted, None where it can."""
    if policy.backbone.cache:
        return "what its frozen model says is read from a cache (backbone.cache), and made-up windows have none"
    return "compiled blocks decide for themselves what they keep" if policy.backbone.compile else None


# --------------------------------------------------------------------------------------------------------------- memory


def memory(workload: Workload) -> dict[str, Any]:
    """Bytes of one process at the step's peak by part (they add up), between steps, by phase, and on the host."""
    return memory_of(workload.weights, workload.layout, workload.phases(workload.pairs), workload.parts > 1)


def memory_of(
    weights: Weights, layout: Layout, phases: dict[str, PhaseBytes], in_parts: bool = False
) -> dict[str, Any]:
    """`memory` from its ingredients; phases: forward, backward, and the inputs as activations. in_parts: a batch is
    read in parts, so that a forward pass finds the gradients of the parts before it."""
    between = held(weights, layout)
    peaks = _peaks(weights, layout, phases, added_up(weights, layout) if in_parts else (0, 0))
    worst = max(peaks, key=lambda name: sum(peaks[name].values()))
    inputs = between.pop("buffers") + phases["inputs"].activations
    parts = {part: between.get(part, 0) + peaks[worst].get(part, 0) for part in PARTS} | {"inputs": inputs}
    base = sum(between.values()) + inputs
    return {
        "parts": parts,
        "peak_bytes": sum(parts.values()),
        "peak_phase": worst,
        "held_bytes": base,
        "phase_bytes": {name: base + sum(extra.values()) for name, extra in peaks.items()},
        "host_bytes": held_by_host(weights, layout),
    }


def _peaks(
    weights: Weights, layout: Layout, phases: dict[str, PhaseBytes], earlier: tuple[int, int]
) -> dict[str, dict[str, int]]:
    """What each phase adds at its peak to what is held between steps, by part; earlier: gradients of earlier parts."""
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
        return memory(workload.but(batch=pairs * unit))["phase_bytes"]

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


# ------------------------------------------------------------------------------------------------------------ the whole


def predict(workload: Workload, cards: Sequence[Card] = tuple(CARDS.values()), fit: bool = True) -> dict[str, Any]:
    """Everything of a workload as one JSON value; `fit` also searches the largest batch of every card.

    Of several cards the largest batch is read from a line through two batches; of a single one it is verified.
    """
    layout, policy = workload.layout, workload.policy
    found = memory(workload)
    model, hardware = workload.flops(model=True), workload.flops(model=False)
    traffic = sent(workload.weights, layout, parts=workload.parts)
    return {
        "policy": policy.name,
        "size": policy.backbone.size,
        "batch": workload.batch,
        "world": layout.world,
        "zero": layout.zero,
        "offload": layout.offload,
        "checkpointing": policy.backbone.checkpointing,
        "precision": policy.optim.precision,
        "accumulation": workload.parts,
        "layout": layout.describe(),
        "parameters": workload.weights.trained + workload.weights.frozen,
        "parameters_trained": workload.weights.trained,
        "memory": found,
        "communication": {"bytes_sent_per_step": traffic, "total": sum(traffic.values())},
        "flops": {
            "model_per_step": model * layout.world,
            "hardware_per_step": hardware * layout.world,
            "model_per_sample": model * layout.world / workload.batch,
        },
        "cards": [_fits(workload, found, card, fit, len(cards) == 1) for card in cards],
        "step_time": _step_times(hardware, traffic, workload, cards),
        "assumptions": assumptions(),
    }


def _fits(workload: Workload, found: dict[str, Any], card: Card, fit: bool, only: bool) -> dict[str, Any]:
    row = {"card": card.name, "usable_bytes": card.usable, "fits": found["peak_bytes"] <= card.usable}
    return row | ({"largest_batch": largest_batch(workload, card.usable, verify=only)} if fit else {})


def _step_times(flops: int, traffic: dict, workload: Workload, cards: Sequence[Card]) -> list[dict[str, Any]]:
    """By the cost model, for the named card (of several: an H100) and every network; empty for one process."""
    if workload.layout.world == 1:
        return []
    card = cards[0] if len(cards) == 1 else CARDS["h100-80gb"]
    peak = card.bf16 if workload.policy.optim.precision == "bf16" else card.fp32
    return [{"card": card.name} | step_time(flops, traffic, workload.layout, peak, link) for link in LINKS.values()]
