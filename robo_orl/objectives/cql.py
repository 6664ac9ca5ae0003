"""Conservative Q-learning (Kumar et al. 2020, arXiv:2006.04779, equation 4: CQL(H)) with soft actor-critic, on chunks.

    L_Q     = E[ ( r + gamma^n Qbar(s_{t+n}, a') - Q(s, a) )^2 ],  a' ~ pi, or the best of N samples (max_backup)
    L_cons  = w E[ T log sum_j exp( Q(s, a_j) / T - log mu(a_j) ) - Q(s, a) ]
              a_j: N uniform, N of pi(.|s), N of pi(.|s_{t+n}); mu the density that each was drawn from
              without importance weights: mu = 1, and the data's own a is one more a_j
    L_pi    = E[ kappa log pi(a|s) - Q(s, a) ],  a ~ pi reparametrised
              in the first bc_steps E[ kappa log pi(a|s) - log pi(data|s) ], the latter per number
    L_kappa = E[ -log kappa ( log pi(a|s) + target entropy ) ], scaled: Adam needs no scale, and one norm clips all

The last two are soft actor-critic's (sac.py). The policy learns from Q alone, so that Q has to value the whole chunk.
Numbers: young-geng/CQL, nakamotoo/Cal-QL. These divide log mu by T too; at their T = 1 that is the same, and only the
form above remains the same method where returns and T are scaled.
Without importance weights: zhouzypaul/wsrl's kitchen and cccedric/conrft. The log mu of a chunk spans a hundred nats.
Cloning first: aviralkumar2907/CQL, 40,000 of its million steps. Left out: the weight w as a Lagrange multiplier.
"""

from __future__ import annotations

import math

import torch
from pydantic import Field
from torch import Tensor

from robo_orl.config import PolicyConfig, Strict
from robo_orl.models.action_heads import ActionHead
from robo_orl.objectives.objective import Objective, require_head
from robo_orl.objectives.parts import Losses, Modules, Parts
from robo_orl.objectives.sac import Temperature, check_values_the_chunk
from robo_orl.objectives.step import Step


class CQL(Objective):
    """Conservative Q-learning: soft actor-critic whose critic is pushed down outside the data."""

    version = 2
    heads = ("q",)
    bootstraps = True
    samples = True
    routes = {"actor": "policy", "temperature": ("temperature",), "critic": "critic", "conservative": "critic"}
    # The usual w of 1 and 5 are for returns a hundred times larger.
    search = {
        "objective.params.min_q_weight": (0.01, 0.05, 0.2, 1.0),
        "objective.params.importance_sample": (True, False),
    }

    class Params(Strict):
        """The authors' values; the target entropy is minus the number of action numbers."""

        min_q_weight: float = Field(5.0, ge=0, description="w")
        cql_temperature: float = Field(1.0, gt=0, description="T, in units of the return")
        importance_sample: bool = Field(True, description="weigh the soft maximum's samples by 1 / mu")
        num_actions: int = Field(10, ge=1, description="N")
        max_backup: bool = Field(False, description="back up the best of N samples instead of one")
        first_kappa: float = Field(1.0, gt=0, description="kappa of an untrained policy")
        bc_steps: int = Field(0, ge=0, description="steps in which the policy clones and does not climb Q")

    def check(self, policy: PolicyConfig, head: type[ActionHead]) -> None:
        """Refuse a head without a density and a reparametrised sample of the chunk that Q values."""
        require_head(policy, ("gaussian",), "needs the density of a reparametrised sample")
        check_values_the_chunk(policy)

    def modules(self, parts: Parts) -> Modules:
        """The temperature kappa."""
        return {"temperature": lambda: Temperature(self.params.first_kappa)}

    def losses(self, step: Step) -> Losses:
        """Critic and penalty learn from the transitions t -> t+n, actor and temperature from both frames of a pair."""
        window, p = step.window, self.params
        samples = [step.sample_with_log_prob(frames, p.num_actions) for frames in ("now", "next")]
        chunks, densities = [c for c, _ in samples], [d.detach() for _, d in samples]  # (B, N, h, A), (B, N)

        backed_up = chunks[1].detach() if p.max_backup else chunks[1][:, :1].detach()
        best = step.aggregate(step.q_target("next", backed_up).value).amax(-1)
        target = window.reward + window.discount * best  # (B,)
        q = step.q("now")  # (E, B)
        critic = (window.td_valid * q.loss(target).mean(0)).mean()
        high = self.soft_maximum(step, [c.detach() for c in chunks], densities, q.value)  # (E, B)
        gap = p.min_q_weight * (high - q.value).mean(0)
        conservative = (window.td_valid * gap).mean()

        chunk = torch.cat([c[:, 0] for c in chunks])  # (2B, h, A)
        log_pi = torch.cat([d[:, 0] for _, d in samples])  # (2B,)
        kappa = step.module("temperature")
        actor = (kappa().detach().exp() * log_pi + self.policy_term(step, chunk)).mean()
        temperature = kappa.loss(log_pi, chunk[0].numel())
        terms = {"actor": actor, "temperature": temperature, "critic": critic, "conservative": conservative}
        metrics = {
            "critic/q": q.value.mean(),
            "critic/target": target.mean(),
            "critic/gap": gap.mean(),
            "actor/entropy": -log_pi.mean(),
        }
        return terms, metrics

    def policy_term(self, step: Step, chunk: Tensor) -> Tensor:
        """(2B,): -Q of the policy's chunk, or cloning of the data's. Both are computed: every step costs the same."""
        descent = -step.climb("both", chunk)
        if not self.params.bc_steps:
            return descent
        cloning = float(step.draws.step < self.params.bc_steps)
        return cloning * step.policy_loss() + (1 - cloning) * descent

    def soft_maximum(self, step: Step, chunks: list[Tensor], densities: list[Tensor], q_data: Tensor) -> Tensor:
        """T log sum exp over uniform chunks and the policy's (B, N, h, A) with log-densities (B, N) -> (E, B).

        q_data: (E, B), one more value where samples are not weighed.
        """
        p = self.params
        uniform = 2 * step.draws.uniform("uniform", *chunks[0].shape) - 1
        q = step.q("now", torch.cat((uniform, *chunks), 1)).value  # (E, B, 3N)
        q = torch.cat((q[..., : uniform.shape[1]], self.of_policy(step, q[..., uniform.shape[1] :])), -1)
        scores = q / p.cql_temperature
        if p.importance_sample:
            density = torch.full_like(densities[0], -math.log(2) * chunks[0][0, 0].numel())
            scores = scores - torch.cat((density, *densities), -1)
        else:
            scores = torch.cat((scores, q_data[..., None] / p.cql_temperature), -1)
        return p.cql_temperature * scores.logsumexp(-1)

    def of_policy(self, step: Step, q: Tensor) -> Tensor:
        """(E, B, 2N): the policy's values as they enter the soft maximum."""
        return q
