"""The package's own agent with lookup tables in place of its networks: what it converges to is its objective's doing.

States are one-hot observations, the two actions are -1 and 1, and every weight is a cell of a table. Windows, steps,
targets, losses and the agent itself are the real ones.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tabular_mdps as mdps
import torch
import torch.nn.functional as F
import toy_agents as toy
from torch import Tensor, nn

from robo_orl.agent.agent import Agent, build_agent
from robo_orl.base.rng import Draws
from robo_orl.base.types import Observation, PairedWindow
from robo_orl.config import PolicyConfig, deep_merge
from robo_orl.data.windows import PairedWindows
from robo_orl.models.action_heads import ActionHead
from robo_orl.models.critics import Estimate, HLGauss, Logistic
from robo_orl.models.stacked import JointHeads
from robo_orl.models.targets import Target
from robo_orl.objectives import OBJECTIVES
from robo_orl.objectives.step import Step

WIDTH = 96  # of the tokens, for the modules that objectives bring along
HEADS = {"td3_bc": "l1", "sac": "gaussian", "cql": "gaussian", "cal_ql": "gaussian"}  # the others take a flow


def window_of(
    episodes: list[mdps.Episode], states: int, chunk: int, n: int, gamma: float, cut_short: bool = False
) -> PairedWindow:
    """Every frame of the episodes once, through the package's own windows."""
    arrays = toy.arrays(
        {"state": states},
        [len(e.states) for e in episodes],
        [e.terminal for e in episodes],
        np.eye(states)[np.concatenate([e.states for e in episodes])],
        np.concatenate([2 * e.actions - 1 for e in episodes])[:, None],
        np.concatenate([e.rewards for e in episodes]),
    )
    windows = PairedWindows(arrays, chunk, n, gamma, cut_short=cut_short)
    return windows.gather(windows.frames)


def table_agent(
    name: str, states: int, *, chunk: int = 1, n: int = 1, gamma: float = 0.9, right: Any = 1.0, **over: Any
) -> Agent:
    """An agent of this objective on tables, whose policy takes action 1 with probability `right` (S,) and never learns.

    Targets follow at once (tau 1), so that one regression is one backup.
    """
    values = {
        "name": name,
        "action_head": {"kind": HEADS.get(name, "flow"), "chunk": chunk, "execute": 1},
        "objective": {"name": name},
        "critic": {"tau": 1.0} if OBJECTIVES[name].bootstraps else {"target": "none"},
        "n_step": n,
    }
    if not OBJECTIVES[name].trains_base:
        values["critic"]["topology"] = "frozen"
    if OBJECTIVES[name].chooses or "best_of_n" in OBJECTIVES[name].extractions[:1]:
        values["selection"] = {"num_samples": 2}
    config = PolicyConfig.model_validate(deep_merge(values, over))
    learner = build_agent(config, {"state": states}, action_dim=1, gamma=gamma, statistics=None, seed=0)
    learner.backbone = OneHot()
    support, heads = learner.critic.support, learner.objective.heads
    learner.critic = _table(states, learner.valued_actions, heads, config.critic.ensemble, support, name)
    if learner.target is not None:
        learner.target = Target(learner.critic, learner.backbone, config.critic)
    if "critic_chunk" in learner.extra:
        learner.extra["critic_chunk"] = _table(states, chunk, ("q",), config.critic.ensemble, support, name)
    learner.action_head = TablePolicy(np.broadcast_to(right, states), chunk)
    if learner.slow_head is not None:
        learner.slow_head = learner.action_head
    if "one_step" in learner.extra:
        learner.extra["one_step"] = learner.action_head.one_step
    return learner


class OneHot(nn.Module):
    """The observation as the only token."""

    width = WIDTH

    def forward(self, obs: Observation) -> Tensor:
        """(B, 1, WIDTH)."""
        state = obs.low_dim["state"]
        return F.pad(state, (0, WIDTH - state.shape[-1])).unsqueeze(1)


