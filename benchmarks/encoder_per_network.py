"""The worst case beside the shared critic: an encoder of the policy's size in every network, as robomimic's IQL has it.

robomimic (algo/iql.py, 0.3) builds actor, V, each Q and each target Q with an observation encoder of its own. Here
those six networks stand on the native backbone, so that nothing but the layout differs. Predicted, like critic_cost.py
(claim.py steps it):

    OMP_NUM_THREADS=1 python benchmarks/encoder_per_network.py [--sizes m] [--batch 64]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import Tensor, nn

from robo_orl.agent.agent import build_agent
from robo_orl.base.files import write_json
from robo_orl.base.types import Observation
from robo_orl.config import CriticConfig
from robo_orl.config.presets import load_policy, load_task
from robo_orl.cost.flops import count_flops
from robo_orl.cost.parallelism import Layout
from robo_orl.cost.predict.activation_memory import FakeStep, PhaseBytes, step_bytes
from robo_orl.cost.predict.memory import memory, memory_of
from robo_orl.cost.predict.resident_memory import weights_of
from robo_orl.cost.predict.workload import with_batch, workload_of
from robo_orl.models.critics import Critic
from robo_orl.models.targets import frozen_copy, numbers
from robo_orl.objectives.iql import expectile_weight
from robo_orl.objectives.step import Step

OUT = Path(__file__).with_suffix(".json")


class Network(nn.Module):
    """One value function with an encoder of its own."""

    def __init__(self, agent: nn.Module, head: str):
        super().__init__()
        self.backbone = agent._new_backbone(agent.policy.backbone)
        numbers = agent.policy.action_head.chunk * agent.action_dim
        self.critic = Critic(self.backbone.width, numbers, (head,), CriticConfig(ensemble=1))

    def forward(self, obs: Observation, actions: Tensor | None = None) -> Tensor:
        """(B,): V, or Q of `actions` (B, h, A)."""
        features = self.critic.readout(self.backbone(obs))
        estimate = self.critic.v(features) if actions is None else self.critic.q(features, actions)
        return estimate.value.squeeze(0)


class EncoderPerNetwork(nn.Module):
    """IQL's losses (equations 5 to 7 of arXiv:2110.06169) over six networks: actor, V, two Q, two target Q."""

    average = slow_head = untrained = critic = None

    def __init__(self, agent: nn.Module):
        super().__init__()
        self.actor = agent
        self.q = nn.ModuleList(Network(agent, "q") for _ in range(2))
        self.v = Network(agent, "v")
        self.target = frozen_copy(self.q)

    def forward(self, window, draws):  # noqa: ANN001, ANN201 (as Agent.forward)
        """The summed loss of actor, values and Q."""
        step = Step(self.actor, window, draws)
        now, later = (step.obs.map(lambda t, f=f: step.part(t, f)) for f in ("now", "next"))
        chunk = step.actions[: step.pairs]
        with torch.no_grad():
            q_bar = torch.stack([q(step.obs, step.actions) for q in self.target]).amin(0)  # (2B,)
            v_later = self.v(later)
        v = self.v(now)
        gap = q_bar[: step.pairs] - v
        value = (expectile_weight(gap.detach(), 0.9) * gap.square()).mean()
        goal = window.reward + window.discount * v_later
        critic = torch.stack([(q(now, chunk) - goal).square() for q in self.q]).mean()
        weight = (10 * (q_bar - torch.cat((v.detach(), v_later)))).exp().clamp(max=100)
        loss = (weight * step.policy_loss()).mean() + value + critic
        return loss, {}

    def update_targets(self, gather: object = None) -> None:
        """The target networks follow their originals."""
        with torch.no_grad():
            torch._foreach_lerp_(list(self.target.parameters()), list(self.q.parameters()), 0.005)

    def parameter_counts(self) -> dict[str, int]:
        """Numbers held per component."""
        held = {"action_head": self.actor, "critic": nn.ModuleList((self.q, self.v)), "target": self.target}
        found = {name: numbers(module.parameters()) for name, module in held.items()}
        return found | {"total": sum(found.values())}

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """Policy and critics."""
        return self.actor.parameter_groups() | {"critic": [*self.q.parameters(), *self.v.parameters()]}


class WorstCase(FakeStep):
    """The six networks on fake tensors."""

    def _build(self) -> nn.Module:
        from torch._subclasses.fake_tensor import unset_fake_temporarily

        with unset_fake_temporarily(), torch.device("meta"):
            agent = build_agent(self.policy, self.spec, self.action_dim, self.gamma, None, self.seed)
            whole = EncoderPerNetwork(agent)
        return whole.to_empty(device="cpu")


def main() -> None:
    """The worst case and cloning at every size."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sizes", nargs="+", default=["m"])
    parser.add_argument("--batch", type=int, default=64)
    asked = parser.parse_args()
    from torch._subclasses.fake_tensor import FakeTensorMode

    rows = []
    for size in asked.sizes:
        policy = with_batch(load_policy("bc_flow"), asked.batch)
        policy = policy.model_copy(update={"backbone": policy.backbone.model_copy(update={"size": size})})
        cloning = workload_of(policy, load_task("chain2"), Layout())
        with FakeTensorMode(allow_non_fake_inputs=True):
            step = WorstCase(policy, cloning.spec, cloning.action_dim, cloning.gamma)
            inputs = sum(t.numel() * t.element_size() for t in step.tensors()["window"])
            phases = step_bytes(step) | {"inputs": PhaseBytes(0, inputs, 0)}
            flops, weights = count_flops(step.gradients, model=True), weights_of(step.agent)
        found, base = memory_of(weights, Layout(), phases), memory(cloning)
        rows.append({
            "size": size, "batch": asked.batch, "precision": policy.optim.precision, "trained": weights.trained,
            "memory": found.to_json(), "memory_relative": found.peak_bytes / base.peak_bytes,
            "flops_relative": flops / cloning.flops(model=True),
        })  # fmt: skip
        print(f"size {size}: memory {rows[-1]['memory_relative']:.3f} x, FLOPs {rows[-1]['flops_relative']:.3f} x "
              f"those of bc_flow, {weights.trained:,} trained parameters", flush=True)  # fmt: skip
    write_json(OUT, {"rows": rows})


if __name__ == "__main__":
    main()
