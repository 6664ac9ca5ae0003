"""What learning online holds beside its training step: the copies of the agent that act, cached tokens, and a round.

Two copies act: one collects with the weights of the round, one is judged at a point, while the learner's own stay as
they are. Simulators are processes of their own, and the replay is mapped from disk: neither is counted.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from robo_orl.agent.acting import acting_dtype
from robo_orl.base.rng import Draws
from robo_orl.cost.predict.activation_memory import fake_step, shapes_of
from robo_orl.cost.predict.workload import Workload, with_batch
from robo_orl.cost.synthetic_step import goes_online
from robo_orl.cost.tensor_memory import TensorBytes
from robo_orl.objectives import OBJECTIVES
from robo_orl.objectives.on_policy import KEPT_AT_ONCE
from robo_orl.objectives.step import Step

WORD = 4  # bytes of a float32


@dataclass(frozen=True)
class OnlineMemory:
    """Bytes beside those of the step, in the process that collects.

    collecting: of the copy that collects; judging: of the copy that is judged, at a point only. token_bytes_per_frame:
    of every frame of the data and of the replay, in the host's memory; 0 where the backbone reads observations.
    kept_bytes_per_decision: of every decision of a round, as an on-policy method keeps it; keeping: what computing
    these adds while it lasts, before the updates of a round. Both are 0 where a method has no rounds of its own.
    """

    collecting: int
    judging: int
    token_bytes_per_frame: int
    kept_bytes_per_decision: int = 0
    keeping: int = 0

    def tokens(self, frames: int) -> int:
        """Bytes of cached tokens of so many frames."""
        return self.token_bytes_per_frame * frames


def online_memory(workload: Workload) -> OnlineMemory | None:
    """Of a policy that goes online; None where it does not."""
    policy = workload.policy
    if policy.online is None:
        return None
    agent = shapes_of(policy, workload.spec, workload.action_dim, workload.gamma)
    dtype = acting_dtype(sum(parameter.numel() for parameter in agent.parameters()))
    tensors = [*agent.parameters(), *agent.buffers()]
    held = sum(t.numel() * (dtype.itemsize if t.is_floating_point() else t.element_size()) for t in tensors)
    tokens = _token_bytes(workload) if goes_online(policy) == "cached" else 0
    return OnlineMemory(
        held, held, tokens, *(_of_round(workload) if OBJECTIVES[policy.objective.name].on_policy else ())
    )


def _token_bytes(workload: Workload) -> int:
    """Of one frame: S tokens of width D."""
    with fake_step(workload.policy, workload.spec, workload.action_dim, workload.gamma) as step:
        return step.window.obs.features[0].numel() * WORD


def _of_round(workload: Workload) -> tuple[int, int]:
    """Bytes kept of a decision, and those that the pass over KEPT_AT_ONCE decisions adds at its peak."""
    policy = with_batch(workload.policy, 2 * KEPT_AT_ONCE, parts=1)
    with fake_step(policy, workload.spec, workload.action_dim, workload.gamma) as step:
        kept = sum(t.numel() * t.element_size() for t in step.window.kept.values())
        held = [tensor for name, tensors in step.tensors().items() if name != "window" for tensor in tensors]
        with TensorBytes(held) as counter, torch.no_grad():
            before = counter.current
            step.agent.objective.keep(Step(step.agent, step.window.map(torch.clone), Draws(0, 0)))
        return kept // (2 * KEPT_AT_ONCE), counter.peak - before