class TableCritic(nn.Module):
    """Q (E, S, K, outputs) and V (1, S, outputs) as cells. A chunk of c actions is one of K = 2^c corners of a cube;
    what lies between them is interpolated, so that Q has a gradient in the actions."""

    def __init__(self, states: int, cells: int, heads: tuple[str, ...], members: int, support: Any, outputs: int):
        super().__init__()
        self.states, self.support = states, support
        self.readout, self.v_head, self.joint = nn.Identity(), None, JointHeads()
        self.q_table = nn.Parameter(torch.zeros(members, states, cells, outputs)) if "q" in heads else None
        self.v_table = nn.Parameter(torch.zeros(1, states, outputs)) if "v" in heads else None

    def weights(self, actions: Tensor) -> Tensor:
        """(..., c, A=1) -> the share of each cell (..., K)."""
        c = actions.shape[-2]
        bits = torch.tensor([[k >> (c - 1 - i) & 1 for i in range(c)] for k in range(2**c)])
        return ((1 + actions.squeeze(-1).unsqueeze(-2) * (2 * bits - 1)) / 2).prod(-1)

    def q(self, features: Tensor, actions: Tensor) -> Estimate:
        """As models.critics.Critic.q."""
        many = actions if actions.dim() == 4 else actions.unsqueeze(1)
        of_state = torch.einsum("bs,eskj->ebkj", features[:, 0, : self.states], self.q_table)
        raw = torch.einsum("bnk,ebkj->ebnj", self.weights(many), of_state)
        return Estimate(raw if actions.dim() == 4 else raw.squeeze(2), self.support)

    def v(self, features: Tensor) -> Estimate:
        """As models.critics.Critic.v."""
        return Estimate(torch.einsum("bs,esj->ebj", features[:, 0, : self.states], self.v_table), self.support)


class SubgoalTable(TableCritic):
    """Q of a state and a subgoal: one of the states, or the end."""

    def weights(self, actions: Tensor) -> Tensor:
        """(..., 1, S + 1), the state and a flag -> (..., S + 1)."""
        state, flag = actions.squeeze(-2).split((self.states, 1), dim=-1)
        return torch.cat((state, (1 + flag) / 2), -1)


def _table(
    states: int, c: int, heads: tuple[str, ...], members: int, support: HLGauss | Logistic | None, objective: str
) -> TableCritic:
    outputs = len(support.centres) if isinstance(support, HLGauss) else 1
    if objective == "sharsa":
        return SubgoalTable(states, states + 1, heads, members, support, outputs)
    return TableCritic(states, 2**c, heads, members, support, outputs)


class TablePolicy(ActionHead):
    """A fixed policy whose samples fall as evenly as N of them can: the first ones are action 1."""

    def __init__(self, right: np.ndarray, chunk: int):
        super().__init__()
        self.shape = (chunk, 1)
        self.register_buffer("right", torch.from_numpy(np.array(right)).float())

    def sample(self, tokens: Tensor, num_samples: int, draws: Draws, stream: str, steps: int | None = None) -> Tensor:
        """(B, N, h, 1); where N is the number of chunks and the policy is undecided, every chunk once."""
        n, (h, _) = num_samples, self.shape
        right = tokens[:, 0, : len(self.right)] @ self.right  # (B,)
        if n == 2**h and bool((right == 0.5).all()):
            bits = torch.tensor([[k >> (h - 1 - i) & 1 for i in range(h)] for k in range(n)])
            return (2.0 * bits - 1).flip(0).expand(len(tokens), -1, -1).unsqueeze(-1)
        first = torch.arange(n) < (right * n).round().unsqueeze(-1)  # (B, N)
        return (2.0 * first - 1)[..., None, None].expand(-1, -1, h, -1)

    def sample_with_log_prob(
        self, tokens: Tensor, num_samples: int, draws: Draws, stream: str
    ) -> tuple[Tensor, Tensor]:
        """As if it were uniform over the box: the density of what it is compared with."""
        chunks = self.sample(tokens, num_samples, draws, stream)
        return chunks, torch.full(chunks.shape[:2], -np.log(2.0) * self.shape[0]) + 0.0 * tokens.sum()

    def mode(self, tokens: Tensor) -> Tensor:
        """(B, h, 1)."""
        return self.sample(tokens, 1, None, "")[:, 0]

    def integrate(self, tokens: Tensor, noise: Tensor, steps: int | None = None) -> Tensor:
        """The mode, wherever the noise is."""
        return self.mode(tokens).unsqueeze(1).expand_as(noise)

    @property
    def one_step(self) -> nn.Module:
        """The same as a one-step policy."""
        policy = nn.Module()
        policy.forward = lambda tokens, z: self.integrate(tokens, z)
        return policy

    def loss(self, tokens: Tensor, actions: Tensor, mask: Tensor, draws: Draws, streams: Any) -> Tensor:
        """(B,): nothing to learn."""
        return torch.ones(len(tokens))


