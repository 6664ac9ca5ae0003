"""The outputs of an agent's networks on a window, as numpy arrays: the input of the equations.

The networks are the agent's; what is made of their outputs (values, losses, means over members) is numpy's here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import toy_agents as toy
from scipy import special, stats
from torch import Tensor

from robo_orl.agent.agent import Agent
from robo_orl.base.rng import Draws
from robo_orl.base.types import Observation, PairedWindow

# Between -1 and 3 the centres of 23 bins lie a quarter apart, which is exact also in float32; and a logit is far from
# its value, as it is not around 0.
PAIRS, BINS, LOW, HIGH = 6, 23, -1.0, 3.0
NOW, NEXT, BOTH = slice(0, PAIRS), slice(PAIRS, None), slice(None)
WIDTH = (HIGH - LOW) / (BINS - 7)
CENTRES = LOW + (np.arange(BINS) - 3) * WIDTH  # three bins beyond each end


class Double(Draws):
    """The same draws in float64."""

    def normal(self, stream: str, *shape: int) -> Tensor:
        return super().normal(stream, *shape).double()

    def uniform(self, stream: str, *shape: int) -> Tensor:
        return super().uniform(stream, *shape).double()


@dataclass(frozen=True)
class Output:
    """raw (..., K) numbers of a critic that is trained by `by`: mse, bce between LOW and HIGH, or hl_gauss."""

    raw: np.ndarray
    by: str

    @property
    def value(self) -> np.ndarray:
        if self.by == "mse":
            return self.raw[..., 0]
        if self.by == "bce":
            return LOW + (HIGH - LOW) * special.expit(self.raw[..., 0])
        return special.softmax(self.raw, axis=-1) @ CENTRES

    @property
    def height(self) -> np.ndarray:
        """The quantity that a policy climbs: the logit, where there is one."""
        return self.raw[..., 0] if self.by == "bce" else self.value

    def height_of(self, value: np.ndarray) -> np.ndarray:
        """Of another value: its logit, kept off the infinite."""
        if self.by != "bce":
            return value
        return special.logit(np.clip((value - LOW) / (HIGH - LOW), 1e-5, 1 - 1e-5))

    def loss(self, target: np.ndarray) -> np.ndarray:
        """(...): squared error, or cross-entropy to the target as a probability or as a histogram."""
        if self.by == "mse":
            return (self.raw[..., 0] - target) ** 2
        target = np.clip(target, LOW, HIGH)
        if self.by == "bce":
            p = (target - LOW) / (HIGH - LOW)
            return -(p * special.log_expit(self.raw[..., 0]) + (1 - p) * special.log_expit(-self.raw[..., 0]))
        edges = np.append(CENTRES - WIDTH / 2, CENTRES[-1] + WIDTH / 2)
        mass = np.diff(stats.norm.cdf(edges, loc=target[..., None], scale=0.75 * WIDTH), axis=-1)
        mass /= mass.sum(-1, keepdims=True)
        return -(mass * special.log_softmax(self.raw, axis=-1)).sum(-1)


class Numbers:
    """B pairs make 2B frames; letters as in the package. Every call takes the next draws of its stream."""

    def __init__(self, learner: Agent, window: PairedWindow):
        self.learner, self.draws, self.c = learner, Double(0, 0), learner.valued_actions
        self.by = learner.policy.critic.loss if learner.policy.critic else ""
        self.low = learner.policy.critic and learner.policy.critic.aggregate == "min"
        w = window
        self.r, self.d, self.g = w.reward.numpy(), w.discount.numpy(), _both(w.return_to_go, w.next_return_to_go)
        self.ok, self.success = w.td_valid.numpy().astype(float), np.tile(w.success.numpy(), 2).astype(float)
        self.mask = _both(w.action_mask, w.next_action_mask)
        ends_inside = self.mask[NEXT, : self.c].all(1) | w.success.numpy()
        self.valid = np.concatenate((self.ok, ends_inside.astype(float)))
        self.actions = _both(w.actions, w.next_actions)
        self.obs = {key: _both(w.obs.low_dim[key], w.next_obs.low_dim[key]) for key in toy.SPEC}
        with torch.no_grad():
            self.tokens = learner.backbone(Observation({k: torch.from_numpy(o) for k, o in self.obs.items()}, {}))

    def fold(self, values: np.ndarray) -> np.ndarray:
        """(E, ...) -> (...)."""
        return values.min(0) if self.low else values.mean(0)

    # -------------------------------------------------------------------------------------------------------- values

    def q(self, rows: slice, actions: np.ndarray | None = None, slow: bool = False) -> Output:
        """(E, B) or (E, B, N): of actions (B, h, A) or (B, N, h, A), by default the data's; c of them are valued."""
        critic = self.learner.target.critic if slow else self.learner.critic
        actions = self.actions[rows] if actions is None else actions
        if self.learner.objective.values_actions:
            actions = actions[..., : self.c, :]
        with torch.no_grad():
            estimate = critic.q(critic.readout(self.tokens[rows]), torch.from_numpy(np.ascontiguousarray(actions)))
        return Output(estimate.raw.numpy(), self.by)

    def q_of_chunks(self) -> Output:
        """(E, B): DQC's critic of whole chunks."""
        critic = self.learner.extra["critic_chunk"]
        with torch.no_grad():
            raw = critic.q(critic.readout(self.tokens[NOW]), torch.from_numpy(self.actions[NOW])).raw
        return Output(raw.numpy(), self.by)

    def v(self, rows: slice) -> Output:
        """(B,)."""
        with torch.no_grad():
            return Output(self.learner.critic.v(self.learner.critic.readout(self.tokens[rows])).raw[0].numpy(), self.by)

    # -------------------------------------------------------------------------------------------------------- policy

    def cloning(self, rows: slice = BOTH, condition: np.ndarray | None = None) -> np.ndarray:
        """(B,): the action head's loss, given a condition (B, K) or none."""
        streams = ("policy",) if rows == NOW else ("policy", "policy_next")
        actions, mask = torch.from_numpy(self.actions[rows]), torch.from_numpy(self.mask[rows])
        with torch.no_grad():
            tokens = self.tokens[rows]
            if condition is not None:
                tokens = self.learner.extra["condition"](tokens, torch.from_numpy(condition))
            return self.learner.action_head.loss(tokens, actions, mask, self.draws, streams).numpy()

    def cloning_of(self, chunks: np.ndarray) -> np.ndarray:
        """(2B, N) of chunks (2B, N, h, A), frame by frame."""
        n, h = chunks.shape[1:3]
        tokens, mask = self.tokens.repeat_interleave(n, 0), torch.ones(len(chunks) * n, h, dtype=torch.bool)
        flat, streams = torch.from_numpy(chunks).flatten(0, 1), (f"policy_of_{n}", f"policy_next_of_{n}")
        with torch.no_grad():
            return self.learner.action_head.loss(tokens, flat, mask, self.draws, streams).numpy().reshape(-1, n)

    def chunk(self, rows: slice, slow: bool = False) -> np.ndarray:
        """(B, h, A): the one chunk of a head that has one."""
        head = self.learner.slow_head if slow else self.learner.action_head
        with torch.no_grad():
            return (head.predict if hasattr(head, "predict") else head.mode)(self.tokens[rows]).numpy()

    def sample(self, rows: slice, n: int, slow: bool = False, steps: int | None = None) -> np.ndarray:
        """(B, N, h, A)."""
        head = self.learner.slow_head if slow else self.learner.action_head
        with torch.no_grad():
            return head.sample(self.tokens[rows], n, self.draws, _stream(rows), steps).numpy()

    def sample_with_log_prob(self, rows: slice, n: int) -> tuple[np.ndarray, np.ndarray]:
        """(B, N, h, A) and (B, N)."""
        with torch.no_grad():
            sampled = self.learner.action_head.sample_with_log_prob(self.tokens[rows], n, self.draws, _stream(rows))
        return sampled[0].numpy(), sampled[1].numpy()

    def one_step(self, rows: slice, z: np.ndarray) -> np.ndarray:
        """(B, 1, h, A), not cut."""
        with torch.no_grad():
            return self.learner.extra["one_step"](self.tokens[rows], torch.from_numpy(z)).numpy()

    def correction(self, chunks: np.ndarray) -> np.ndarray:
        """(2B, N, c, A): the residual policy's direction, of chunks (2B, N, c, A)."""
        with torch.no_grad():
            return self.learner.extra["residual"](self.tokens, torch.from_numpy(chunks)).numpy()

    def edits(self, tokens: Tensor, chunks: np.ndarray, uniform: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Edits of chunks (B, N, c, A) at tokens (B, S, D), and their log-densities (B, N)."""
        edit, arrays = self.learner.extra["edit"], (np.ascontiguousarray(a) for a in (chunks, uniform))
        with torch.no_grad():
            drawn = edit.sample_with_log_prob(tokens, *(torch.from_numpy(a) for a in arrays))
        return drawn[0].numpy(), drawn[1].numpy()

    def noises(self) -> tuple[np.ndarray, np.ndarray]:
        """DSRL's policy: numbers in [-1, 1] (2B, 1, h, A), and their log-densities (2B,)."""
        policy, rows = self.learner.extra["noise"], {"noise_now": NOW, "noise_next": NEXT}
        with torch.no_grad():
            drawn = [policy.sample_with_log_prob(self.tokens[r], 1, self.draws, s) for s, r in rows.items()]
        return torch.cat([u for u, _ in drawn]).numpy(), torch.cat([d[:, 0] for _, d in drawn]).numpy()

    def q_of_noises(self, w: np.ndarray) -> Output:
        """(E, 2B, N): DSRL's critic of noises (2B, N, h, A)."""
        critic = self.learner.extra["critic_noise"]
        with torch.no_grad():
            return Output(critic.q(critic.readout(self.tokens), torch.from_numpy(w)).raw.numpy(), self.by)

    def flow(self, z: np.ndarray) -> np.ndarray:
        """(2B, 1, h, A): where the flow takes the noise, not cut."""
        with torch.no_grad():
            return self.learner.action_head.integrate(self.tokens, torch.from_numpy(z)).numpy()

    def cloning_of_subgoals(self, w: np.ndarray) -> np.ndarray:
        """(B,): the loss of the flow over subgoals (B, 1, G)."""
        one, flow = torch.ones(len(w), 1, dtype=torch.bool), self.learner.extra["subgoals"]
        with torch.no_grad():
            return flow.loss(self.tokens[NOW], torch.from_numpy(w), one, self.draws, ("subgoal",)).numpy()

    def normal(self, stream: str, *shape: int) -> np.ndarray:
        """(B, ...)."""
        return self.draws.normal(stream, PAIRS, *shape).numpy()

    def uniform(self, stream: str, *shape: int) -> np.ndarray:
        """(B, ...)."""
        return self.draws.uniform(stream, PAIRS, *shape).numpy()

    def parameter(self, module: str, name: str) -> float:
        """A number of one of the objective's own modules."""
        return getattr(self.learner.extra[module], name).item()


def _both(now: Tensor, later: Tensor) -> np.ndarray:
    return torch.cat((now, later)).numpy()


def _stream(rows: slice) -> str:
    return "critic_now" if rows == NOW else "critic"
