"""A `Step` without networks: every quantity is a given random array in float64, so that a term can be computed by hand.

Q of member e at row i is base[e, i] - |a - centre[e, i]|^2, the slow copy's with numbers of its own.
"""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import torch
import toy_agents as toy
from torch import Tensor

from robo_orl.base.rng import Draws
from robo_orl.models.critics import Estimate
from robo_orl.objectives.step import Step

PAIRS, MEMBERS, CHUNK, ACTION_DIM = 8, 2, toy.CHUNK, toy.ACTION_DIM


class PaperStep:
    """B = 8 pairs; the window is the toys', with a timeout and a terminal in it."""

    # The package's own: numpy computes what they make, like everything else.
    td, advantage, best_value = Step.td, Step.advantage, Step.best_value
    v_and_q, slow_q_and_next_v = Step.v_and_q, Step.slow_q_and_next_v
    joint, pair = False, None

    def __init__(self, aggregate: str = "mean", valued_actions: int = CHUNK, seed: int = 0):
        g = np.random.default_rng(seed)
        self.pairs, self.fold, self.c = PAIRS, aggregate, valued_actions
        self.window = toy.window(PAIRS).map(lambda t: t.double() if t.is_floating_point() else t)
        self.obs = SimpleNamespace(low_dim={k: torch.from_numpy(g.normal(size=(2 * PAIRS, 3))) for k in ("a", "b")})
        self.draws = Draws(seed, 0)
        self.arrays = {name: g.normal(size=(MEMBERS, 2 * PAIRS)) for name in ("online", "slow", "chunk")}
        self.centres = {name: g.uniform(-1, 1, (MEMBERS, 2 * PAIRS, 1, 1)) for name in ("online", "slow", "chunk")}
        self.v_of = g.normal(size=2 * PAIRS)
        self.losses = g.uniform(0, 1, 2 * PAIRS)
        self.slope = g.normal(size=2 * PAIRS)  # how the policy's loss depends on its condition
        self.actions = torch.from_numpy(g.uniform(-1, 1, (2 * PAIRS, CHUNK, ACTION_DIM)))
        self.mask = torch.cat((self.window.action_mask, self.window.next_action_mask))
        self.chunk = g.uniform(-1, 1, (2 * PAIRS, CHUNK, ACTION_DIM))
        self.pool = g.uniform(-1, 1, (2, 2 * PAIRS, 12, CHUNK, ACTION_DIM))  # samples: online, slow
        self.log_pi = g.normal(size=(2 * PAIRS, 12))
        self.tokens = torch.zeros(2 * PAIRS, 1, 1, dtype=torch.float64)
        self.critic_tokens = self.tokens
        self.valid = torch.from_numpy((g.uniform(size=2 * PAIRS) < 0.7).astype(float))
        self.modules: dict[str, object] = {"condition": lambda tokens, condition: condition}
        self.agent = SimpleNamespace(
            action_head=SimpleNamespace(
                shape=(CHUNK, ACTION_DIM),
                integrate=lambda tokens, noise: torch.tanh(noise) + 0.5,
                loss=None,
            )
        )

    # ------------------------------------------------------------------------- values, as numbers and as the code asks

    def value(self, which: str, rows: slice, actions: np.ndarray) -> np.ndarray:
        """actions (B, c, A) or (B, N, c, A) -> (E, B) or (E, B, N)."""
        base, centre = self.arrays[which][:, rows], self.centres[which][:, rows]
        if actions.ndim == 4:
            base, centre = base[..., None], centre[:, :, None]
        return base - ((actions[None] - centre) ** 2).sum((-2, -1))

    def rows(self, frames: str) -> slice:
        return {"now": slice(0, PAIRS), "next": slice(PAIRS, None), "both": slice(None)}[frames]

    def _estimate(self, which: str, frames: str, actions: Tensor | None) -> Estimate:
        rows = self.rows(frames)
        chosen = (self.valued(self.actions[rows]) if actions is None else actions).detach().numpy()
        return Estimate(torch.from_numpy(self.value(which, rows, chosen)).unsqueeze(-1), None)

    def q(self, frames: str, actions: Tensor | None = None) -> Estimate:
        return self._estimate("online", frames, actions)

    def q_target(self, frames: str, actions: Tensor | None = None) -> Estimate:
        return self._estimate("slow", frames, actions)

    def v(self, frames: str) -> Estimate:
        return Estimate(torch.from_numpy(self.v_of[self.rows(frames)])[None, :, None], None)

    def climb(self, frames: str, actions: Tensor, member: int | None = None) -> Tensor:
        value = self.q(frames, actions).value
        return self.aggregate(value) if member is None else value[member]

    def aggregate(self, values: Tensor) -> Tensor:
        return values.mean(0) if self.fold == "mean" else values.amin(0)

    # ---------------------------------------------------------------------------------------------------------- policy

    def policy_loss(self, tokens: Tensor | None = None, frames: str = "both") -> Tensor:
        rows = self.rows(frames)
        loss = torch.from_numpy(self.losses[rows])
        return loss if tokens is None else loss + torch.from_numpy(self.slope[rows]) * tokens.sum(-1)

    def policy_loss_of(self, chunks: Tensor) -> Tensor:
        return chunks.square().sum((-2, -1))

    def policy_chunk(self, frames: str, slow: bool = False) -> Tensor:
        chunk = torch.from_numpy(self.chunk[self.rows(frames)])
        return 0.5 * chunk if slow else chunk

    def sample(self, frames: str, num_samples: int, steps: int | None = None, slow: bool = False) -> Tensor:
        return torch.from_numpy(self.pool[int(slow), self.rows(frames), :num_samples])

    def sample_next(self, num_samples: int, flow_steps: int | None = None) -> Tensor:
        return self.valued(self.sample("next", num_samples))

    def sample_with_log_prob(self, frames: str, num_samples: int) -> tuple[Tensor, Tensor]:
        return self.sample(frames, num_samples), torch.from_numpy(self.log_pi[self.rows(frames), :num_samples])

    def valued(self, chunks: Tensor) -> Tensor:
        return chunks[..., : self.c, :]

    # ------------------------------------------------------------------------------------------------------- the rest

    def part(self, both: Tensor, frames: str) -> Tensor:
        return both[self.rows(frames)]

    def both(self, per_pair: Tensor) -> Tensor:
        return torch.cat((per_pair, per_pair))

    @property
    def returns(self) -> Tensor:
        return torch.cat((self.window.return_to_go, self.window.next_return_to_go))

    def module(self, name: str) -> object:
        return self.modules[name]

    def batch_mean(self, values: Tensor) -> Tensor:
        return values.detach().mean()

    def normal(self, stream: str, *shape: int) -> Tensor:
        return self.draws.normal(stream, 2 * PAIRS, *shape).double()

    def uniform(self, stream: str) -> Tensor:
        return self.draws.uniform(stream, 2 * PAIRS).double()
