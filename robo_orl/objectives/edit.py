"""An edit policy on samples of a cloned one (Dong et al. 2025, arXiv:2507.07986, section 4: EXPO), on action chunks.

    L_pi    = BC of the base policy
    L_Q     = E[ ( r + gamma^n min_{e in M} Qbar_e(s_{t+n}, a*) - Q(s, a) )^2 ],  a* = argmax_j Q(s_{t+n}, a_j)
              a_j: N samples b of the base policy, and N edited ones cut( b + beta e ), e ~ pi_e(.|s_{t+n}, b)
    L_edit  = E[ kappa log pi_e(e|s, b) - Q(s, cut( b + beta e )) ],  e in [-1, 1] reparametrised
    L_kappa : the temperature of soft actor-critic, as in sac.py

The policy that acts is the argmax over `selection.num_samples` chunks, half of them edited: no network learns to
imitate that choice, and it improves with the critic at once. M: `subset` members, as in sac.py. The edit policy reads
tokens and does not train the backbone; the authors' has networks of its own.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from robo_orl.base.rng import Draws
from robo_orl.config import PolicyConfig
from robo_orl.models.action_heads import ActionHead
from robo_orl.models.edits import GaussianEdit, moved
from robo_orl.objectives.objective import Objective
from robo_orl.objectives.parts import ActingPolicy, Losses, Modules, Parts
from robo_orl.objectives.sac import SoftParams, Temperature, check_subset
from robo_orl.objectives.step import Step


class Edit(Objective):
    """An edit policy: the critic chooses among samples of the cloned policy and bounded edits of them."""

    heads = ("q",)
    bootstraps = True
    samples = chooses = True
    routes = {"actor": "policy", "edit": ("edit",), "temperature": ("temperature",), "critic": "critic"}

    class Params(SoftParams):
        """The authors bound edits by 0.05 to 0.7, by task, and back up 8 samples."""

        beta: float = Field(0.1, gt=0, le=2, description="largest change of a number in [-1, 1]")
        num_samples: int = Field(4, ge=1, description="N of the backup; acting has its own, selection.num_samples")

    def check(self, policy: PolicyConfig, head: type[ActionHead]) -> None:
        """Refuse a subset of more critics than there are."""
        check_subset(policy, self.params.subset)

    def modules(self, parts: Parts) -> Modules:
        """The edit policy and its temperature kappa."""
        return {
            "edit": lambda: GaussianEdit(parts.token_width, parts.valued_actions, parts.action_dim),
            "temperature": lambda: Temperature(self.params.first_kappa),
        }

    def losses(self, step: Step) -> Losses:
        """The critic learns from the transitions t -> t+n, the policies from both frames of a pair."""
        p, edit, temperature = self.params, step.module("edit"), step.module("temperature")
        critic, metrics = step.td(self.best_value(step))

        base = torch.cat([step.sample(frames, 1) for frames in ("now", "next")])  # (2B, 1, h, A)
        base, kappa = step.valued(base), temperature().detach().exp()
        edits, log_pi = edit.sample_with_log_prob(step.tokens.detach(), base, step.uniform("edit", *base.shape[1:]))
        q = step.climb("both", moved(base, p.beta * edits).squeeze(1))  # (2B,)
        of_edit = (kappa * log_pi.squeeze(1) - q).mean()
        numbers = base[0].numel()
        terms = {
            "actor": step.policy_loss().mean(),
            "edit": of_edit,
            "temperature": temperature.loss(log_pi, numbers, p.target_entropy),
            "critic": critic,
        }
        return terms, metrics | {"actor/q": q.mean(), "actor/entropy": -log_pi.mean() / numbers}

    @torch.no_grad()
    def best_value(self, step: Step) -> Tensor:
        """The lowest of a subset's Qbar(s_{t+n}, a*), (B,): a* is chosen by the online critic."""
        p, base = self.params, step.sample_next(self.params.num_samples)  # (B, N, c, A)
        uniform = step.draws.uniform("edit_of_backup", *base.shape)
        edits, _ = step.module("edit").sample_with_log_prob(step.part(step.tokens, "next"), base, uniform)
        chunks = torch.cat((base, moved(base, p.beta * edits)), 1)  # (B, 2N, c, A)
        best = step.aggregate(step.q("next", chunks).value).argmax(-1)  # (B,)
        chosen = chunks[torch.arange(step.pairs, device=best.device), best]
        return step.lowest(step.q_target("next", chosen).value, p.subset)

    def candidates(self, policy: ActingPolicy, tokens: Tensor, num_samples: int, draws: Draws) -> Tensor:
        """Samples of the cloned policy, and the first of them edited: as many of either, or one sample more."""
        base, edit = policy.action_head.act(tokens, -(-num_samples // 2), draws, "act"), policy.extra["edit"]
        first = base[:, : num_samples // 2]
        changed = first[..., : edit.shape[0], :]
        edits, _ = edit.sample_with_log_prob(tokens, changed, draws.uniform("edit", *changed.shape))
        return torch.cat((base, moved(first, self.params.beta * edits)), 1)
