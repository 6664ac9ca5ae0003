"""Objectives on tables: a `Step` whose Q and V are lookups, over all transitions of a small MDP at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from robo_orl.models.critics import Estimate
from robo_orl.objectives.step import Step

GAMMA = 0.9


@dataclass(frozen=True)
class Chain:
    """S states in a row, action 1 moves right (with probability 1 - slip, else stays), action 0 stays.

    Reaching the last state pays 1 and ends. behaviour: (S, 2) probabilities, every one positive.
    """

    states: int = 5
    slip: float = 0.25
    right: float = 0.3

    def transitions(self) -> dict[str, np.ndarray]:
        """Every (s, a, s') with its probability under the behaviour, states weighted equally."""
        rows = []
        for s in range(self.states - 1):
            for a, chosen in ((0, 1 - self.right), (1, self.right)):
                outcomes = [(s, 1.0)] if a == 0 else [(s, self.slip), (s + 1, 1 - self.slip)]
                rows += [(s, a, end, chosen * p / (self.states - 1)) for end, p in outcomes]
        s, a, end, weight = (np.array(column) for column in zip(*rows, strict=True))
        last = end == self.states - 1
        return {"s": s, "a": a, "end": end, "weight": weight, "reward": last * 1.0, "discount": GAMMA * ~last}

    def q_of(self, v: np.ndarray) -> np.ndarray:
        """(S-1, 2): E[r + discount V(s')] with the true dynamics."""
        t, q = self.transitions(), np.zeros((self.states - 1, 2))
        mass = np.zeros_like(q)
        np.add.at(mass, (t["s"], t["a"]), t["weight"])
        np.add.at(q, (t["s"], t["a"]), t["weight"] * (t["reward"] + t["discount"] * v[t["end"]]))
        return q / mass


@dataclass
class Window:
    """The part of a PairedWindow that objectives read."""

    reward: Tensor
    discount: Tensor
    td_valid: Tensor
    return_to_go: Tensor
    next_return_to_go: Tensor
    success: Tensor


class TableStep:
    """Rows are transitions; `repeat` of a row stands for its probability, through the loss of `weighted` rows."""

    td, best_value = Step.td, Step.best_value
    v_and_q, slow_q_and_next_v = Step.v_and_q, Step.slow_q_and_next_v
    joint, pair = False, None

    def __init__(self, chain: Chain, q: nn.Parameter, v: nn.Parameter, copies: int = 400):
        """q: (E, S, 2), v: (S,). Every transition appears in proportion to its probability."""
        t = chain.transitions()
        rows = np.repeat(np.arange(len(t["s"])), np.rint(t["weight"] * copies * (chain.states - 1)).astype(int))
        self.s, self.a, self.end = (torch.from_numpy(t[name][rows]) for name in ("s", "a", "end"))
        self.pairs = len(rows)
        zeros = torch.zeros(self.pairs)
        self.window = Window(
            *(torch.from_numpy(t[name][rows]).float() for name in ("reward", "discount")),
            torch.ones(self.pairs, dtype=torch.bool),
            zeros,
            zeros,
            zeros.bool(),
        )
        self.q_table, self.v_table, self.slow = q, v, q.detach().clone()
        self.valid = torch.ones(2 * self.pairs)
        self.next_actions = torch.zeros(self.pairs, dtype=torch.int64)

    def update_target(self, rate: float) -> None:
        """slow <- slow + rate (q - slow)."""
        self.slow.lerp_(self.q_table.detach(), rate)

    def _of(self, frames: str) -> tuple[Tensor, Tensor]:
        state = {"now": self.s, "next": self.end, "both": torch.cat((self.s, self.end))}[frames]
        action = {"now": self.a, "next": self.next_actions, "both": torch.cat((self.a, self.next_actions))}[frames]
        return state, action

    def _lookup(self, table: Tensor, frames: str, actions: Tensor | None) -> Estimate:
        state, action = self._of(frames)
        if actions is not None:  # (B, 1, 1) chunks of one number, or (B, N, 1, 1)
            action = actions.squeeze(-1).squeeze(-1).long()
            state = state.view(-1, *[1] * (action.dim() - 1)).expand_as(action)
        return Estimate(table[:, state, action].unsqueeze(-1), None)

    def q(self, frames: str, actions: Tensor | None = None) -> Estimate:
        return self._lookup(self.q_table, frames, actions)

    def q_target(self, frames: str, actions: Tensor | None = None) -> Estimate:
        return self._lookup(self.slow, frames, actions)

    def v(self, frames: str) -> Estimate:
        return Estimate(self.v_table[None, self._of(frames)[0], None], None)

    def aggregate(self, values: Tensor) -> Tensor:
        return values.mean(0)

    def both(self, per_pair: Tensor) -> Tensor:
        return torch.cat((per_pair, per_pair))

    def policy_loss(self) -> Tensor:
        return torch.ones(2 * self.pairs)


def solve(objective, step: TableStep, iterations: int, lr: float) -> None:
    """Gradient descent on the objective's own terms until its fixed point."""
    optimiser = torch.optim.SGD([step.q_table, step.v_table], lr=lr)
    for _ in range(iterations):
        terms, _ = objective.losses(step)
        optimiser.zero_grad()
        sum(terms.values()).backward()
        optimiser.step()
        step.update_target(0.5)


def tables(chain: Chain, members: int = 2) -> tuple[nn.Parameter, nn.Parameter]:
    """Q (E, S, 2) and V (S,) at zero; the value of the last state is never read."""
    return nn.Parameter(torch.zeros(members, chain.states, 2)), nn.Parameter(torch.zeros(chain.states))
