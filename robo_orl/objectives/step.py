"""One training step as the objectives see it: a paired window, and the agent's tokens and values at its two frames.

Frames are named "now" (s_t, B of them), "next" (s_{t+n}, B) and "both" (2B, now first). One backbone pass over both
frames serves the policy and a shared critic; critics of their own, and full_ema targets, add their own passes.
"""

from __future__ import annotations

from typing import Literal, Protocol

import torch
from einops import rearrange, repeat
from torch import Tensor, nn

from robo_orl.base.rng import Draws
from robo_orl.base.types import Observation, PairedWindow
from robo_orl.config import PolicyConfig
from robo_orl.models.augmentation import augmented
from robo_orl.models.critic_pair import CriticPair
from robo_orl.models.critics import Critic, Estimate
from robo_orl.models.layers import wide
from robo_orl.models.normaliser import Normaliser
from robo_orl.models.targets import Target

Frames = Literal["now", "next", "both"]
POLICY_STREAMS = ("policy", "policy_next")  # a stream per frame: N processes draw what one would
SAMPLE_STREAMS = {"now": "critic_now", "next": "critic"}


class Trains(Protocol):
    """The part of an objective that decides which frames' values have a gradient (objective.py)."""

    heads: tuple[str, ...]
    critic_frames: Literal["now", "both"]
    ranks_candidates: bool


class Learner(Protocol):
    """The part of the agent (agent/agent.py) that a step reads: networks, and how tokens and values are joined."""

    policy: PolicyConfig
    objective: Trains
    normaliser: Normaliser
    action_head: nn.Module
    slow_head: nn.Module | None
    critic: Critic | None
    target: Target | None
    extra: nn.ModuleDict
    valued_actions: int

    def policy_tokens(self, obs: Observation) -> Tensor: ...
    def head_tokens(self, policy_tokens: Tensor) -> Tensor: ...
    def critic_tokens(self, obs: Observation, policy_tokens: Tensor) -> Tensor: ...
    def aggregate(self, values: Tensor) -> Tensor: ...


