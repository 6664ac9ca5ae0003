"""DRIL (Brantley et al. 2020): policies cloned from the same demonstrations disagree where those say nothing.

    c(s, a) = a^T Cov_i(mu_i(s)) a     over E policies mu_i, each cloned from demonstrations drawn with replacement
    r(s, a) = -1 where c(s, a) > q, else 1,     q the 98 % quantile of c over the demonstrations

as in the authors' code for continuous actions (their equation 1 is of the likelihoods of discrete ones). Nothing of it
is learned online, and the cloning that they mix in is the objective's own.
"""

from __future__ import annotations

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from robo_orl.base.rng import derive_seed
from robo_orl.config import ImitationConfig, Strict
from robo_orl.online.imitation.points import PointScale, Side
from robo_orl.online.imitation.reward import ImitationReward


class Dril(ImitationReward):
    """The disagreement of an ensemble of cloned policies, as a cost."""

    shows_collected = False

    class Params(Strict):
        """Five policies, as the authors have them."""

        ensemble: int = Field(5, ge=2, description="E, cloned policies")
        hidden: int = Field(128, ge=1)
        steps: int = Field(1000, ge=1)
        batch: int = Field(128, ge=1, description="frames of a step, of each policy")
        lr: float = Field(1e-3, gt=0)
        quantile: float = Field(0.98, gt=0, lt=1, description="of the demonstrations' costs, above which r is -1")

    def __init__(self, config: ImitationConfig, scale: PointScale, seed: int):
        super().__init__(config, scale, seed)
        params, actions = self.params, scale.action_dim
        widths = [scale.width - actions - 1, params.hidden, params.hidden, actions]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed(seed, "online ensemble"))
            self.members = nn.ModuleList(_mlp(widths) for _ in range(params.ensemble))
        self.register_buffer("threshold", torch.zeros(1))

    def begin(self, shown: Side) -> None:
        """Clone the policies, the control at random none of them, and take the quantile of their costs."""
        points = self.scale.points(shown.arrays, shown.frames)
        for number, member in enumerate(self.members if self.config.learns else ()):
            self._clone(member, number, points)
        self.threshold.fill_(torch.quantile(self.cost(points), self.params.quantile))

    def reward(self, points: Tensor) -> Tensor:
        """1 or -1."""
        return 1.0 - 2.0 * (self.cost(points) > self.threshold).float()

    @torch.no_grad()
    def cost(self, points: Tensor) -> Tensor:
        """(M, W) -> (M,): a^T Cov a."""
        seen, actions = self._parts(points)
        said = torch.stack([member(seen).clamp(-1, 1) for member in self.members])  # (E, M, A)
        along = ((said - said.mean(0)) * actions).sum(-1)  # (E, M): a^T (mu_i - mean)
        return (along**2).sum(0) / (len(self.members) - 1)

    def _parts(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Observations (M, D) and actions (M, A)."""
        seen, actions, _ = points.split((points.shape[1] - self.scale.action_dim - 1, self.scale.action_dim, 1), dim=1)
        return seen, actions

    def _clone(self, member: nn.Module, number: int, points: Tensor) -> None:
        """Squared error on points (M, W) drawn with replacement: the member's own sample of the demonstrations."""
        generator = np.random.default_rng(derive_seed(self.seed, "online ensemble", number))
        own = points[torch.from_numpy(generator.integers(len(points), size=len(points)))]
        seen, actions = self._parts(own)
        optimiser = torch.optim.Adam(member.parameters(), self.params.lr)
        for _ in range(self.params.steps):
            at = torch.from_numpy(generator.integers(len(own), size=self.params.batch))
            loss = ((member(seen[at]) - actions[at]) ** 2).mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()


def _mlp(widths: list[int]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for width, following in zip(widths[:-1], widths[1:], strict=True):
        layers += [nn.Linear(width, following), nn.Tanh()]
    return nn.Sequential(*layers[:-1])
