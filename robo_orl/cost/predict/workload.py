"""A policy's training step as something to predict: its numbers, its passes on fake tensors, its FLOPs.

Activations and temporaries come from one forward and backward pass of the whole actor-critic step on fake tensors
(activation_memory.py), FLOPs from another. Nothing is allocated: 7b takes under two minutes.
"""

from __future__ import annotations

import json
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

from torch import nn

from robo_orl.base.errors import UsageError
from robo_orl.config import PolicyConfig, TaskConfig
from robo_orl.cost.flops import count_flops
from robo_orl.cost.launches import Launches, count_launches
from robo_orl.cost.parallelism import Layout
from robo_orl.cost.predict.activation_memory import PhaseBytes, fake_step, shapes_of, step_bytes
from robo_orl.cost.predict.resident_memory import Weights, weights_of
from robo_orl.cost.synthetic_step import action_size, policy_spec
from robo_orl.envs.registry import ARM_ACTION
from robo_orl.models.cpu_kernels import as_on_a_gpu


@dataclass(frozen=True)
class Workload:
    """A policy on observations of `spec`, trained as `layout` says."""

    policy: PolicyConfig
    spec: dict[str, int]
    gamma: float
    layout: Layout
    action_dim: int = ARM_ACTION

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

    def launches(self) -> Launches:
        """Of one process's step on a GPU, the batch in one part."""
        return _launches(*self._key(self.pairs))

    def _key(self, pairs: int) -> tuple:
        at_once = with_batch(self.policy, 2 * pairs, parts=1)
        policy = at_once.model_dump(mode="json") | {"name": "any", "description": ""}
        return json.dumps(policy, sort_keys=True), tuple(self.spec.items()), self.action_dim, self.gamma


def workload_of(policy: PolicyConfig, task: TaskConfig, layout: Layout) -> Workload:
    """A policy on a shipped task; UsageError where it cannot be built or predicted, or its batch does not divide."""
    layout.pairs(policy.optim.batch_size, policy.optim.accumulation)
    reason = unpredictable(policy)
    if reason:
        raise UsageError(f"The policy '{policy.name}' cannot be predicted: {reason}.")
    return Workload(policy, policy_spec(policy, task), policy.gamma.value(task.horizon), layout, action_size(task))


@lru_cache(maxsize=256)
def _phases(
    policy: str, spec: tuple, action_dim: int, gamma: float, alone: bool, in_parts: bool, device: str
) -> dict[str, PhaseBytes]:
    config = PolicyConfig.model_validate(json.loads(policy))
    kernels = as_on_a_gpu() if device == "cuda" else nullcontext()
    with kernels, fake_step(config, dict(spec), action_dim, gamma) as step:
        inputs = sum(t.numel() * t.element_size() for t in step.tensors()["window"])
        return step_bytes(step, keep_gradients=alone, accumulated=in_parts and alone) | {
            "inputs": PhaseBytes(0, inputs, 0)
        }


@lru_cache(maxsize=256)
def _flops(policy: str, spec: tuple, action_dim: int, gamma: float, model: bool) -> int:
    config = PolicyConfig.model_validate(json.loads(policy))
    with fake_step(config, dict(spec), action_dim, gamma) as step:
        return count_flops(step.gradients, model)


@lru_cache(maxsize=256)
def _launches(policy: str, spec: tuple, action_dim: int, gamma: float) -> Launches:
    config = PolicyConfig.model_validate(json.loads(policy))
    with as_on_a_gpu(), fake_step(config, dict(spec), action_dim, gamma) as step:
        return count_launches(step)


def with_batch(policy: PolicyConfig, batch: int, parts: int | None = None) -> PolicyConfig:
    """The policy with another batch size, in as many parts as before or in `parts`."""
    changed = {"batch_size": batch, "accumulation": parts or policy.optim.accumulation}
    return policy.model_copy(update={"optim": policy.optim.model_copy(update=changed)})


def unpredictable(policy: PolicyConfig) -> str | None:
    """The reason why a policy cannot be predicted, None where it can."""
    if policy.backbone.cache:
        return "its frozen features are read from a cache (backbone.cache), and synthetic windows have none"
    return "what is compiled chooses by itself what it keeps" if policy.compiled else None


def shapes_of_task(policy: PolicyConfig, task: TaskConfig) -> nn.Module:
    """The agent of a policy on a task, on the meta device: for counting."""
    return shapes_of(policy, policy_spec(policy, task), action_size(task), policy.gamma.value(task.horizon))
