"""The base of on-policy objectives: they learn from the decisions of one round, made by the weights that then learn.

A decision is an observation and the c actions that were carried out after it. Before a round's first update all that
does not change in it is kept of every decision: the likelihood under the weights that acted, values, advantages. An
update then sees the decisions of a minibatch with what was kept of them (base/types.DecisionWindow).

    L_pi = -E[ min( rho A, clip(rho, 1 - eps_low, 1 + eps_high) A ) ] - beta H(pi),   rho = pi(a|s) / pi_old(a|s)
                                                            (Schulman et al. 2017, arXiv:1707.06347, equation 7)
    L_V  = w E[ ( A_gae + V_old(s) - V(s) )^2 ]

What rho is comes from likelihoods.py, what A is from credit.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from robo_orl.base.errors import UsageError
from robo_orl.base.rng import Draws
from robo_orl.config import OnlineConfig, PolicyConfig, SelectionConfig, Strict
from robo_orl.models.action_heads import ActionHead
from robo_orl.objectives.credit import SMALL, Outcomes, gae
from robo_orl.objectives.likelihoods import Density, Likelihood
from robo_orl.objectives.objective import Objective
from robo_orl.objectives.parts import ActingPolicy, Losses, Modules, Parts
from robo_orl.objectives.step import Step

Kept = dict[str, Tensor]
KEPT_AT_ONCE = 256  # decisions of a pass that computes what is kept


class OnPolicyParams(Strict):
    """Common to all of them."""

    entropy: float = Field(0.0, ge=0, description="beta, the weight of the entropy of the actions carried out")
    target_kl: float | None = Field(
        None, gt=0, description="a minibatch above this KL from the policy that acted ends the updates of its round"
    )


class OnPolicy(Objective):
    """Subclasses say how likely a decision is (`likelihood_of`) and what it is credited with (`credit`)."""

    on_policy = True
    critic_frames = "both"
    cut_short = True
    collects = False  # True in the copy of an agent that collects: it then acts by the distribution of the likelihood
    discards = False  # whether groups whose episodes all end alike are left out
    grouped = False  # whether credit is taken within groups of one start state

    class Params(OnPolicyParams):
        """Those that all of them have."""

    def __init__(self, policy: PolicyConfig):
        super().__init__(policy)
        self.likelihood = self.likelihood_of(policy)
        self.kl_limit = self.params.target_kl
        self.routes = {**self.routes, "actor": ("policy", *self.likelihood.trains)}

    def likelihood_of(self, policy: PolicyConfig) -> Likelihood:
        """The likelihood of the policy's action head."""
        return Density(policy.action_head.execute)

    # ---------------------------------------------------------------------------------------- before the first update

    def keep(self, step: Step) -> Kept:
        """(B, ...) of the decisions at step's frames "now", whose pairs reach to the frame of the next decision."""
        kept = self.likelihood.keep(step)
        if self.heads:
            kept |= {"value": step.v("now").value.squeeze(0), "next_value": step.v("next").value.squeeze(0)}
        return kept

    def credit(self, outcomes: Outcomes, kept: Kept) -> dict[str, np.ndarray]:
        """`advantage` (M,), and `target` (M,) of the value where there is one."""
        raise NotImplementedError

    def learned_from(self, success: np.ndarray, group: int) -> np.ndarray:
        """(E,) bool: the episodes of a round whose decisions are drawn."""
        return np.ones(len(success), bool)

    # ------------------------------------------------------------------------------------------------------ an update

    def losses(self, step: Step) -> Losses:
        """Both halves of the window are decisions."""
        log_ratio, advantage = self.likelihood.log_ratio(step), step.window.kept["advantage"]
        per_draw = log_ratio.dim() == 2
        actor = -self.surrogate(log_ratio, advantage.unsqueeze(1) if per_draw else advantage).mean()
        entropy = self.likelihood.entropy(step)
        if self.params.entropy:
            actor = actor - self.params.entropy * entropy.mean()
        metrics = self.divergence(step, log_ratio.detach())
        if entropy is not None:
            metrics["actor/entropy"] = entropy.mean()
        if not self.heads:
            return {"actor": actor}, metrics
        v = step.v("both")
        value = self.params.value_weight * v.loss(step.window.kept["target"]).mean()
        return {"actor": actor, "value": value}, metrics | {"value/v": v.value.mean()}

    def surrogate(self, log_ratio: Tensor, advantage: Tensor) -> Tensor:
        """What is maximised, elementwise."""
        raise NotImplementedError

    def divergence(self, step: Step, log_ratio: Tensor) -> dict[str, Tensor]:
        """actor/kl: E[rho - 1 - log rho], never negative (Schulman 2020), over the batches of all processes."""
        kl = step.batch_mean(log_ratio.exp() - 1 - log_ratio)
        return {"actor/kl": kl, "actor/ratio": log_ratio.exp().mean()}

    # -------------------------------------------------------------------------------------------------------- acting

    def modules(self, parts: Parts) -> Modules:
        """Those of the likelihood."""
        return self.likelihood.modules(parts)

    def candidates(self, policy: ActingPolicy, tokens: Tensor, num_samples: int, draws: Draws) -> Tensor:
        """To collect, samples of the policy that the ratio is of; to be judged, as the head acts."""
        if self.collects:
            return self.likelihood.explore(policy, tokens, num_samples, draws)
        return super().candidates(policy, tokens, num_samples, draws)

    # ---------------------------------------------------------------------------------------------------------- checks

    def check(self, policy: PolicyConfig, head: type[ActionHead]) -> None:
        """Refuse what would make the likelihood that of other actions, and rounds that credit cannot be taken in."""
        name, online = policy.objective.name, policy.online or OnlineConfig()
        if policy.n != policy.action_head.execute:
            raise UsageError(f"Objective '{name}' values decisions of the actions carried out: set n_step to execute.")
        self.check_collection(name, policy, head, online)
        if online.replay.mix != "online":
            raise UsageError(f"Objective '{name}' learns from its own rounds alone: set online.replay.mix to online.")
        if policy.observation.cameras and (policy.observation.shift or policy.observation.jitter):
            raise UsageError(
                f"Objective '{name}' compares how likely an action was with how likely it is now, and augmentation "
                "shows it another picture each time: set observation.shift and observation.jitter to 0."
            )
        if online.imitation is not None:
            raise UsageError(f"Objective '{name}' learns from the task's own rewards: remove online.imitation.")
        if online.replay.outcomes != "all":
            raise UsageError(f"Objective '{name}' learns from failures too: set online.replay.outcomes to all.")
        if online.updates != 1.0:
            raise UsageError(f"Objective '{name}' makes online.epochs passes over a round: leave online.updates out.")
        if online.warm_up.critic_updates:
            raise UsageError(
                f"In a warm-up of objective '{name}' the critic learns from each round: set online.warm_up.steps, and "
                "online.warm_up.critic_updates to 0."
            )
        if online.warm_up.steps and not self.heads:
            raise UsageError(
                f"Objective '{name}' has no critic that could learn in a warm-up: set online.warm_up.steps to 0."
            )
        if self.grouped and online.collection.group < 2:
            raise UsageError(
                f"Objective '{name}' compares episodes of one start state: set online.collection.group above 1."
            )

    def check_collection(self, name: str, policy: PolicyConfig, head: type[ActionHead], online: OnlineConfig) -> None:
        """UsageError where other actions are carried out than the policy's own samples."""
        chosen = online.collection.selection or policy.selection
        if chosen != (SelectionConfig(acting="sample") if head.acting else SelectionConfig()):
            remedy = "{acting: sample}" if head.acting else "{}"
            raise UsageError(
                f"Objective '{name}' needs the likelihood of what it carries out, samples of the action head "
                f"'{policy.action_head.kind}': set online.collection.selection to {remedy}."
            )
        if online.collection.noise:
            raise UsageError(
                f"Objective '{name}' explores by its own samples: set online.collection.noise to 0, which is no part "
                "of their likelihood."
            )
        if online.warm_up.selection is not None:
            raise UsageError(
                f"In a warm-up objective '{name}' acts as in collection: leave online.warm_up.selection out."
            )
        if policy.optim.policy_ema:
            raise UsageError(f"Objective '{name}' learns from the weights that acted: set optim.policy_ema to 0.")


