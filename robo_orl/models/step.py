"""One training step as the objectives see it: a paired window, and what the agent says about its two frames.

Frames are named "now" (s_t, B of them), "next" (s_{t+n}, B) and "both" (2B, now first). One backbone pass over both
frames serves the policy and a shared critic; critics of their own, and full_ema targets, add their own passes.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from robo_orl.models.critics import Estimate
from robo_orl.rng import Draws
from robo_orl.types import Observation, PairedWindow

if TYPE_CHECKING:
    from robo_orl.models.agent import Agent

Frames = Literal["now", "next", "both"]
POLICY_STREAMS = ("policy", "policy_next")  # a stream per frame: N processes draw what one would


class Step:
    """B pairs in raw units become 2B normalised observations and scaled action chunks."""

    def __init__(self, agent: Agent, window: PairedWindow, draws: Draws):
        self.agent, self.window, self.draws = agent, window, draws
        self.pairs = len(window)
        normaliser = agent.normaliser
        self.obs = normaliser.observation(Observation.cat(window.obs, window.next_obs))
        self.actions = normaliser.scale_actions(torch.cat((window.actions, window.next_actions)))  # (2B, h, A)
        self.mask = torch.cat((window.action_mask, window.next_action_mask))  # (2B, h)
        self.tokens = agent.policy_tokens(self.obs)  # (2B, S, D)
        self.trained: tuple[Frames, ...] = ("now", "both") if agent.objective.critic_frames == "now" else ("both",)
        if agent.objective.heads:
            self.critic_tokens, self.features = self._read_both()

    def both(self, per_pair: Tensor) -> Tensor:
        """(B,) -> (2B,): what holds for an episode holds for both frames of its pair."""
        return torch.cat((per_pair, per_pair))

    @cached_property
    def valid(self) -> Tensor:
        """(2B,) float: frames whose valued chunk ends in the episode or in its true terminal, not in a timeout."""
        inside = self.window.next_action_mask[:, : self.agent.valued_actions].all(-1)
        return torch.cat((self.window.td_valid, inside | self.window.success)).float()

    # ------------------------------------------------------------------------------------------------------- policy

    def policy_loss(self) -> Tensor:
        """(2B,): the action head's loss per frame, with gradient into head and backbone."""
        return self.agent.action_head.loss(self.tokens, self.actions, self.mask, self.draws, POLICY_STREAMS)

    @torch.no_grad()
    def sample_next(self, num_samples: int, flow_steps: int) -> Tensor:
        """(B, N, c, A): the policy's chunks at s_{t+n}, as many actions as the critic values, without gradient."""
        tokens = self.tokens[self.pairs :].detach()
        chunks = self.agent.action_head.sample(tokens, num_samples, self.draws, "critic", flow_steps)
        return chunks[:, :, : self.agent.valued_actions]

    # ------------------------------------------------------------------------------------------------------- values

    def q(self, frames: Frames, actions: Tensor | None = None) -> Estimate:
        """Q of `actions` (default: the data's chunks); with gradient on frames that the objective trains."""
        with self._gradient(frames):
            return self.agent.critic.q(self._part(self.features, frames), self._chunk(frames, actions))

    def v(self, frames: Frames) -> Estimate:
        """V, with gradient on frames that the objective trains."""
        with self._gradient(frames):
            return self.agent.critic.v(self._part(self.features, frames))

    @torch.no_grad()
    def q_target(self, frames: Frames, actions: Tensor | None = None) -> Estimate:
        """Q of the slow copy, without gradient."""
        tokens = self._part(self.critic_tokens, frames).detach()
        features = self.agent.target.features(self.obs.map(lambda t: self._part(t, frames)), tokens)
        return self.agent.target.critic.q(features, self._chunk(frames, actions))

    def aggregate(self, values: Tensor) -> Tensor:
        """(E, ...) -> (...): the ensemble's mean or minimum."""
        return self.agent.aggregate(values)

    def _gradient(self, frames: Frames) -> torch.set_grad_enabled:
        return torch.set_grad_enabled(torch.is_grad_enabled() and frames in self.trained)

    def _chunk(self, frames: Frames, actions: Tensor | None) -> Tensor:
        if actions is not None:
            return actions
        return self._part(self.actions, frames)[:, : self.agent.valued_actions]

    def _part(self, both: Tensor, frames: Frames) -> Tensor:
        return {"now": both[: self.pairs], "next": both[self.pairs :], "both": both}[frames]

    def _read_both(self) -> tuple[Tensor, Tensor]:
        """The critic's tokens (2B, S, D) and its readout (2B, R, C) of both frames.

        Where the objective trains values at s_t only, the second half is computed without a graph: a target is never
        differentiated, and its activations are not kept.
        """
        if self.agent.objective.critic_frames == "both":
            return self._read("both", self.tokens)
        now = self._read("now", self.tokens[: self.pairs])
        with torch.no_grad():
            later = self._read("next", self.tokens[self.pairs :].detach())
        return torch.cat((now[0], later[0])), torch.cat((now[1], later[1]))

    def _read(self, frames: Frames, policy_tokens: Tensor) -> tuple[Tensor, Tensor]:
        tokens = self.agent.critic_tokens(self.obs.map(lambda t: self._part(t, frames)), policy_tokens)
        return tokens, self.agent.critic.readout(tokens)
