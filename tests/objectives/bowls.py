"""Agents before a critic that is given: Q(s, a) = -slope |a - best|^2 everywhere, whose best policies are known.

Maximum entropy has its solution in the family of the Gaussian heads here: exp(Q / kappa) over a box is a normal of mean
`best` and variance kappa / (2 slope), truncated to the box.
"""

from __future__ import annotations

from typing import Any

import torch
import toy_agents as toy
from table_agents import WIDTH
from torch import Tensor, nn

from robo_orl.agent.agent import Agent
from robo_orl.base.rng import Draws
from robo_orl.base.types import Observation
from robo_orl.models.action_heads import ActionHead
from robo_orl.models.critics import Estimate
from robo_orl.objectives.step import Step

PAIRS = 8


class OneToken(nn.Module):
    """The same token for every observation."""

    width = WIDTH

    def forward(self, obs: Observation) -> Tensor:
        """(B, 1, WIDTH)."""
        return torch.ones(len(obs), 1, WIDTH)


class Bowl(nn.Module):
    """A critic of two equal members."""

    def __init__(self, best: float, slope: float):
        super().__init__()
        self.best, self.slope, self.readout = best, slope, nn.Identity()

    def q(self, features: Tensor, actions: Tensor) -> Estimate:
        """As models.critics.Critic.q; actions of any shape (..., c, A)."""
        value = -self.slope * (actions - self.best).square().sum((-2, -1))
        return Estimate(torch.stack((value, value)).unsqueeze(-1), None)


class Base(ActionHead):
    """A frozen policy that is a point; and a flow that leaves the noise as it is, or shifts it."""

    def __init__(self, at: float):
        super().__init__()
        self.at, self.shape = at, (toy.CHUNK, toy.ACTION_DIM)

    def sample(self, tokens: Tensor, num_samples: int, draws: Draws, stream: str, steps: int | None = None) -> Tensor:
        """(B, N, h, A)."""
        return torch.full((len(tokens), num_samples, *self.shape), self.at)

    def integrate(self, tokens: Tensor, noise: Tensor, steps: int | None = None) -> Tensor:
        """The noise, shifted."""
        return noise + self.at

    def loss(self, tokens: Tensor, actions: Tensor, mask: Tensor, draws: Draws, streams: Any) -> Tensor:
        """(B,): nothing to learn."""
        return torch.zeros(len(tokens))


def before_a_bowl(config: Any, best: float, slope: float, base: float | None = None) -> Agent:
    """The agent of a policy with this critic; base: where its frozen policy stands."""
    learner = toy.agent(config)
    learner.backbone, learner.critic = OneToken(), Bowl(best, slope)
    learner.target.critic = Bowl(best, slope)
    if base is not None:
        learner.action_head = Base(base)
    return learner


def descended(learner: Agent, *terms: str, steps: int = 250, lr: float = 3e-3) -> dict[str, Tensor]:
    """Adam on these terms, its rate falling to nothing; the metrics of the last step."""
    parameters = [p for name, p in learner.named_parameters() if not name.startswith(("critic", "backbone"))]
    optimiser = torch.optim.Adam(parameters, lr=lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    window = toy.window(PAIRS)
    for step in range(steps):
        losses, metrics = learner.objective.losses(Step(learner, window, Draws(0, step)))
        optimiser.zero_grad()
        sum(losses[name] for name in terms).backward(inputs=parameters)
        optimiser.step()
        schedule.step()
    return {name: value.detach() for name, value in metrics.items()}
