"""A policy over the noise that a frozen flow starts from (Wagenmaker et al. 2025, arXiv:2506.15799, section 5: DSRL).

    a(s, w) = flow(s, w)               the frozen policy: from noise w to a chunk; w = box u, u ~ pi(.|s) in [-1, 1]
    L_Q     = E[ ( r + gamma^n ( min_{e in M} Qbar_e(s_{t+n}, a(s_{t+n}, w')) - kappa log pi ) - Q(s, a) )^2 ]
    L_W     = E[ ( Q(s, a(s, w)) - Q_W(s, w) )^2 ],  w standard normal and of the policy     (`climbs: noise`)
    L_noise = E[ kappa log pi(u|s) - Q_W(s, box u) ]
    L_kappa : the temperature of soft actor-critic, as in sac.py

Q is a critic of actions: it learns from any data and from episodes whose noise nobody recorded (the authors' DSRL-NA).
Q_W says of noise what Q says of its chunk, so that no gradient passes the flow. With `climbs: actions` there is no Q_W
and the policy climbs Q(s, a(s, box u)) through the flow's Euler steps. The box keeps w where the flow was trained: a
normal number lies in [-1.5, 1.5] 87 times in 100. M: `subset` members, as in sac.py. The noise policy begins narrower
than the normal that the frozen policy acts by, so that the run's own policy is not the first point of a curve.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from robo_orl.base.rng import Draws
from robo_orl.config import ActionHeadConfig, PolicyConfig
from robo_orl.models.action_heads import ActionHead
from robo_orl.models.action_heads.gaussian import GaussianHead
from robo_orl.models.critics import Critic
from robo_orl.objectives.objective import Objective, check_frozen_base, require_head
from robo_orl.objectives.parts import ActingPolicy, Losses, Modules, Parts
from robo_orl.objectives.sac import SoftParams, Temperature, check_subset, soft
from robo_orl.objectives.step import Step


class DSRL(Objective):
    """Diffusion steering: the run's own flow stays, and a policy chooses the noise that it starts from."""

    heads = ("q",)
    bootstraps = True
    trains_base = False
    idle_beside = {"num_noises": ("climbs", "actions")}
    routes = {"noise": ("noise",), "temperature": ("temperature",), "critic": "critic"}

    class Params(SoftParams):
        """The authors' box; they make ten steps of Q_W for one of Q."""

        box: float = Field(1.5, gt=0, description="largest number of a noise")
        climbs: Literal["noise", "actions"] = Field("noise", description="what the critic values that is climbed")
        num_noises: int = Field(4, ge=1, description="normal noises a state that Q_W learns from, beside the policy's")
        backup_entropy: bool = Field(True, description="whether the entropy is part of what is backed up")
        target_entropy: float = Field(0.0, description="per number, in nats; a uniform one has 0.69")

    def __init__(self, policy: PolicyConfig):
        super().__init__(policy)
        if self.params.climbs == "noise":
            self.routes = {**self.routes, "critic_noise": ("critic_noise",)}

    def check(self, policy: PolicyConfig, head: type[ActionHead]) -> None:
        """Refuse a head without noise to choose, and a critic that would train the frozen policy's backbone."""
        require_head(policy, ("flow", "flow_expert"), "chooses the noise that a flow starts from")
        check_frozen_base(policy)
        check_subset(policy, self.params.subset)

    def modules(self, parts: Parts) -> Modules:
        """The policy over noise, its temperature kappa, and Q_W."""
        chunk, critic = parts.policy.action_head.chunk, parts.policy.critic
        like = ActionHeadConfig(kind="gaussian", chunk=chunk, execute=chunk, acting="sample")
        modules: Modules = {
            "noise": lambda: GaussianHead(parts.token_width, parts.depth, parts.action_dim, like),
            "temperature": lambda: Temperature(self.params.first_kappa),
        }
        if self.params.climbs == "noise":
            numbers = chunk * parts.action_dim
            modules["critic_noise"] = lambda: Critic(parts.critic_width, numbers, ("q",), critic)
        return modules

    def losses(self, step: Step) -> Losses:
        """The critic learns from the transitions t -> t+n, the policy and Q_W from both frames of a pair."""
        p, head, temperature = self.params, step.agent.action_head, step.module("temperature")
        log_pi, noises = self.drawn(step)  # (2B,), (2B, 1, h, A)
        kappa = temperature().detach().exp()
        chunks = head.integrate(step.tokens, noises if p.climbs == "actions" else noises.detach())
        chunks = step.valued(chunks + (chunks.clamp(-1, 1) - chunks).detach())  # (2B, 1, c, A)

        following = step.lowest(step.q_target("next", chunks[step.pairs :, 0].detach()).value, p.subset)
        critic, metrics = step.td(soft(following, kappa, log_pi[step.pairs :], p.backup_entropy))
        terms = {"critic": critic}
        if p.climbs == "noise":
            terms["critic_noise"] = self.of_noise(step, noises.detach(), chunks.detach())
            features = step.module("critic_noise").readout(step.critic_tokens).detach()
            q = step.climb_on(step.module("critic_noise"), features, noises.squeeze(1))
        else:
            q = step.climb("both", chunks.squeeze(1))
        numbers = noises[0].numel()
        terms["noise"] = (kappa * log_pi - q).mean()
        terms["temperature"] = temperature.loss(log_pi, numbers, p.target_entropy)
        return terms, metrics | {"actor/q": q.mean(), "actor/entropy": -log_pi.mean() / numbers}

    def drawn(self, step: Step) -> tuple[Tensor, Tensor]:
        """Log-densities (2B,) of the policy's u, and the noises box u (2B, 1, h, A), both with gradient."""
        noise, frames = step.module("noise"), ("now", "next")
        of = [noise.sample_with_log_prob(step.part(step.tokens, f), 1, step.draws, f"noise_{f}") for f in frames]
        return torch.cat([d[:, 0] for _, d in of]), self.params.box * torch.cat([u for u, _ in of])

    def of_noise(self, step: Step, own: Tensor, chunks: Tensor) -> Tensor:
        """L_W: the policy's noises (2B, 1, h, A) with their chunks (2B, 1, c, A), and as many normal ones as said."""
        normal = step.normal("of_noise", self.params.num_noises, *own.shape[2:])  # (2B, M, h, A)
        with torch.no_grad():
            flow = step.agent.action_head.integrate(step.tokens, normal).clamp(-1, 1)
            teacher = step.aggregate(step.q("both", torch.cat((chunks, step.valued(flow)), 1)).value)  # (2B, 1+M)
        critic = step.module("critic_noise")
        features = critic.readout(step.critic_tokens.detach())
        return critic.q(features, torch.cat((own, normal), 1)).loss(teacher).mean()

    def candidates(self, policy: ActingPolicy, tokens: Tensor, num_samples: int, draws: Draws) -> Tensor:
        """Chunks that the flow makes of the noise policy's samples."""
        noises = policy.extra["noise"].sample(tokens, num_samples, draws, "noise")
        return policy.action_head.integrate(tokens, self.params.box * noises).clamp(-1, 1)
