"""What learning online holds beside its training step: the copies of the agent that act, and cached tokens.

Two copies act: one collects with the weights of the round, one is judged at a point, while the learner's own stay as
they are. Simulators are processes of their own, and the replay is mapped from disk: neither is counted.
"""

from __future__ import annotations

from dataclasses import dataclass

from robo_orl.agent.acting import acting_dtype
from robo_orl.cost.predict.activation_memory import fake_step, shapes_of
from robo_orl.cost.predict.workload import Workload
from robo_orl.cost.synthetic_step import goes_online

WORD = 4  # bytes of a float32


@dataclass(frozen=True)
class OnlineMemory:
    """Bytes beside those of the step, in the process that collects.

    collecting: of the copy that collects; judging: of the copy that is judged, at a point only. token_bytes_per_frame:
    of every frame of the data and of the replay, in the host's memory; 0 where the backbone reads observations.
    """

    collecting: int
    judging: int
    token_bytes_per_frame: int

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
    return OnlineMemory(held, held, _token_bytes(workload) if goes_online(policy) == "cached" else 0)


def _token_bytes(workload: Workload) -> int:
    """Of one frame: S tokens of width D."""
    with fake_step(workload.policy, workload.spec, workload.action_dim, workload.gamma) as step:
        return step.window.obs.features[0].numel() * WORD
