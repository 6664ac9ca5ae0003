"""SHARSA (Park et al. 2025, arXiv:2506.04168, equations 1 to 3 and appendix E): two levels, n-step SARSA above.

    w        = the observation at t+n, a subgoal
    L_V      = E[ D( V(s), Qbar(s, w) ) ]
    L_Q      = E[ D( Q(s, w), sum_k<n gamma^k r_{t+k} + gamma^n V(s_{t+n}) ) ]
    L_high   = BC of a flow over subgoals w given s
    L_pi     = BC of the action head given s and w
    act        the subgoal of the highest Q among N = selection.num_samples, then a chunk towards it

Near the end of an episode that a timeout ended, s_{t+n} is its last frame and n what is left, as in the authors'
sampler (which rewards its goals there; here V at that frame is backed up). Nothing is maximised in training. The
benchmark has one goal a task, so that the authors' goal is left out, and w is the whole observation, of a history the
newest frame. Where the episode succeeds within n frames there is no s_{t+n}: the subgoal is then "the end", a flag of
its own beside the observation. Low-dim observations only: pixels make no subgoal.
"""

from __future__ import annotations

import torch
from torch import Tensor

from robo_orl.base.errors import UsageError
from robo_orl.base.rng import Draws
from robo_orl.config import ActionHeadConfig, PolicyConfig
from robo_orl.models.action_heads import ActionHead
from robo_orl.models.action_heads.flow import FlowHead
from robo_orl.models.layers import Condition
from robo_orl.objectives.objective import Objective
from robo_orl.objectives.parts import ActingPolicy, Losses, Modules, Parts
from robo_orl.objectives.step import Step


class SHARSA(Objective):
    """SHARSA: a SARSA critic chooses among cloned subgoals, a cloned policy goes there."""

    version = 2
    heads = ("q", "v")
    bootstraps = True
    values_actions = False
    cut_short = chooses = True
    routes = {
        "low": ("policy", "condition"),
        "high": ("subgoals", "backbone"),
        "value": "critic",
        "critic": "critic",
    }
    search = {"n_step": (25, 50), "selection.num_samples": (16, 32)}  # the authors' n for puzzles and cubes

    def valued_numbers(self, parts: Parts) -> int:
        """The size of a subgoal: the low-dim observation and the flag of the end."""
        return parts.obs_numbers + 1

    def check(self, policy: PolicyConfig, head: type[ActionHead]) -> None:
        """Refuse cameras: a subgoal is a whole observation."""
        if policy.observation.cameras:
            raise UsageError(
                "Objective 'sharsa' makes subgoals of low-dim observations, and pictures make none: set "
                "observation.cameras to []."
            )

    def modules(self, parts: Parts) -> Modules:
        """The flow over subgoals, and the embedding of the subgoal that the action head reads."""
        numbers = self.valued_numbers(parts)
        steps = parts.policy.action_head.flow_steps
        config = ActionHeadConfig(kind="flow", chunk=1, execute=1, flow_steps=steps)
        return {
            "subgoals": lambda: FlowHead(parts.token_width, parts.depth, numbers, config),
            "condition": lambda: Condition(parts.token_width, numbers),
        }

    def losses(self, step: Step) -> Losses:
        """Every term learns from the transitions t -> t+n."""
        window, valid = step.window, step.window.td_valid.float()
        w = self.subgoal(step)  # (B, 1, G)
        v, q = step.v("now"), step.q("now", w)
        q_bar = step.aggregate(step.q_target("now", w).value)  # (B,)
        value = (valid * v.loss(q_bar).squeeze(0)).mean()
        target = window.reward + window.discount * step.v("next").value.squeeze(0).detach()
        critic = (valid * q.loss(target).mean(0)).mean()

        tokens = step.part(step.tokens, "now")
        one = torch.ones(w.shape[:2], dtype=torch.bool, device=w.device)
        high = (valid * step.module("subgoals").loss(tokens, w, one, step.draws, ("subgoal",))).mean()
        towards = step.module("condition")(tokens, w.squeeze(1))
        low = (valid * step.policy_loss(towards, "now")).mean()
        metrics = {"value/v": v.value.mean(), "critic/q": q.value.mean(), "critic/target": target.mean()}
        return {"low": low, "high": high, "value": value, "critic": critic}, metrics

    @staticmethod
    def subgoal(step: Step) -> Tensor:
        """w (B, 1, G): the normalised observation at t+n and -1; zeros and 1 where the episode has ended by then."""
        frames = [step.part(value, "next") for value in step.obs.low_dim.values()]  # (B, D), with a history (B, k, D)
        obs = torch.cat([frame if frame.dim() == 2 else frame[:, -1] for frame in frames], -1)  # (B, G-1)
        ended = (step.window.discount == 0).unsqueeze(-1)
        flag = torch.where(ended, 1.0, -1.0).to(obs)
        return torch.cat((obs.masked_fill(ended, 0.0), flag), -1).unsqueeze(1)

    def candidates(self, policy: ActingPolicy, tokens: Tensor, num_samples: int, draws: Draws) -> Tensor:
        """(B, N, 1, G): subgoals."""
        flow = policy.extra["subgoals"]
        return flow.integrate(tokens, draws.normal("subgoal", len(tokens), num_samples, *flow.shape))

    def realise(self, policy: ActingPolicy, tokens: Tensor, best: Tensor, draws: Draws) -> Tensor:
        """A chunk (B, h, A) towards the subgoal (B, 1, G)."""
        towards = policy.extra["condition"](tokens, best.squeeze(1))
        return policy.action_head.act(towards, 1, draws, "act").squeeze(1)