class Step:
    """B pairs in raw units become 2B normalised observations and scaled action chunks."""

    def __init__(self, agent: Learner, window: PairedWindow, draws: Draws):
        self.agent, self.window, self.draws = agent, window, draws
        self.pairs = len(window)
        self._valid: Tensor | None = None
        normaliser = agent.normaliser
        raw = augmented(Observation.cat(window.obs, window.next_obs), agent.policy.observation, draws)
        self.obs = normaliser.observation(raw)
        self.actions = normaliser.scale_actions(torch.cat((window.actions, window.next_actions)))  # (2B, h, A)
        self.mask = torch.cat((window.action_mask, window.next_action_mask))  # (2B, h)
        policy_tokens = agent.policy_tokens(self.obs)
        self.tokens = agent.head_tokens(policy_tokens)  # (2B, S, D)
        # What a flow reads of the tokens, once for its loss and for the candidates, where one call samples them.
        once = agent.objective.ranks_candidates and agent.action_head.samples_in_one_call
        self._read_by_head = agent.action_head.read(self.tokens) if once else None
        self.trained: tuple[Frames, ...] = ("now", "both") if agent.objective.critic_frames == "now" else ("both",)
        if agent.objective.heads:
            self._read_both(policy_tokens)

    def both(self, per_pair: Tensor) -> Tensor:
        """(B,) -> (2B,): a number of an episode, for both frames of its pair."""
        return repeat(per_pair, "B -> (frames B)", frames=2)

    @property
    def valid(self) -> Tensor:
        """(2B,) float: frames whose valued chunk ends in the episode or in its true terminal, not in a timeout."""
        if self._valid is None:  # no cached_property: before Python 3.12 it has a lock, which torch's compiler refuses
            inside = self.window.next_action_mask[:, : self.agent.valued_actions].all(-1)
            self._valid = torch.cat((self.window.td_valid, inside | self.window.success)).float()
        return self._valid

    @property
    def returns(self) -> Tensor:
        """(2B,): the data's discounted return-to-go."""
        return torch.cat((self.window.return_to_go, self.window.next_return_to_go))

    def part(self, both: Tensor, frames: Frames) -> Tensor:
        """The rows of `frames` of (2B, ...)."""
        return {"now": both[: self.pairs], "next": both[self.pairs :], "both": both}[frames]

    def normal(self, stream: str, *shape: int) -> Tensor:
        """(2B, *shape) standard normal numbers, a stream per frame."""
        return torch.cat([self.draws.normal(stream + frame, self.pairs, *shape) for frame in ("", "_next")])

    def uniform(self, stream: str, *shape: int) -> Tensor:
        """(2B, *shape) uniform numbers in [0, 1), a stream per frame."""
        return torch.cat([self.draws.uniform(stream + frame, self.pairs, *shape) for frame in ("", "_next")])

    def batch_mean(self, values: Tensor) -> Tensor:
        """The mean of `values` over the batches of all processes, 0-dim, without gradient."""
        return mean_over_processes(values.detach().mean())

    def module(self, name: str) -> nn.Module:
        """One of the objective's own modules."""
        return self.agent.extra[name]

    # ------------------------------------------------------------------------------------------------------- policy

    def policy_loss(self, tokens: Tensor | None = None, frames: Frames = "both") -> Tensor:
        """(2B,), or (B,) of one frame: the action head's loss, with gradient into head and backbone.

        tokens: what the head reads of these frames instead of the backbone's own tokens.
        """
        own = tokens is None and frames == "both" and self._read_by_head is not None
        read = {"read": self._read_by_head} if own else {}
        tokens = self.part(self.tokens, frames) if tokens is None else tokens
        streams = POLICY_STREAMS if frames == "both" else (POLICY_STREAMS[frames == "next"],)
        actions, mask = self.part(self.actions, frames), self.part(self.mask, frames)
        return self.agent.action_head.loss(tokens, actions, mask, self.draws, streams, **read)

    def policy_loss_of(self, chunks: Tensor) -> Tensor:
        """chunks (2B, N, h, A) -> (2B, N): the action head's loss of other chunks than the data's."""
        n = chunks.shape[1]
        rows = rearrange(chunks, "B N h A -> (B N) h A")
        mask = torch.ones(rows.shape[:2], dtype=torch.bool, device=rows.device)
        streams = tuple(f"{stream}_of_{n}" for stream in POLICY_STREAMS)
        tokens = repeat(self.tokens, "B ... -> (B N) ...", N=n)
        loss = self.agent.action_head.loss(tokens, rows, mask, self.draws, streams)
        return rearrange(loss, "(B N) -> B N", N=n)

    def policy_chunk(self, frames: Frames, slow: bool = False) -> Tensor:
        """(B, h, A): the one chunk of a head that has one, with gradient; or its slow copy's, without, in [-1, 1].

        The first is not cut to [-1, 1]: what lies outside must be brought back by cloning, and a cut has no gradient.
        """
        head, tokens = self._acting_head(frames, slow)
        chunk = wide(head.predict(tokens)) if hasattr(head, "predict") else head.mode(tokens)
        return chunk.detach().clamp(-1, 1) if slow else chunk

    @torch.no_grad()
    def sample(
        self, frames: Literal["now", "next"], num_samples: int, steps: int | None = None, slow: bool = False
    ) -> Tensor:
        """(B, N, h, A): the policy's chunks, or its slow copy's, without gradient."""
        head, tokens = self._acting_head(frames, slow)
        critic = self.agent.policy.critic
        steps = (critic and critic.target_flow_steps) or steps
        if self._read_by_head is None or slow:
            return head.sample(tokens, num_samples, self.draws, SAMPLE_STREAMS[frames], steps)
        read = tuple(self.part(both, frames).detach() for both in self._read_by_head)
        return head.sample(tokens, num_samples, self.draws, SAMPLE_STREAMS[frames], steps, read=read)

    @torch.no_grad()
    def base_chunks(self) -> Tensor:
        """(2B, 1, h, A): the chunks that the action head acts by on its own, without gradient."""
        head, frames = self.agent.action_head, ("now", "next")
        return torch.cat([head.act(self.part(self.tokens, f), 1, self.draws, SAMPLE_STREAMS[f]) for f in frames])

    def sample_with_log_prob(self, frames: Literal["now", "next"], num_samples: int) -> tuple[Tensor, Tensor]:
        """(B, N, h, A) with gradient into the policy, and their log-densities (B, N)."""
        tokens = self.part(self.tokens, frames)
        return self.agent.action_head.sample_with_log_prob(tokens, num_samples, self.draws, SAMPLE_STREAMS[frames])

    def _acting_head(self, frames: Frames, slow: bool) -> tuple[nn.Module, Tensor]:
        tokens = self.part(self.tokens, frames)
        return (self.agent.slow_head, wide(tokens.detach())) if slow else (self.agent.action_head, tokens)

    def sample_next(self, num_samples: int, flow_steps: int | None = None) -> Tensor:
        """(B, N, c, A): the policy's chunks at s_{t+n}, as many actions as the critic values, without gradient."""
        return self.valued(self.sample("next", num_samples, flow_steps))

    def valued(self, chunks: Tensor) -> Tensor:
        """(..., h, A) -> (..., c, A): the actions that the critic values."""
        return chunks[..., : self.agent.valued_actions, :]

    # ------------------------------------------------------------------------------------------------------- values

    def q(self, frames: Frames, actions: Tensor | None = None) -> Estimate:
        """Q of `actions` (default: the data's chunks); with gradient on frames that the objective trains."""
        with self._gradient(frames):
            return self.agent.critic.q(self.features(frames), self._chunk(frames, actions))

    def v(self, frames: Frames) -> Estimate:
        """V, with gradient on frames that the objective trains."""
        with self._gradient(frames):
            return self.agent.critic.v(self.features(frames))

    @property
    def joint(self) -> bool:
        """Whether an engine keeps the weights of V and Q together now."""
        return self.agent.critic.joint.ready

    @property
    def pair(self) -> CriticPair | None:
        """The online critic and its slow copy as one, while an engine keeps their weights together."""
        target = self.agent.target
        return target.pair if target is not None and target.pair.ready else None

    def v_and_q(self, frames: Frames) -> tuple[Estimate, Estimate]:
        """V, and Q of the data's chunks: by one product a layer where an engine keeps their weights together."""
        if not self.joint:
            return self.v(frames), self.q(frames)
        with self._gradient(frames):
            return self.agent.critic.v_and_q(self.features(frames), self._chunk(frames, None))

    def climb(self, frames: Frames, actions: Tensor, member: int | None = None) -> Tensor:
        """(B,): the height of `actions` (B, c, A) on the critic, whose gradient reaches the actions and nothing else.

        member: of the ensemble; default its aggregate.

        dQ/da is taken at a leaf and joined to the actions by hand: exact under every ZeRO stage, where switching
        the critic's parameters off is not, and the critic's graph is gone before the backward.
        """
        features = self.features(frames).detach()
        return self.climb_on(self.agent.critic, features, actions, member)

    def climb_on(self, critic: Critic, features: Tensor, actions: Tensor, member: int | None = None) -> Tensor:
        """`climb` on a critic, whose readout (B, R, C) has no gradient."""
        leaf = actions.detach().requires_grad_()
        with torch.enable_grad():
            heights = critic.q(features, leaf).height  # (E, B)
            height = self.aggregate(heights) if member is None else heights[member]
            (slope,) = torch.autograd.grad(height.sum(), leaf)
        path = (actions * slope).flatten(1).sum(1)
        return height.detach() + (path - path.detach())

    def td(self, following: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Q's regression to r + gamma^n `following` (B,) over the transitions t -> t+n: 0-dim loss, and metrics."""
        target = self.window.reward + self.window.discount * following  # (B,)
        q = self.q("now")  # (E, B)
        loss = (self.window.td_valid * q.loss(target).mean(0)).mean()
        return loss, {"critic/q": q.value.mean(), "critic/target": target.mean()}

    @torch.no_grad()
    def advantage(self, samples: Tensor) -> Tensor:
        """A(s, a) = Q(s, a) - mean_j Q(s, a_j) of the data's chunks (2B,), without gradient.

        samples: (2B, N, c, A), the policy's chunks a_j.
        """
        return self.aggregate(self.q("both").value) - self.aggregate(self.q("both", samples).value).mean(-1)

    @torch.no_grad()
    def q_target(self, frames: Frames, actions: Tensor | None = None) -> Estimate:
        """Q of the slow copy, without gradient."""
        tokens = self._critic_tokens_at(frames).detach()
        features = self.agent.target.features(self.obs.map(lambda t: self.part(t, frames)), tokens)
        return self.agent.target.critic.q(features, self._chunk(frames, actions))

    def slow_q_and_next_v(self) -> tuple[Tensor, Tensor]:
        """Qbar (E, 2B) of the data's chunks at both frames, and V (B,) at s_{t+n}, both without gradient."""
        if self.pair is None:
            return self.q_target("both").value, self.v("next").value.squeeze(0).detach()
        with torch.no_grad():
            tokens = self._critic_tokens_at("both").detach()
            q, v = self.pair.slow_q_and_v(self.agent.critic, tokens, self._chunk("both", None))
            return q.value, v.value.squeeze(0)[self.pairs :]

    @torch.no_grad()
    def best_value(self, frames: Literal["now", "next"], candidates: Tensor) -> Tensor:
        """(B,): the slow copy's value of the candidate (B, N, c, A) that the online critic ranks first, no gradient.

        Where an engine keeps the weights of both together they value all candidates at once, which is fewer kernels.
        """
        if self.pair is not None:
            online, slow = self.pair.q(self.agent.critic, self._critic_tokens_at(frames).detach(), candidates)
            best = self.aggregate(online.value).argmax(-1, keepdim=True)  # (B, 1)
            return self.aggregate(slow.value).gather(1, best).squeeze(1)
        best = self.aggregate(self.q(frames, candidates).value).argmax(-1)  # (B,)
        chunks = candidates[torch.arange(self.pairs, device=best.device), best]  # (B, c, A)
        return self.aggregate(self.q_target(frames, chunks).value)

    def aggregate(self, values: Tensor) -> Tensor:
        """(E, ...) -> (...): the ensemble's mean or minimum."""
        return self.agent.aggregate(values)

    def lowest(self, values: Tensor, members: int) -> Tensor:
        """(E, B) -> (B,): the minimum over so many members of the ensemble, drawn anew for every row."""
        order = self.draws.uniform("members", values.shape[1], len(values)).argsort(-1)  # (B, E)
        return values.T.gather(1, order[:, :members]).amin(1)

    def _gradient(self, frames: Frames) -> torch.set_grad_enabled:
        return torch.set_grad_enabled(torch.is_grad_enabled() and frames in self.trained)

    def _chunk(self, frames: Frames, actions: Tensor | None) -> Tensor:
        if actions is not None:
            return actions
        return self.part(self.actions, frames)[:, : self.agent.valued_actions]

    def features(self, frames: Frames) -> Tensor:
        """The critic's readout (B, R, C) at `frames`; that of s_{t+n} alone is made when it is wanted first."""
        if "both" in self._features:
            return self.part(self._features["both"], frames)
        if frames != "now" and "next" not in self._features:
            with torch.no_grad():
                self._features["next"] = self.agent.critic.readout(self._critic_tokens_at("next"))
        if frames == "both":
            return torch.cat((self._features["now"], self._features["next"]))
        return self._features[frames]

    @property
    def critic_tokens(self) -> Tensor:
        """The tokens (2B, S, D) that the critic reads."""
        return self._critic_tokens_at("both")

    def _critic_tokens_at(self, frames: Frames) -> Tensor:
        if "both" in self._critic_tokens:
            return self.part(self._critic_tokens["both"], frames)
        if frames == "both":
            return torch.cat((self._critic_tokens["now"], self._critic_tokens["next"]))
        return self._critic_tokens[frames]

    def _read_both(self, policy_tokens: Tensor) -> None:
        """The critic's tokens, and its readout (B, R, C) of the frames whose values the objective trains.

        Where it trains values at s_t only, the second half is computed without a graph: a target is never
        differentiated, and its activations are not kept.
        """
        readout = self.agent.critic.readout
        if self.agent.objective.critic_frames == "both":
            self._critic_tokens = {"both": self._tokens_of("both", policy_tokens)}
            self._features = {"both": readout(self._critic_tokens["both"])}
            return
        self._critic_tokens = {"now": self._tokens_of("now", policy_tokens[: self.pairs])}
        self._features = {"now": readout(self._critic_tokens["now"])}
        with torch.no_grad():
            self._critic_tokens["next"] = self._tokens_of("next", policy_tokens[self.pairs :].detach())

    def _tokens_of(self, frames: Frames, policy_tokens: Tensor) -> Tensor:
        return self.agent.critic_tokens(self.obs.map(lambda t: self.part(t, frames)), policy_tokens)


def mean_over_processes(value: Tensor) -> Tensor:
    """A 0-dim value averaged over all processes; a collective."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        value = value.clone()
        torch.distributed.all_reduce(value)
        value = value / torch.distributed.get_world_size()
    return value