class Corners(Draws):
    """Draws whose uniform numbers are the ends of the range in turn: two actions of a box are all there are."""

    def uniform(self, stream: str, *shape: int) -> Tensor:
        """(B, N, ...) zeros and ones along N."""
        return (torch.arange(shape[1]) % 2).float().view(1, -1, *[1] * (len(shape) - 2)).expand(shape)


Rate = Callable[[int], float]


def relax(
    learner: Agent,
    window: PairedWindow,
    sweeps: int = 80,
    rate: Rate = lambda sweep: 1.0,
    v_rate: Rate | None = None,
    draws: type[Draws] = Draws,
) -> None:
    """Descend on the terms that train the critic until its fixed point.

    A cell's gradient is divided by its share of the rows: with squared errors and rate 1 a sweep is one exact backup.
    rate: of a sweep, counted from 0; v_rate: of V, where it differs.
    """
    tables = {name: p for name, p in learner.named_parameters() if name.endswith("_table")}
    trained = [name for name in learner.objective.routes if "critic" in _reached(learner, name)]
    shares = _shares(learner, window, list(tables.values()))
    for sweep in range(sweeps):
        terms, _ = learner.objective.losses(Step(learner, window, draws(0, sweep)))
        gradients = torch.autograd.grad(sum(terms[name] for name in trained), list(tables.values()))
        with torch.no_grad():
            for (name, table), gradient, share in zip(tables.items(), gradients, shares, strict=True):
                scale = (v_rate or rate)(sweep) if name.endswith("v_table") else rate(sweep)
                table -= scale * torch.where(share > 0, gradient / (2 * share), 0.0)
        learner.update_targets()


def descend(learner: Agent, window: PairedWindow, steps: int) -> None:
    """Adam on the terms that train the critic, for losses that are not squares; the rate falls to nothing."""
    tables = [p for name, p in learner.named_parameters() if name.endswith("_table")]
    trained = [name for name in learner.objective.routes if "critic" in _reached(learner, name).split()]
    optimiser = torch.optim.Adam(tables, lr=0.3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for k in range(steps):
        terms, _ = learner.objective.losses(Step(learner, window, Draws(0, k)))
        optimiser.zero_grad()
        sum(terms[name] for name in trained).backward(inputs=tables)
        optimiser.step()
        learner.update_targets()
        schedule.step()


@torch.no_grad()
def greedy(learner: Agent, states: int) -> np.ndarray:
    """(S,): the first action of the best chunk in every state, by the agent's own critic."""
    best = learner.critic.q_table.mean(0).squeeze(-1).argmax(-1)  # (S,)
    return (best >> (learner.valued_actions - 1)).numpy()


def _reached(learner: Agent, term: str) -> str:
    return " ".join(learner.objective.reaches(term, learner.topology))


def _shares(learner: Agent, window: PairedWindow, tables: list[Tensor]) -> list[Tensor]:
    """The share of the rows in each cell, by asking every table for its data once."""
    step = Step(learner, window, Draws(0, 0))
    frames = learner.objective.critic_frames
    means = []
    if "q" in learner.objective.heads:
        w = learner.objective.subgoal(step) if hasattr(learner.objective, "subgoal") else None
        means.append(step.q(frames, w).raw.mean())
    if "v" in learner.objective.heads:
        means.append(step.v(frames).raw.mean())
    if "critic_chunk" in learner.extra:
        chunked = learner.extra["critic_chunk"]
        means.append(chunked.q(step.part(step.critic_tokens, "now"), step.part(step.actions, "now")).raw.mean())
    outputs = tables[0].shape[-1]
    return [g * outputs for g in torch.autograd.grad(sum(means), tables)]
