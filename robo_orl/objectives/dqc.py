"""Decoupled Q-chunking (Li, Park and Levine 2025, arXiv:2512.10926, section 5; losses as in ColinQiyangLi/dqc).

    L_Qh = E[ ( sum_k<h gamma^k r_{t+k} + gamma^h V(s_{t+h}) - Q_h(s, a_1..h) )^2 ]
    L_Q  = E[ L2^kappa_d( Q_h(s, a_1..h) - Q(s, a_1..c) ) ],  member by member           (equation 35: expectile)
    L_V  = E[ |kappa_b - 1(u < 0)| |u| ],  u = Qbar(s, a_1..c) - V(s)                    (equation 38: quantile)
    L_pi = BC, act by the best of N samples by Q                                         (equation 37)

The chunk critic Q_h has the whole chunk (h = action_head.chunk) and fast backups; the policy acts by the short critic
Q, whose c actions are those that are executed (action_head.execute), and so stays reactive.
"""

from __future__ import annotations

import torch
from pydantic import Field

from robo_orl.base.errors import UsageError
from robo_orl.config import PolicyConfig, Strict
from robo_orl.models.action_heads import ActionHead
from robo_orl.models.critics import Critic
from robo_orl.objectives.iql import expectile_loss, expectile_weight
from robo_orl.objectives.objective import Objective
from robo_orl.objectives.parts import Losses, Modules, Parts
from robo_orl.objectives.step import Step


class DQC(Objective):
    """Decoupled Q-chunking: a chunk critic distilled into a short one that the policy acts by."""

    heads = ("q", "v")
    bootstraps = True
    extractions = ("best_of_n", "awr", "ddpg_bc", "advantage_condition", "distil")
    routes = {"value": "critic", "critic": "critic", "chunk_critic": ("critic_chunk", "critic_backbone")}
    # the authors' ranges
    search = {
        "objective.params.kappa_b": (0.5, 0.7, 0.9, 0.97),
        "objective.params.kappa_d": (0.5, 0.8),
        "selection.num_samples": (4, 16, 32),  # the authors take 32; QC's tune it
    }

    class Params(Strict):
        """The official defaults; tuned per environment there, kappa_b 0.5 to 0.97 and kappa_d 0.5 to 0.8."""

        kappa_b: float = Field(0.9, gt=0, lt=1, description="quantile of the value")
        kappa_d: float = Field(0.5, gt=0, lt=1, description="expectile of the distillation")

    def check(self, policy: PolicyConfig, head: type[ActionHead]) -> None:
        """Refuse a backup over another number of steps than the chunk's."""
        if policy.n != policy.action_head.chunk:
            raise UsageError(
                f"Objective 'dqc' backs up over the chunk of {policy.action_head.chunk} actions, and n_step is "
                f"{policy.n}: remove n_step and set action_head.chunk; action_head.execute is the short chunk."
            )

    def valued_actions(self, policy: PolicyConfig) -> int:
        """c: the actions that are executed before the next decision."""
        return policy.action_head.execute

    def modules(self, parts: Parts) -> Modules:
        """The chunk critic Q_h, on the same tokens as Q and V."""
        chunk = parts.policy.action_head.chunk * parts.action_dim
        return super().modules(parts) | {
            "critic_chunk": lambda: Critic(parts.critic_width, chunk, ("q",), parts.policy.critic)
        }

    def losses(self, step: Step) -> Losses:
        """The values learn from the transitions t -> t+h, the policy from both frames of a pair."""
        window, valid = step.window, step.window.td_valid.float()
        v, q = step.v("now"), step.q("now")
        v_now, v_next = v.value.squeeze(0).detach(), step.v("next").value.squeeze(0).detach()  # (B,)
        critic_h = step.module("critic_chunk")
        q_h = critic_h.q(critic_h.readout(step.part(step.critic_tokens, "now")), step.part(step.actions, "now"))

        target = window.reward + window.discount * v_next
        chunk_critic = (valid * q_h.loss(target).mean(0)).mean()

        teacher = q_h.value.detach()  # (E, B)
        critic = (valid * expectile_loss(q, teacher, self.params.kappa_d)).mean()

        q_bar = step.aggregate(step.q_target("both").value)  # (2B,)
        below = q_bar[: step.pairs]
        distance = (v.height_of(below) - v.height.squeeze(0)).abs()
        value = (valid * expectile_weight(below - v_now, self.params.kappa_b) * distance).mean()

        policy, of_policy = self.extraction.terms(step, q_bar - torch.cat((v_now, v_next)), step.valid)
        metrics = {
            "value/v": v_now.mean(),
            "critic/q": q.value.mean(),
            "critic/chunk_q": teacher.mean(),
            "critic/target": target.mean(),
        }
        return policy | {"value": value, "critic": critic, "chunk_critic": chunk_critic}, metrics | of_policy