def check_density(policy: PolicyConfig, head: type[ActionHead], instead: str) -> None:
    """UsageError where the action head has no likelihood. instead: the objectives that do without."""
    if not head.density:
        raise UsageError(
            f"Objective '{policy.objective.name}' needs the likelihood of an action, and the action head "
            f"'{policy.action_head.kind}' has none: set action_head.kind to gaussian, gmm or bins{instead}."
        )


# --------------------------------------------------------------------------------------------------- with a critic


class CriticParams(OnPolicyParams):
    """Of those that take credit from a critic."""

    clip: float = Field(0.2, gt=0, lt=1, description="eps: the ratio counts within 1 - eps and 1 + eps")
    gae_lambda: float = Field(0.95, ge=0, le=1, description="lambda of generalised advantage estimation, a decision")
    value_weight: float = Field(0.5, gt=0, description="w, of the critic's loss beside the policy's")
    normalise: bool = Field(True, description="advantages of a round have mean 0 and standard deviation 1")


class WithCritic(OnPolicy):
    """Generalised advantages from V(s), and the clipped ratio."""

    heads = ("v",)
    routes = {"value": "critic"}

    class Params(CriticParams):
        """Those of all that have a critic."""

    def credit(self, outcomes: Outcomes, kept: Kept) -> dict[str, np.ndarray]:
        """Equation 16 of the paper on GAE; the value learns A + V, the return that A was taken from."""
        value, following = (kept[name].double().cpu().numpy() for name in ("value", "next_value"))
        advantage = gae(outcomes, value, following, self.params.gae_lambda)
        target = advantage + value
        if self.params.normalise:
            advantage = (advantage - advantage.mean()) / (advantage.std() + SMALL)
        return {"advantage": advantage, "target": target}

    def surrogate(self, log_ratio: Tensor, advantage: Tensor) -> Tensor:
        """Equation 7."""
        return clipped(log_ratio, advantage, self.params.clip, self.params.clip)

    def divergence(self, step: Step, log_ratio: Tensor) -> dict[str, Tensor]:
        """And the share of ratios outside of the clip."""
        outside = ((log_ratio.exp() - 1).abs() > self.params.clip).float().mean()
        return super().divergence(step, log_ratio) | {"actor/clipped": outside}


def clipped(log_ratio: Tensor, advantage: Tensor, low: float, high: float) -> Tensor:
    """min(rho A, clip(rho, 1 - low, 1 + high) A), elementwise."""
    ratio = log_ratio.exp()
    return torch.minimum(ratio * advantage, ratio.clamp(1 - low, 1 + high) * advantage)


def of_episodes(per_episode: np.ndarray, outcomes: Outcomes) -> dict[str, Any]:
    """The advantage of each decision, (M,): that of its episode, (E,)."""
    return {"advantage": per_episode[outcomes.episode]}
