"""Implicit Q-learning (Kostrikov, Nair and Levine 2021, arXiv:2110.06169) on action chunks.

    L_V  = E[ L2^tau( Qbar(s, a) - V(s) ) ],  L2^tau(u) = |tau - 1(u < 0)| u^2         (equations 5 and 1)
    L_Q  = E[ ( r + gamma^n V(s_{t+n}) - Q(s, a) )^2 ]                                  (equation 6, n steps)
    L_pi = E[ -exp( beta ( Qbar(s, a) - V(s) ) ) log pi(a|s) ]                          (equation 7, weights cut at 100)

a is the chunk of the n actions that the backup covers, which makes the n-step backup exact in V's own semi-MDP. With
hl_gauss the squares become cross-entropies and keep their weights. Frames whose backup a timeout cuts have no target:
they train neither Q nor V, and are not imitated either, since their advantage is not known. L_pi is the extraction
`awr`; the others replace it.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from robo_orl.config import Strict
from robo_orl.models.critics import Estimate
from robo_orl.objectives.objective import Objective
from robo_orl.objectives.parts import Losses
from robo_orl.objectives.step import Step


class IQL(Objective):
    """Implicit Q-learning: expectile value, advantage-weighted policy."""

    as_given = frozenset({"expectile"})
    heads = ("q", "v")
    bootstraps = values_together = True
    extractions = ("awr", "ddpg_bc", "best_of_n", "advantage_condition", "distil")
    routes = {"value": "critic", "critic": "critic"}
    # robomimic's beta, 1; the paper's 3 and 10 are for returns in the hundreds: 1000 at returns up to 1
    search = {"objective.params.expectile": (0.7, 0.9), "objective.params.beta": (1.0, 10.0, 100.0, 1000.0)}

    class Params(Strict):
        """The paper's AntMaze values are the defaults; its rewards of -1 a step make returns a hundred times these."""

        expectile: float = Field(0.9, gt=0, lt=1, description="tau of the value: 0.5 is the mean, 1 the maximum")
        beta: float = Field(10.0, ge=0, description="inverse temperature of the advantage weights")
        max_weight: float = Field(100.0, gt=0, description="weights are cut here")

    def losses(self, step: Step) -> Losses:
        """The values learn from the transitions t -> t+n, the policy from both frames of a pair."""
        window, valid = step.window, step.window.td_valid.float()
        v, q = step.v_and_q("now")
        slow, v_next = step.slow_q_and_next_v()
        q_bar = step.aggregate(slow)  # (2B,)
        v_now = v.value.squeeze(0).detach()  # (B,)

        value = (valid * expectile_loss(v, q_bar[: step.pairs], self.params.expectile).squeeze(0)).mean()

        target = window.reward + window.discount * v_next
        critic = (valid * q.loss(target).mean(0)).mean()

        advantage = q_bar - torch.cat((v_now, v_next))  # (2B,)
        policy, of_policy = self.extraction.terms(step, advantage, step.valid)
        metrics = {"value/v": v_now.mean(), "critic/q": q.value.mean(), "critic/target": target.mean()}
        return policy | {"value": value, "critic": critic}, metrics | of_policy


def expectile_loss(estimate: Estimate, target: Tensor, tau: float) -> Tensor:
    """The expectile loss L2^tau(u) = |tau - 1(u < 0)| u^2 with u = target - estimate (equation 5), (E, ...).

    target: (...), without gradient. Its minimiser is the tau-expectile of the targets: 0.5 is the mean, towards 1 the
    maximum. An estimate that is trained by cross-entropy has this in place of the square.
    """
    return expectile_weight(target - estimate.value.detach(), tau) * estimate.loss(target)


def expectile_weight(u: Tensor, tau: float) -> Tensor:
    """The weight |tau - 1(u < 0)| of a positive and of a negative difference; constant wherever it has a gradient."""
    return (tau - (u < 0).to(u)).abs()
